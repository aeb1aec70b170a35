"""What the sets' conversions share: the checked Instruction, and lettered options."""

import hashlib
import string
from collections.abc import Iterable, Sequence

from radit_jax.instruct.tasks.task import Drop
from radit_jax.types import Instruction


def instruction(
    task: str,
    category: str,
    record_id: str,
    question: str,
    answers: Iterable[str],
    **fields: str | tuple[str, ...],
) -> Instruction | Drop:
    """The instruction, without blank and repeated answers; a Drop where none is left.

    Args:
      task: the set.
      category: of `text.templates.CATEGORIES`.
      record_id: unique in the set.
      question: as the LM will read it.
      answers: the first is the one that is learned.
      **fields: other fields of Instruction.
    """
    question = question.strip()
    kept = tuple(dict.fromkeys(one.strip() for one in answers if one.strip()))
    if not question:
        return Drop("no question")
    if not kept:
        return Drop("no answer")
    return Instruction(
        id=f"{task}:{record_id}",
        question=question,
        answers=kept,
        task=task,
        category=category,
        **fields,
    )


def content_id(text: str) -> str:
    """An id for a record whose publisher gives none and whose place isn't known."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def lettered(options: Sequence[str]) -> list[str]:
    """The options as a question shows them: `A. bank`, `B. library`, …"""
    return [
        f"{letter}. {option.strip()}"
        for letter, option in zip(string.ascii_uppercase, options, strict=False)
    ]


def with_options(question: str, options: Sequence[str]) -> str:
    """The question, and under it its options, one a line."""
    if not question.strip():
        return ""  # options alone are no question
    return "\n".join((question.strip(), *lettered(options)))


def chosen(letter: str, options: Sequence[str]) -> int | None:
    """The place of the option that a letter names; None if there is no such one."""
    known = string.ascii_uppercase[: len(options)]
    letter = letter.strip().upper()
    return known.index(letter) if letter in tuple(known) else None
