"""Fields of a record, taken with care: a fault says what is wrong and what to do."""

from collections.abc import Sequence
from typing import Any

from radit_jax.corpus import json_lines
from radit_jax.corpus.records import Fault
from radit_jax.evaluation.benchmarks.item import Record


def text(record: Record, *names: str) -> str:
    """The first of these fields that is there, without outer spaces.

    Raises:
      Fault: none is there, or it is empty or no string.
    """
    name = next((name for name in names if name in record), None)
    if name is None:
        wanted = " or ".join(map(repr, names))
        raise Fault(f"has no {wanted} field; found {list(record)}. {_AGAIN}")
    problem = json_lines.string_problem(record[name])
    if problem:
        raise Fault(f"has a {name!r} that {problem}. Correct it, or drop the record.")
    return record[name].strip()


def texts(values: Any, what: str) -> tuple[str, ...]:
    """Strings, each once and without outer spaces; empty ones are left out.

    Raises:
      Fault: it is no list of strings, or nothing is left of it.
    """
    if not isinstance(values, list | tuple) or not all(
        isinstance(value, str) for value in values
    ):
        raise Fault(f"has {what} that are {values!r:.60}, not strings. {_AGAIN}")
    found = tuple(dict.fromkeys(value.strip() for value in values if value.strip()))
    if not found:
        raise Fault(f"has no {what}; give one at least, or drop the record.")
    return found


def options(values: Any, what: str) -> tuple[str, ...]:
    """Strings in their order, equal ones too, without outer spaces.

    Raises:
      Fault: it is no list of strings, or one of them is empty.
    """
    problems = map(json_lines.string_problem, values or ())
    if not isinstance(values, list | tuple) or any(problems):
        raise Fault(f"has {what} that are {values!r:.80}, not all texts. {_AGAIN}")
    return tuple(value.strip() for value in values)


def choices(record: Record) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Labels and texts of the options of ARC and OpenBookQA, by publisher or by hub.

    Raises:
      Fault: there are none.
    """
    question = record.get("question")
    found = question if isinstance(question, dict) else record
    found = found.get("choices")
    if isinstance(found, dict):  # the hub's form: lists of one length
        labels, texts_of = found.get("label"), found.get("text")
    elif isinstance(found, list) and all(isinstance(one, dict) for one in found):
        labels = [one.get("label") for one in found]
        texts_of = [one.get("text") for one in found]
    else:
        raise Fault(f"has no list of 'choices'; found {list(record)}. {_AGAIN}")
    return tuple(labels or ()), options(texts_of, "choices")


def place(label: Any, labels: Sequence[Any]) -> int:
    """Where the label stands among the labels, compared as text: "2" is 2.

    Raises:
      Fault: it is none of them.
    """
    known = [str(one) for one in labels]
    if str(label).strip() not in known:
        raise Fault(
            f"is labelled {label!r:.40}, which is none of {known}. Take a split with "
            "labels, or drop the record."
        )
    return known.index(str(label).strip())


def identifier(record: Record, names: Sequence[str], default: str) -> str:
    """The first of these fields that holds an id, or the default."""
    found = (json_lines.identifier(record.get(name)) for name in names)
    return next((one for one in found if one), default)


_AGAIN = "Fetch the file again from its publisher."
