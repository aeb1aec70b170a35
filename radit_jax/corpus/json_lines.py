"""JSON lines read with care: every problem with its file and line, all at once."""

import json
from collections.abc import Iterator
from typing import Any

from etils import epath

from radit_jax.corpus import records
from radit_jax.corpus.records import Fault, Fields
from radit_jax.types import Document

_MAX_PROBLEMS = 20


class CorpusError(ValueError):
    """Documents or questions that can't be read: where, what, and the remedy."""


class Problems:
    """Collects what is wrong with the user's files, to say it in one message."""

    def __init__(self, what: str):
        """Starts empty; `what` names the files, e.g. "the documents in data/"."""
        self._what = what
        self._found: list[str] = []

    def add(self, problem: str) -> None:
        """Notes a problem; raises once there are more than anyone reads.

        Raises:
          CorpusError: this is problem number 20.
        """
        self._found.append(problem)
        if len(self._found) == _MAX_PROBLEMS:
            self.check()

    def check(self) -> None:
        """Ends the reading.

        Raises:
          CorpusError: with all problems found.
        """
        if self._found:
            most = len(self._found) == _MAX_PROBLEMS
            raise CorpusError(
                f"{self._what}: {'the first ' if most else ''}{len(self._found)} "
                "problem(s):\n" + "\n".join(f"  - {found}" for found in self._found)
            )


def read_objects(
    path: epath.Path, name: str, problems: Problems
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file, each with its line number, from 1; blank lines pass."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.removeprefix(records.BOM).strip():
                continue
            try:
                yield number, _object(line)
            except Fault as fault:
                problems.add(f"{name}:{number} {fault}")


def parse(place: str, line: bytes, fields: Fields) -> Iterator[Document]:
    """The document of one line, e.g. of Atlas' text-list-100-sec.jsonl.

    A document without an id is named by its place. The text is kept as it is; title
    and section lose the white space around them.

    Raises:
      Fault: there is none.
    """
    record = _object(line)
    text = _text(record, fields.text)
    title = _heading(record, fields.title, "--config.corpus.title_field")
    section = _heading(record, fields.section, "")
    yield Document(_id(record, fields.id, place), text, title, section)


def _object(line: bytes) -> dict[str, Any]:
    text = records.decode(line)
    try:
        found = json.loads(text.rstrip())
    except (ValueError, RecursionError) as error:
        raise Fault(
            f"is not valid JSON ({_fault(error)}). Write one JSON object a line."
        ) from error
    if not isinstance(found, dict):
        raise Fault(
            f"is a JSON {type(found).__name__}, not an object: {text.strip()[:60]}. "
            "Write one JSON object a line."
        )
    return found


def _text(record: dict[str, Any], field: str) -> str:
    if field not in record:
        raise Fault(
            f"has no {field!r} field; found {list(record)}. Name the field with "
            "--config.corpus.text_field."
        )
    fault = string_problem(record[field])
    if fault:
        raise Fault(f"has a {field!r} that {fault}. Correct the line, or leave it out.")
    return record[field]


def _heading(record: dict[str, Any], field: str, flag: str) -> str:
    value = record.get(field)
    if value is None or value == "":
        return ""
    fault = string_problem(value)
    if fault:
        another = f", or name another field with {flag}" if flag else ""
        raise Fault(
            f"has a {field!r} that {fault}. Correct it or leave it out{another}."
        )
    return value.strip()


def _id(record: dict[str, Any], field: str, place: str) -> str:
    if record.get(field) is None:
        return place
    value = identifier(record[field])
    if value is None:
        raise Fault(
            f"has an {field!r} that is {record[field]!r:.60}, not a string or a whole "
            "number. Correct it, or name another field with --config.corpus.id_field."
        )
    return value


def _fault(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error)  # e.g. a number of more digits than Python reads


def string_problem(value: Any) -> str | None:
    """What keeps `value` from being a text to read; None if nothing does."""
    if not isinstance(value, str):
        return f"is {value!r:.60}, not a string"
    if not value.strip():
        return "is empty"
    try:
        value.encode()
    except UnicodeEncodeError:
        return f"holds half of a surrogate pair: {value!r:.60}"
    return None


def identifier(value: Any) -> str | None:
    """An id as a string, from a string or a whole number; None if it is neither."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None
