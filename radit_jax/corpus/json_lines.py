"""JSON lines read with care: every problem with its file and line, all at once."""

import json
from collections.abc import Iterator
from typing import Any

from etils import epath

_BOM = b"\xef\xbb\xbf"
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


def decode(content: bytes, where: str, problems: Problems) -> str | None:
    """UTF-8 text without a byte order mark; None, and a problem, if it isn't."""
    try:
        return content.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        problems.add(
            f"{where} is not UTF-8: byte {content[error.start]:#04x} at offset "
            f"{error.start}. Convert the file, e.g. with iconv -t UTF-8."
        )
        return None


def read_objects(
    path: epath.Path, name: str, problems: Problems
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file, each with its line number, from 1; blank lines pass."""
    with path.open("rb") as file:
        for number, content in enumerate(file, start=1):
            line = decode(content, f"{name}:{number}", problems)
            if line is None or not line.strip():
                continue
            try:
                record = json.loads(line.rstrip())
            except (ValueError, RecursionError) as error:
                problems.add(
                    f"{name}:{number} is not valid JSON ({_fault(error)}). Write one "
                    "JSON object a line."
                )
                continue
            if isinstance(record, dict):
                yield number, record
            else:
                problems.add(
                    f"{name}:{number} is a JSON {type(record).__name__}, not an "
                    f"object: {line.strip()[:60]}. Write one JSON object a line."
                )


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
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        return f"holds half of a surrogate pair: {value!r:.60}"
    return None


def identifier(value: Any) -> str | None:
    """An id as a string, from a string or a whole number; None if it is neither."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None
