"""A fine-tuning set: where it comes from, and how a record becomes instructions."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from radit_jax.types import Instruction

Record = dict[str, Any]


class SourceError(ValueError):
    """A fine-tuning set that can't be had or read: the files and the remedy."""


@dataclasses.dataclass(frozen=True, slots=True)
class Drop:
    """A record, or a part of one, that gives no instruction."""

    reason: str  # a few words, the same for all of a kind: they are counted


@dataclasses.dataclass(frozen=True, slots=True)
class Tfds:
    """A set that tensorflow-datasets has, whose records come in its own form.

    A sequence of records arrives as a record of lists: `{"text": […], "start": […]}`.
    """

    builder: str  # with its config, e.g. "squad/v2.0"
    module: str = ""  # imported first, where the name resolves only then
    splits: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: {"train": "train", "validation": "validation"}
    )  # ours → theirs


@dataclasses.dataclass(frozen=True, slots=True)
class Published:
    """A set that our own TFDS builder makes of its publisher's files.

    `fields` gives a record's form in plain Python: `{"question": str, "options":
    [str], "turns": [{"role": str, "text": str}]}`. There is no None: write "" or 0.
    A split has one record at least, and keeps the order of its files.
    """

    version: str
    homepage: str  # where the publisher offers the files
    files: Mapping[str, tuple[str, ...]]  # split → file names under the set's folder
    urls: Mapping[str, str]  # file name → address; without one it is brought by hand
    fields: Mapping[str, Any]
    read: Callable[[Sequence[epath.Path]], Iterator[Record]]  # a split's files
    split_field: str = ""  # names a record's split, where one file has them all


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """A fine-tuning set of paper §2."""

    name: str
    category: str  # of text.templates.CATEGORIES
    source: Tfds | Published
    licence: str
    instructions: Callable[[Record], Iterator[Instruction | Drop]]
