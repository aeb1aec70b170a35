"""CommonCrawl's WET files: the text of web pages, in WARC records.

They are read here and not by warcio, which takes a record that was cut short for a
whole one and gives up at the first damaged header.
"""

import io
import re
from collections.abc import Iterator

from radit_jax.corpus import records
from radit_jax.corpus.json_lines import CorpusError
from radit_jax.corpus.records import Fault, Skipped
from radit_jax.types import Document

_VERSION = b"WARC/"
_LENGTH = re.compile(rb"(?im)^content-length:[ \t]*(\d{1,9})[ \t]*\r?$")
_TYPE = re.compile(rb"(?im)^warc-type:[ \t]*(\S+)")
_URL = re.compile(rb"(?im)^warc-target-uri:[ \t]*<?([^\s<>]+)")
_BLANK_LINE = re.compile(rb"\n\r?\n")
_MIN_LINE_WORDS = 5
_SENTENCE_ENDS = (".", "!", "?", '"', "”", "»", "…")


def read_records(stream: io.BufferedIOBase, name: str) -> Iterator[tuple[str, bytes]]:
    """The records as they stand, each with the line it begins in.

    After a header that can't be read, or content longer than its header says, the
    next record is looked for; `parse` finds fault with what is left over.

    Args:
      stream: the WARC records, decompressed; one is held at a time.
      name: of the file, for places and errors.

    Raises:
      CorpusError: it holds no WARC records, or its last one is cut short.
    """
    line, number = stream.readline(), 1
    if not line.startswith(_VERSION):
        raise CorpusError(
            f"{name} begins with {line[:20]!r}, not with {_VERSION!r}: it holds no "
            "WARC records. Fetch it again, or move it out of the folder."
        )
    while line:
        begin = number
        record, line = _read_header(stream, line)
        length = None if line else _LENGTH.search(record)
        if length:
            content = stream.read(int(length[1]))
            if len(content) < int(length[1]):
                raise CorpusError(
                    f"{name}:{begin} is cut short: it has {len(content)} bytes of the "
                    f"{int(length[1])} that its header tells. Fetch the file again."
                )
            record += content
        yield f"{name}:{begin}", record
        number += record.count(b"\n")
        line = line or stream.readline()
        told = not length  # of what stands here, that it's no record
        while line and not line.startswith(_VERSION):
            if line.strip() and not told:
                yield f"{name}:{number}", line
                told = True
            line, number = stream.readline(), number + 1


def _read_header(stream: io.BufferedIOBase, line: bytes) -> tuple[bytes, bytes]:
    """(the lines to the blank one, b""), or (the lines, the next record's first)."""
    lines = [line]
    while line := stream.readline():
        if line.startswith(_VERSION):
            break
        lines.append(line)
        if not line.strip():
            return b"".join(lines), b""
    return b"".join(lines), line


def parse(place: str, raw: bytes) -> Iterator[Document | Skipped]:
    """The page of a conversion record; its id is the URL, it has no title.

    Of its lines those are kept that C4 keeps: with five words or more and the end of a
    sentence, not about JavaScript. Menus, buttons and notices go, and so do
    languages without spaces. (Raffel et al. 2020, §2.2)

    Raises:
      Fault: it is no WARC record, or no text.
    """
    header, *content = _BLANK_LINE.split(raw, maxsplit=1)
    kind, url = _TYPE.search(header), _URL.search(header)
    whole = raw.startswith(_VERSION) and content and _LENGTH.search(header)
    if not whole or not kind:
        raise Fault(f"is no WARC record: {raw[:60]!r}.")
    if kind[1] != b"conversion":
        yield Skipped(place, f"{kind[1].decode(errors='replace')} record")
        return
    if not url:
        raise Fault("has no WARC-Target-URI.")
    lines = map(str.strip, records.decode(content[0]).split("\n"))
    text = "\n".join(filter(_is_kept, lines))
    if text:
        yield Document(url[1].decode(errors="replace"), text)
    else:
        yield Skipped(place, "web page without a sentence")


def _is_kept(line: str) -> bool:
    return (
        line.endswith(_SENTENCE_ENDS)
        and line.count(" ") >= _MIN_LINE_WORDS - 1
        and len(line.split()) >= _MIN_LINE_WORDS
        and "javascript" not in line.lower()
    )
