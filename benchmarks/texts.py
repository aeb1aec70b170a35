"""Passages and questions as their publishers' files hold them."""

import csv
import gzip
import json
from collections.abc import Iterator
from typing import Any


def lines(path: str) -> Iterator[str]:
    """Of a text file, or of one in gzip."""
    opened = gzip.open if path.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8", newline="") as file:
        yield from file


def passage_rows(path: str) -> Iterator[list[str]]:
    """Id, text and title of each passage of a psgs_w100.tsv."""
    rows = csv.reader(lines(path), delimiter="\t")
    next(rows)
    yield from rows


def passages(path: str) -> list[str]:
    """As they are embedded and read: the title before the text."""
    rows = passage_rows(path)
    return [f"{title}: {text}" if title else text for _, text, title in rows]


def records(path: str) -> list[dict[str, Any]]:
    """Of JSON lines."""
    return [json.loads(line) for line in lines(path)]
