"""The sets with a passage: golden instructions, and what each leaves out."""

import pytest
from etils import epath

from radit_jax.instruct.tasks import passage_files, reading_comprehension, sources
from radit_jax.instruct.tasks.task import Drop, SourceError
from radit_jax.types import Instruction
from tests.instruct.tasks import published


def golden(task, record_id, question, answers, context, history=()):
    return Instruction(
        id=f"{task}:{record_id}",
        question=question,
        answers=answers,
        task=task,
        category="reading_comprehension",
        context=context,
        history=history,
    )


GOATS = "Ola has two goats. One is white."
BOAT = "A red boat left at noon."
KICKS = "Nora kicked a 23-yard field goal and Per a 41-yard one."
TREATY = "The treaty was signed on 8 March 1901."
ADA = "Ada, a widow, keeps the lighthouse.\n\nOne day she finds a letter."
FERRY = (
    "OSLO, Norway (CNN) -- The ferry sank.\nSeven people were saved by a fishing boat."
)
MIA = "Mia missed the bus. She walked home in the rain."
LIGHTHOUSE = "The lighthouse was built in 1858. It is 46 metres tall."

GOLDEN = {
    # In tensorflow-datasets' order, of the keys' hashes.
    ("SQUAD_V2", "train"): [
        golden("squad_v2", "a2", "Who built it?", ("I don't know",), LIGHTHOUSE),
        golden("squad_v2", "a1", "How tall is it?", ("46 metres", "46"), LIGHTHOUSE),
    ],
    ("SQUAD_V2", "validation"): [
        golden("squad_v2", "b1", "Where is Oslo?", ("Norway",), "Oslo is in Norway."),
    ],
    ("COQA", "train"): [
        golden("coqa", "s1_1", "Who has goats?", ("Ola",), GOATS),
        golden("coqa", "s1_2", "how many?", ("two",), GOATS, ("Who has goats?", "Ola")),
        golden(
            "coqa",
            "s1_3",
            "names?",
            ("unknown",),
            GOATS,
            ("Who has goats?", "Ola", "how many?", "two"),
        ),
        golden("coqa", "s2_1", "What fell?", ("Rain",), "Rain fell."),
        Drop("no answer"),
        Drop("follows a turn that isn't whole"),
        Drop("no turns"),
    ],
    ("COQA", "validation"): [
        golden("coqa", "s4_1", "What left?", ("A boat", "a red boat"), BOAT),
        golden(
            "coqa",
            "s4_2",
            "What colour?",
            ("red", "It was red"),
            BOAT,
            ("What left?", "A boat"),
        ),
    ],
    ("DROP", "train"): [
        golden("drop", "d1", "How many field goals were there?", ("2",), KICKS),
        golden(
            "drop",
            "d2",
            "Who kicked field goals?",
            ("Nora, Per", "Per, Nora"),
            KICKS,
        ),
        golden(
            "drop",
            "d3",
            "When was it signed?",
            ("8 March 1901", "March 1901", "1901"),
            TREATY,
        ),
        Drop("no answer"),
    ],
    ("DROP", "validation"): [
        golden(
            "drop",
            "d5",
            "How many points more came first?",
            ("3",),
            "Ten points, then seven.",
        ),
    ],
    ("NARRATIVEQA", "train"): [
        golden(
            "narrativeqa",
            "doc1-1",
            "Who keeps the lighthouse?",
            ("Ada, the widow", "Ada."),
            ADA,
        ),
        golden("narrativeqa", "doc1-2", "What does she find?", ("a letter",), ADA),
    ],
    ("NARRATIVEQA", "validation"): [
        golden(
            "narrativeqa",
            "doc2-1",
            "Where does Bo go?",
            ("to sea", "He sails away."),
            "Bo leaves the farm for the sea.",
        ),
    ],
    ("NEWSQA", "train"): [
        golden("newsqa", "0a1b-1", "How many were saved?", ("Seven",), FERRY),
        golden("newsqa", "0a1b-2", "Who saved them?", ("a fishing boat",), FERRY),
        Drop("judged a bad question"),
        Drop("no answer in the story"),
        Drop("no agreed span"),
        Drop("no agreed span"),
    ],
    ("NEWSQA", "validation"): [
        golden(
            "newsqa",
            "0c2d-1",
            "What did it do?",
            ("rained",),
            "BERGEN (CNN) -- It rained.",
        ),
    ],
    ("PUBMED_QA", "train"): [
        golden(
            "pubmed_qa",
            "101",
            "Does tea keep people awake?",
            ("yes",),
            "Tea holds caffeine.\nOf 40 people who drank it, 31 lay awake.",
        ),
        Drop("no answer"),
    ],
    ("QUAIL", "train"): [
        golden(
            "quail",
            "f001_0",
            "Why did Mia walk?\nA. not enough information\nB. She missed the bus.\n"
            "C. She likes rain.\nD. She was late.",
            ("She missed the bus.",),
            MIA,
        ),
        golden(
            "quail",
            "f001_1",
            "What is her brother's name?\nA. Tom\nB. Bob\n"
            "C. not enough information\nD. Ann",
            ("not enough information",),
            MIA,
        ),
        Drop("the right option isn't there"),
    ],
    ("QUAIL", "validation"): [
        golden(
            "quail",
            "n002_0",
            "What fell?\nA. Snow\nB. Rain\nC. Hail\nD. not enough information",
            ("Snow",),
            "Snow fell.",
        ),
    ],
    ("QUAREL", "train"): [
        golden(
            "quarel",
            "QuaRel_V1_Fr_0001",
            "Where did it stop?\nA. ice\nB. gravel",
            ("gravel",),
            "Dr. Moe slid a puck on ice and on gravel. It stopped on one of them.",
        ),
        golden(
            "quarel",
            "QuaRel_V1_Fr_0002",
            "Which is smoother?\nA. ice\nB. gravel",
            ("ice",),
            "",
        ),
        Drop("the right option isn't there"),
        Drop("options can't be told apart"),
    ],
    ("QUAREL", "validation"): [
        golden(
            "quarel",
            "QuaRel_V1_Fr_0005",
            "Who tires first?\nA. Ida\nB. a stone",
            ("Ida",),
            "Ida runs.",
        ),
    ],
}


