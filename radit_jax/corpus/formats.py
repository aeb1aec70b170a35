"""Every format a corpus may have: found, split, read, and parsed.

Reading is in two halves, so that many workers can share one file: `read_raw` is
cheap and in sequence; `parse` does the work and needs nothing but the record.

========  =========================================================================
`jsonl`   JSON lines, e.g. Atlas' text-list-100-sec.jsonl and infobox.jsonl
`tsv`     DPR's psgs_w100.tsv
`xml`     a MediaWiki dump, e.g. enwiki-20211220-pages-articles.xml.bz2
`wet`     CommonCrawl's text
`txt`     text; a file is a document
`md`      Markdown; a file is a document, its markup kept
========  =========================================================================

Each may be compressed: .gz or .bz2 comes after the format's suffix.
"""

import bz2
import contextlib
import dataclasses
import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator

from etils import epath

from radit_jax.corpus import json_lines, passages, records, wet, wiki_dump
from radit_jax.corpus.json_lines import CorpusError, Problems
from radit_jax.corpus.records import BadRecord, Fault, Fields, Skipped
from radit_jax.types import Document

SUFFIXES = (".jsonl", ".tsv", ".xml", ".wet", ".txt", ".md")
PART_BYTES = 64 << 20

# The parts of a Wikipedia dump end in e.g. ".xml-p1p41242.bz2".
_NAME = re.compile(r"(?i)\.(jsonl|tsv|xml|wet|txt|md)(?:(?<=xml)-[\w-]+)?(\.gz|\.bz2)?")
_DECOMPRESS = {".gz": gzip.open, ".bz2": bz2.open}
_LINES = ("jsonl", "tsv")


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One whole file, or the lines that begin in a byte range of one."""

    file: str
    name: str  # the file's path within the corpus folder; begins every place
    format: str  # "jsonl", "tsv", "xml", "wet", "txt" or "md"
    start: int = 0  # bytes
    stop: int | None = None  # None: the whole file, whose lines are numbered


def parts(
    path: epath.PathLike,
    part_bytes: int = PART_BYTES,
    problems: Problems | None = None,
) -> list[Part]:
    """The parts of a file, or of a folder's files, in reading order.

    Files come in the order of their paths; hidden ones are left out. A .jsonl or .tsv
    file of more than `part_bytes`, not compressed, is split.

    Args:
      path: a file, or a folder that is read to its depths.
      part_bytes: decides the places in a split file, and so the ids of documents
        that bring none: the same for every run of a corpus.
      problems: collects what is wrong; None raises it at once.

    Raises:
      CorpusError: the path is missing; a file is none of `SUFFIXES`, or a .tsv
        without DPR's header.
    """
    path = epath.Path(path).expanduser()
    noted = problems or Problems(f"the documents in {path}")
    found: list[Part] = []
    if not path.exists():
        noted.add(f"{path} does not exist. Check --config.corpus.documents.")
    else:
        for file in sorted(_walk(path)):
            name = file.name if file == path else file.relative_to(path).as_posix()
            found += _parts_of(file, name, part_bytes, noted)
    if problems is None:
        noted.check()
    return found


def read_raw(part: Part) -> Iterator[tuple[str, bytes]]:
    """The records of a part, each with its place: lines, pages, or whole files.

    Blank lines and a .tsv's header are left out.

    Raises:
      CorpusError: the file is cut short or otherwise damaged.
    """
    with _open(part.file) as stream, _damage_told(part.name):
        if part.stop is not None:
            yield from _lines_of_range(stream, part)
        elif part.format in _LINES:
            yield from _numbered_lines(stream, part)
        elif part.format == "xml":
            yield from wiki_dump.read_pages(stream, part.name)
        elif part.format == "wet":
            yield from wet.read_records(stream, part.name)
        else:
            yield part.name, stream.read()


def parse(
    format: str, place: str, raw: bytes, fields: Fields | None = None
) -> Iterator[Document | BadRecord | Skipped]:
    """What a record of `read_raw` holds: of a wiki page one document a section.

    Args:
      format: the part's.
      place: where the record is, for errors and for documents without an id.
      raw: the record.
      fields: names of the fields of JSON lines; None: the usual ones.
    """
    try:
        match format:
            case "jsonl":
                yield from json_lines.parse(place, raw, fields or Fields())
            case "tsv":
                yield from passages.parse(place, raw)
            case "xml":
                yield from wiki_dump.parse(place, raw)
            case "wet":
                yield from wet.parse(place, raw)
            case _:
                yield _parse_text(place, raw)
    except Fault as fault:
        yield BadRecord(place, str(fault))


def _walk(path: epath.Path) -> Iterator[epath.Path]:
    if not path.is_dir():
        yield path
        return
    for child in path.iterdir():
        if not child.name.startswith("."):
            yield from _walk(child)


def _parts_of(
    file: epath.Path, name: str, part_bytes: int, problems: Problems
) -> list[Part]:
    suffix = re.search(rf"{_NAME.pattern}$", file.name)
    if not suffix:
        problems.add(
            f"{file} ends in {file.suffix!r}, which can't be read. Convert it to one "
            f"of {SUFFIXES}, or move it out of the folder."
        )
        return []
    whole = Part(os.fspath(file), name, suffix[1].lower())
    if whole.format == "xml":
        wiki_dump.wikitext_module()  # missing, it's missed now and not after a day
    if whole.format == "tsv" and not _has_header(whole, problems):
        return []
    size = 0 if suffix[2] or whole.format not in _LINES else file.stat().length
    if size <= part_bytes:
        return [whole]
    starts = range(0, size, part_bytes)
    return [
        dataclasses.replace(whole, start=start, stop=min(start + part_bytes, size))
        for start in starts
    ]


def _has_header(part: Part, problems: Problems) -> bool:
    try:
        with _open(part.file) as stream, _damage_told(part.name):
            found = passages.columns(stream.readline())
    except CorpusError as error:
        problems.add(str(error))
        return False
    if found == passages.HEADER:
        return True
    problems.add(
        f"{part.name} begins with {' '.join(found)!r:.60}, not with the columns "
        f"{passages.HEADER} of DPR's passages. Put them in this order, with such a "
        "first line, or convert the file to JSON lines."
    )
    return False


@contextlib.contextmanager
def _open(file: str) -> Iterator[io.BufferedIOBase]:
    with epath.Path(file).open("rb") as stream:
        decompress = _DECOMPRESS.get(os.path.splitext(file)[1].lower())
        yield decompress(stream) if decompress else stream


@contextlib.contextmanager
def _damage_told(name: str) -> Iterator[None]:
    """Names the file in what gzip and bz2 raise for a damaged one."""
    try:
        yield
    except (EOFError, zlib.error, OSError) as error:
        if getattr(error, "errno", None) is not None:  # the disk's, not the file's
            raise
        raise CorpusError(
            f"{name} is damaged: {error}. Fetch it again, or move it out of the folder."
        ) from error


def _numbered_lines(
    stream: io.BufferedIOBase, part: Part
) -> Iterator[tuple[str, bytes]]:
    header_lines = 1 if part.format == "tsv" else 0
    for number, line in enumerate(stream, start=1):
        if number > header_lines and not _is_blank(line):
            yield f"{part.name}:{number}", line


def _lines_of_range(
    stream: io.BufferedIOBase, part: Part
) -> Iterator[tuple[str, bytes]]:
    offset = part.start
    if offset:  # a line that began before is the part's before
        stream.seek(offset - 1)
        offset += len(stream.readline()) - 1
    for line in stream:
        if offset >= part.stop:
            return
        if not _is_blank(line) and (offset or part.format != "tsv"):
            yield f"{part.name}:byte{offset}", line
        offset += len(line)


def _is_blank(line: bytes) -> bool:
    return not line.removeprefix(records.BOM).strip()


def _parse_text(place: str, raw: bytes) -> Document:
    text = records.decode(raw)
    if not text.strip():
        raise Fault("is empty. Fill it, or move it out of the folder.")
    return Document(place, text.replace("\r\n", "\n"))
