"""Lettered options, and the check that a question and an answer are there."""

import pytest

from radit_jax.instruct.tasks import conversion
from radit_jax.instruct.tasks.task import Drop
from radit_jax.types import Instruction


def test_blank_and_repeated_answers_are_left_out():
    found = conversion.instruction(
        "set", "open_qa", "7", " Where? ", ("", "Rome", " Rome", "Roma"), history=("a",)
    )
    assert found == Instruction(
        id="set:7",
        question="Where?",
        answers=("Rome", "Roma"),
        task="set",
        category="open_qa",
        history=("a",),
    )


def test_nothing_asked_or_nothing_answered_is_a_drop():
    assert conversion.instruction("s", "c", "0", " ", ("x",)) == Drop("no question")
    assert conversion.instruction("s", "c", "0", "x", (" ",)) == Drop("no answer")


def test_options_stand_under_the_question():
    assert conversion.with_options("Which? ", [" red", "blue"]) == (
        "Which?\nA. red\nB. blue"
    )
    assert conversion.with_options(" ", ["red"]) == ""


@pytest.mark.parametrize(
    ("letter", "place"),
    [
        ("A", 0),
        (" c ", 2),
        ("b", 1),
        ("D", None),
        ("", None),
        ("AB", None),
        ("1", None),
    ],
)
def test_the_chosen_option(letter, place):
    assert conversion.chosen(letter, ["x", "y", "z"]) == place


def test_content_ids_differ_as_contents_do():
    assert conversion.content_id("x") == conversion.content_id("x")
    assert conversion.content_id("x") != conversion.content_id("y")