@pytest.mark.parametrize(("name", "split"), GOLDEN)
def test_golden(name, split, tmp_path):
    task = getattr(reading_comprehension, name)
    assert published.through_sources(task, split, tmp_path) == GOLDEN[name, split]


def test_every_split_has_a_golden_instruction():
    tasks = {name: getattr(reading_comprehension, name) for name, _ in GOLDEN}
    assert set(GOLDEN) == {
        (name, split) for name, task in tasks.items() for split in sources.splits(task)
    }


def test_drop_reads_numbers_before_spans_and_spans_before_dates():
    answer = {"number": "4", "spans": ["four"], "date": ["", "May", "1999"]}
    record = {"id": "x", "passage": "p", "question": "q?"}
    cases = (({}, "4"), ({"number": ""}, "four"), ({"number": "", "spans": []}, "May"))
    for change, begins in cases:
        given = record | {"answers": [answer | change]}
        (found,) = reading_comprehension.drop(given)
        assert found.answers[0].startswith(begins)


def test_a_drop_answer_of_zero_is_an_answer(tmp_path):
    folder = published.bring("drop", tmp_path)
    (first, *_) = passage_files.drop([epath.Path(folder / "drop_dataset.zip")])
    assert first["answers"][0]["number"] == "2"
    assert passage_files._drop_answer({"number": 0})["number"] == "0"


def test_a_summary_that_is_missing_names_the_files(tmp_path):
    folder = published.bring("narrativeqa", tmp_path / "manual")
    lines = (folder / "summaries.csv").read_text().splitlines(keepends=True)
    (folder / "summaries.csv").write_text("".join(lines[:1]))
    message = r"summaries\.csv can't be read beyond record 0: KeyError\('doc1'\)"
    with pytest.raises(SourceError, match=message):
        sources.prepare(
            reading_comprehension.NARRATIVEQA, tmp_path / "sets", tmp_path / "manual"
        )
