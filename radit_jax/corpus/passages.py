"""DPR's passages: psgs_w100.tsv, with columns id, text and title."""

import csv
from collections.abc import Iterator

from radit_jax.corpus import records
from radit_jax.corpus.records import Fault
from radit_jax.types import Document

HEADER = ("id", "text", "title")


def columns(line: bytes) -> tuple[str, ...]:
    """The names in a file's first line."""
    return tuple(line.removeprefix(records.BOM).decode(errors="replace").split())


def parse(place: str, line: bytes) -> Iterator[Document]:
    r"""The passage of one line; quoted as CSV is: `7\t"He said ""no""."\tTitle`.

    Raises:
      Fault: there is none.
    """
    try:
        text = records.decode(line).rstrip("\r\n")
        (row,) = csv.reader([text], delimiter="\t", strict=True)
    except csv.Error as error:
        raise Fault(f"is not a line of tab-separated values ({error}).") from error
    if len(row) != len(HEADER):
        raise Fault(f"has {len(row)} column(s), not the 3 of {HEADER}.")
    passage_id, text, title = row
    for name, value in zip(HEADER[:2], (passage_id, text), strict=True):
        if not value.strip():
            raise Fault(f"has an empty {name!r}.")
    yield Document(passage_id.strip(), text, title.strip())
