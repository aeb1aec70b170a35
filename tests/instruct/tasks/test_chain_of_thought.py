"""The chain-of-thought sets: a golden instruction each, and what each leaves out."""

import pytest
from etils import epath

from radit_jax.instruct.tasks import chain_of_thought, question_files
from radit_jax.instruct.tasks.conversion import content_id
from radit_jax.instruct.tasks.task import Drop
from radit_jax.types import Instruction
from tests.instruct.tasks import published


def golden(task, record_id, guidance, question, rationale, answer):
    return Instruction(
        id=f"{task}:{record_id}",
        question=question,
        answers=(answer,),
        task=task,
        category="chain_of_thought",
        guidance=guidance,
        rationale=rationale,
    )


LETTER = (
    "Solve the problem step by step, then give the letter and the text of the right "
    "option."
)
NAME = "Explain which of the options makes the most sense, then name it."
NUMBER = "Work out the answer step by step, then give it as a number."
FINAL = "Solve this competition problem step by step, then give the final answer."
YES_OR_NO = "Recall the facts that the question rests on, then answer Yes or No."
GOLDEN = {
    ("AQUA_RAT", "train"): [
        golden(
            "aqua_rat",
            "train-0",
            LETTER,
            "A box holds 3 rows of 7 eggs. How many eggs are in it?\n"
            "A. 10\nB. 20\nC. 21\nD. 24\nE. None of these",
            "3 * 7 = 21\nAnswer: C",
            "C. 21",
        ),
        Drop("no chain of thought"),
        Drop("no answer"),
    ],
    ("AQUA_RAT", "validation"): [
        golden(
            "aqua_rat",
            "dev-0",
            LETTER,
            "What is 5% of 60?\nA. 1\nB. 2\nC. 3\nD. 4\nE. 5",
            "60 / 20 = 3",
            "C. 3",
        ),
    ],
    ("ECQA", "train"): [
        golden(
            "ecqa",
            "0a1",
            NAME,
            "Where would you keep a spare anchor?\n"
            "A. kitchen\nB. boat\nC. library\nD. cloud\nE. hat",
            "Anchors hold boats in place, so a spare one is kept on a boat.",
            "boat",
        ),
        Drop("no question"),  # an id that CommonsenseQA's files lack
    ],
    ("ECQA", "validation"): [Drop("no chain of thought")],
    ("GSM8K", "train"): [
        golden(
            "gsm8k",
            content_id(
                "Nia has 2 bags with 600 beads each and 50 loose ones. How many beads "
                "has she?"
            ),
            NUMBER,
            "Nia has 2 bags with 600 beads each and 50 loose ones. How many beads has "
            "she?",
            "The bags hold 2*600 = 1,200 beads.\n"
            "With the loose ones she has 1,200+50 = 1,250, and 1,250 > 1,200.",
            "1,250",
        )
    ],
    ("COMPETITION_MATH", "train"): [
        golden(
            "competition_math",
            "train/algebra/1",
            FINAL,
            r"What is half of $\frac{3}{2}$?",
            r"Not $\boxed{3}$: half of $\frac{3}{2}$ is $\boxed{\frac{3}{4}}.$",
            r"\frac{3}{4}",
        ),
        Drop("no boxed answer"),
    ],
    ("STRATEGYQA", "train"): [
        golden(
            "strategyqa",
            "s1",
            YES_OR_NO,
            "Could a llama climb Everest's summit in a day?",
            "Everest is 8,849 metres high. Llamas live below 5,000 metres.",
            "No",
        ),
        Drop("no chain of thought"),
        golden(
            "strategyqa",
            "s3",
            YES_OR_NO,
            "Do owls fly at night?",
            "Owls are nocturnal birds.",
            "Yes",
        ),
    ],
}


@pytest.mark.parametrize(("name", "split"), GOLDEN)
def test_the_fixture_s_instructions(tmp_path, name, split):
    task = getattr(chain_of_thought, name)
    assert published.through_sources(task, split, tmp_path) == GOLDEN[name, split]


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"so $x = \boxed{8+4i}$.", "8+4i"),
        (r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{1} and then \boxed{ 2 }", "2"),
        (r"\boxed{\left\{1, 2\right\}}", r"\left\{1, 2\right\}"),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
        (r"\boxed{\begin{pmatrix} 1 \\ 2 \end{pmatrix}}",) * 2,
        (r"\fbox{12}", "12"),
        (r"\boxed 7.", "7"),
        (r"\boxed {7}", "7"),
        (r"\boxed{\frac{1}{2}", ""),
        (r"\boxed{}", ""),
        (r"\boxed", ""),
        ("twelve", ""),
    ],
)
def test_what_the_last_box_holds(solution, answer):
    if answer == solution:
        answer = solution.removeprefix(r"\boxed{").removesuffix("}")
    assert chain_of_thought.boxed(solution) == answer


@pytest.mark.parametrize(
    ("convert", "record", "reason"),
    [
        (
            chain_of_thought.aqua_rat,
            {"question": "", "options": ["A)1"], "rationale": "r", "correct": "A"},
            "no question",
        ),
        (
            chain_of_thought.ecqa,
            {"question": "?", "options": ["x"], "answer_key": "", "explanation": "e"},
            "no answer",
        ),
        (chain_of_thought.gsm8k, {"question": "?", "answer": "3 apples"}, "no answer"),
        (
            chain_of_thought.gsm8k,
            {"question": " ", "answer": "3\n#### 3"},
            "no question",
        ),
        (
            chain_of_thought.gsm8k,
            {"question": "?", "answer": "<<1+2=3>>\n#### 3"},
            "no chain of thought",
        ),
        (
            chain_of_thought.competition_math,
            {"problem": "?", "solution": ""},
            "no answer",
        ),
        (
            chain_of_thought.competition_math,
            {"problem": "", "solution": r"\boxed{1}"},
            "no question",
        ),
        (
            chain_of_thought.strategyqa,
            {"question": "?", "facts": ["f"], "answer": ""},
            "no answer",
        ),
    ],
)
def test_a_record_that_lacks_something_is_dropped(convert, record, reason):
    assert list(convert(record | {"id": "0"})) == [Drop(reason)]


def test_a_fact_s_own_end_is_kept():
    facts = ["Is it?", 'He said "no"', "It is  so ", "", "Yes!"]
    record = {"id": "0", "question": "?", "facts": facts, "answer": "Yes"}
    (found,) = chain_of_thought.strategyqa(record)
    assert found.rationale == 'Is it? He said "no" It is so. Yes!'


def test_ecqa_reads_both_of_commonsense_qa_s_files(tmp_path):
    folder = epath.Path(published.bring("ecqa", tmp_path))
    names = ("val_ids.txt", "ecqa.jsonl", "train_rand_split.jsonl")
    paths = [folder / name for name in (*names, "dev_rand_split.jsonl")]
    (record,) = question_files.ecqa(paths)
    assert record["question"] == "What do you do before opening an umbrella?"
    (record,) = question_files.ecqa(paths[:-1])
    assert record["question"] == ""
