"""What a reader makes of a record that is no document, and where it finds fields."""

import dataclasses

BOM = b"\xef\xbb\xbf"


class Fault(ValueError):
    """What is wrong with a record: the sentence that begins with its place."""


@dataclasses.dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that can't be read; the caller decides how many are too many.

    `str()` is the sentence "place reason". A place is `name:line`, or
    `name:byte1234` where a byte range of the file was read, so lines have no number.
    """

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place} {self.reason}"


@dataclasses.dataclass(frozen=True, slots=True)
class Skipped:
    """A sound record that is left out on purpose, e.g. a redirect; to be counted."""

    place: str
    reason: str  # a few words, the same for all its kind: the counter's name


@dataclasses.dataclass(frozen=True, slots=True)
class Fields:
    """Names of the fields of JSON lines."""

    id: str = "id"  # may be absent: then the document is named by its place
    title: str = "title"  # may be absent
    text: str = "text"  # must be there
    section: str = "section"  # may be absent


def decode(content: bytes) -> str:
    """UTF-8 text without a byte order mark.

    Raises:
      Fault: it is something else.
    """
    try:
        return content.removeprefix(BOM).decode()
    except UnicodeDecodeError as error:
        raise Fault(
            f"is not UTF-8: byte {content[error.start]:#04x} at offset {error.start}. "
            "Convert the file, e.g. with iconv -t UTF-8."
        ) from error
