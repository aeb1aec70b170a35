"""The open-domain sets: a golden instruction each, and what each leaves out."""

import zipfile

import pytest
from etils import epath

from radit_jax.instruct.tasks import open_qa, question_files
from radit_jax.instruct.tasks.conversion import content_id
from radit_jax.instruct.tasks.task import Drop, SourceError
from radit_jax.types import Instruction
from tests.instruct.tasks import published


def golden(task, record_id, question, *answers):
    return Instruction(
        id=f"{task}:{record_id}",
        question=question,
        answers=answers,
        task=task,
        category="open_qa",
    )


GOLDEN = {
    ("COMMONSENSE_QA", "train"): [
        golden(
            "commonsense_qa",
            "0a1",
            "Where would you keep a spare anchor?\n"
            "A. kitchen\nB. boat\nC. library\nD. cloud\nE. hat",
            "boat",
        ),
        Drop("no answer"),  # as in the publisher's test split
    ],
    ("COMMONSENSE_QA", "validation"): [
        golden(
            "commonsense_qa",
            "0a2",
            "What do you do before opening an umbrella?\n"
            "A. sing\nB. sleep\nC. close it\nD. swim\nE. look up",
            "look up",
        ),
    ],
    ("MATH_QA", "train"): [
        golden(
            "math_qa",
            "train-0",
            "what is 2 + 3 ?\nA. 4\nB. 5\nC. 1 , 600\nD. 7\nE. none of these",
            "5",
        ),
        golden(
            "math_qa",
            "train-1",
            "which pair has the sum 5 ?\n"
            "A. 1 , 2\nB. 2 , 3\nC. sqrt ( 9 )\nD. 7 , 1\nE. 0 , 0",
            "2 , 3",
        ),
        golden(
            "math_qa",
            "train-2",
            "how many legs have 4 cats ?\nA. 8\nB. 12\nC. 16\nD. 20\nE. 24",
            "16",
        ),
        Drop("options can't be told apart"),
        Drop("no answer"),  # the right option is none of those there are
    ],
    ("MATH_QA", "validation"): [
        golden("math_qa", "dev-0", "what is 9 / 3 ?\nA. 3\nB. 6", "3"),
    ],
    ("WEB_QUESTIONS", "train"): [
        golden(
            "web_questions",
            content_id("where to land for oslo?"),
            "where to land for oslo?",
            "Oslo Airport, Gardermoen",
            "Torp",
        ),
        golden(
            "web_questions",
            content_id("what was ada lovelace called?"),
            "what was ada lovelace called?",
            "The Enchantress of Numbers",
        ),
        Drop("no answer"),
    ],
    ("WIKI_QA", "train"): [
        golden(
            "wiki_qa",
            "Q1",
            "how are dunes formed",
            'Dunes are built by wind , or "aeolian" processes .',
            "They grow where sand meets an obstacle .",
        ),
        Drop("no correct answer among the candidates"),
    ],
    ("WIKI_QA", "validation"): [
        golden("wiki_qa", "Q3", "what is silt", "Silt is finer than sand ."),
    ],
    ("YAHOO_ANSWERS_QA", "train"): [
        golden(
            "yahoo_answers_qa",
            "2020001",
            "Why do my tomatoes split?",
            "Uneven watering.\nWater them a little each day & mulch.",
        ),
        Drop("no answer"),
    ],
    ("FREEBASE_QA", "train"): [
        golden(
            "freebase_qa",
            "FreebaseQA-train-0",
            "Which ship sailed round the world first?",
            "victoria",
            "nao victoria",
        ),
        Drop("no answer"),
    ],
    ("FREEBASE_QA", "validation"): [
        golden("freebase_qa", "FreebaseQA-dev-0", "Which metal is liquid?", "mercury")
    ],
    ("MS_MARCO", "train"): [
        golden(
            "ms_marco",
            "train-19",
            "why do bees dance",
            "To show where nectar is & how far.",
        ),
        Drop("no answer present"),
        Drop("no answer"),
    ],
    ("MS_MARCO", "validation"): [
        golden(
            "ms_marco", "dev-19", "how do owls hear", "By ears set at unequal heights."
        )
    ],
}


@pytest.mark.parametrize(("name", "split"), GOLDEN)
def test_the_fixture_s_instructions(tmp_path, name, split):
    found = published.through_sources(getattr(open_qa, name), split, tmp_path)
    expected = GOLDEN[name, split]
    if name == "WEB_QUESTIONS":  # which tensorflow-datasets shuffles
        found, expected = sorted(found, key=str), sorted(expected, key=str)
    assert found == expected


@pytest.mark.parametrize(
    ("published_options", "options"),
    [
        ("a ) 38 , b ) 27.675 , c ) 30", ["38", "27.675", "30"]),
        ("a ) rs . 1 , 200 , b ) rs . 900", ["rs . 1 , 200", "rs . 900"]),
        ("a ) 2 sqrt ( 6 ) , b ) ( 40,0 )", ["2 sqrt ( 6 )", "( 40,0 )"]),
        ("A )A ) 8 ,B) B ) oF thEsE", ["8", "oF thEsE"]),
        ("['a ) x , y', 'b ) z']", ["x , y", "z"]),
        ("[a ) 1 , b ) 2]", []),
        ("__import__('os')", []),
        ("b ) 1 , c ) 2", []),
        ("a ) 1 , b ) 2 , b ) 3", []),
        ("about a ) 1 , b ) 2", []),
        ("", []),
    ],
)
def test_math_qa_s_options(published_options, options):
    record = {"id": "0", "question": "?", "options": published_options, "correct": "b"}
    (found,) = open_qa.math_qa(record)
    if not options:
        assert found == Drop("options can't be told apart")
        return
    lines = [f"{letter}. {text}" for letter, text in zip("ABC", options, strict=False)]
    assert found.question.split("\n") == ["?", *lines]
    assert found.answers == (options[1],)


@pytest.mark.parametrize(
    ("published_answer", "answer"),
    [
        ('"It is so."', "It is so."),
        ('""It is so.""', "It is so."),
        ('\\"Weird Al\\" Yankovic', '"Weird Al" Yankovic'),
        ('Hope" is the thing', 'Hope" is the thing'),
        (" Rome ", "Rome"),
    ],
)
def test_web_questions_quotation_marks(published_answer, answer):
    record = {"url": "", "question": "who?", "answers": [published_answer]}
    assert next(open_qa.web_questions(record)).answers == (answer,)


def test_a_query_keeps_its_other_answers():
    record = {
        "id": "0",
        "question": "x &lt; y",
        "answers": ["No Answer Present.", "yes"],
    }
    (found,) = open_qa.ms_marco(record)
    assert (found.question, found.answers) == ("x < y", ("yes",))


@pytest.mark.parametrize(
    ("convert", "record"),
    [
        (open_qa.commonsense_qa, {"options": ["x"], "answer_key": "A"}),
        (open_qa.math_qa, {"options": "a ) 1", "correct": "a"}),
        (open_qa.web_questions, {"answers": ["x"]}),
        (open_qa.wiki_qa, {"sentences": ["x"], "labels": ["1"]}),
        (open_qa.yahoo_answers_qa, {"answer": "x"}),
        (open_qa.freebase_qa, {"answers": ["x"]}),
        (open_qa.ms_marco, {"answers": ["x"]}),
    ],
)
def test_a_record_without_a_question_is_dropped(convert, record):
    assert list(convert(record | {"id": "0", "question": " "})) == [Drop("no question")]


def test_a_missing_column_of_wiki_qa_is_named(tmp_path):
    path = epath.Path(tmp_path) / "WikiQACorpus.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("WikiQA-train.tsv", "QuestionID\tSentence\nQ1\tIt is.\n")
    with pytest.raises(SourceError, match=r"has no \['Question', 'Label'\]"):
        list(question_files.wiki_qa([path]))
