"""Finding, splitting and reading files: every line in one part, damage told."""

import bz2
import gzip
import json
import sys

import pytest

import radit_jax.corpus
from radit_jax.corpus import formats
from radit_jax.corpus.formats import BadRecord, Fields, Part
from radit_jax.corpus.json_lines import CorpusError
from radit_jax.types import Document

HEADER = b"id\ttext\ttitle\n"


def read(path, **options):
    return [
        found
        for part in formats.parts(path, **options)
        for place, raw in formats.read_raw(part)
        for found in formats.parse(part.format, place, raw)
    ]


def test_atlas_json_lines(tmp_path):
    record = {"id": "9", "title": "Paris", "section": "History", "text": "It grew."}
    (tmp_path / "text-list-100-sec.jsonl").write_text(json.dumps(record) + "\n")
    assert read(tmp_path) == [Document("9", "It grew.", "Paris", "History")]


def test_fields_can_be_named():
    line = b'{"key": 5, "head": "H", "body": "B", "part": "P"}'
    found = formats.parse("jsonl", "a:1", line, Fields("key", "head", "body", "part"))
    assert list(found) == [Document("5", "B", "H", "P")]


def test_dpr_passages(tmp_path):
    path = tmp_path / "psgs_w100.tsv"
    path.write_bytes(
        b"\xef\xbb\xbf"
        + HEADER
        + '1\t"He said ""nö""\tat once."\tJoe\r\n'.encode()
        + b'\n2\t"Text."\t"""Heroes"" (album)"\n3\tBare\t'
    )
    assert read(path) == [
        Document("1", 'He said "nö"\tat once.', "Joe"),
        Document("2", "Text.", '"Heroes" (album)'),
        Document("3", "Bare"),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'1\t"open\tT', "is not a line of tab-separated values (unexpected end"),
        (b'1\t"a"b\tT', "is not a line of tab-separated values ("),
        (b"1\ta", "has 2 column(s), not the 3 of ('id', 'text', 'title')."),
        (b"1\ta\tT\tx", "has 4 column(s), not the 3"),
        (b" \ta\tT", "has an empty 'id'."),
        (b"1\t \tT", "has an empty 'text'."),
        (b"1\tcaf\xe9\tT", "is not UTF-8: byte 0xe9 at offset 5. Convert"),
    ],
)
def test_a_bad_passage(line, reason):
    (found,) = formats.parse("tsv", "a.tsv:7", line)
    assert isinstance(found, BadRecord)
    assert str(found).startswith(f"a.tsv:7 {reason}")


@pytest.mark.parametrize("format", ["txt", "md"])
def test_an_empty_text(format):
    (found,) = formats.parse(format, "a", b" \n")
    assert found == BadRecord("a", "is empty. Fill it, or move it out of the folder.")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_compressed_files(tmp_path, compress):
    suffix = {gzip: ".gz", bz2: ".bz2"}[sys.modules[compress.__module__]]
    line = b'{"text": "one"}\n'
    (tmp_path / f"a.jsonl{suffix}").write_bytes(compress(b"\n" + line + b"x\n" + line))
    (tmp_path / f"b.TSV{suffix.upper()}").write_bytes(compress(HEADER + b"7\tt\tT"))
    (tmp_path / f"c.md{suffix}").write_bytes(compress(b"# d"))
    fault = "is not valid JSON (Expecting value at column 1). Write one JSON object a l"
    found = read(tmp_path, part_bytes=1)
    assert found[1].reason.startswith(fault)
    del found[1]
    assert found == [
        Document(f"a.jsonl{suffix}:2", "one"),
        Document(f"a.jsonl{suffix}:4", "one"),
        Document("7", "t", "T"),
        Document(f"c.md{suffix}", "# d"),
    ]


def test_formats_by_name(tmp_path):
    names = {
        "enwiki-20211220-pages-articles1.xml-p1p41242.bz2": "xml",
        "enwiki-latest-pages-articles.xml.bz2": "xml",
        "dump.xml": "xml",
        "CC-MAIN-20170116095121-00570-ip-10-171-10-70.warc.wet.gz": "wet",
        "a.JSONL": "jsonl",
        "b.txt": "txt",
    }
    for name in names:
        (tmp_path / name).touch()
    found = formats.parts(tmp_path)
    assert {part.name: part.format for part in found} == names
    assert [part.name for part in found] == sorted(names)


def lines_of(parts):
    return [raw for part in parts for _, raw in formats.read_raw(part)]


@pytest.mark.parametrize("format", ["jsonl", "tsv"])
def test_every_line_is_in_the_part_in_which_it_begins(tmp_path, format):
    lines = [f"{i}\t{'é' * (i % 5)}\tT\n".encode() for i in range(12)]
    lines[4] = b"\r\n"
    lines[-1] = lines[-1].rstrip()
    content = (HEADER if format == "tsv" else b"") + b"".join(lines)
    path = tmp_path / f"a.{format}"
    path.write_bytes(content)
    (whole,) = formats.parts(path)
    assert whole == Part(str(path), f"a.{format}", format)
    expected = lines_of([whole])
    assert expected == [line for line in lines if line.strip()]
    for part_bytes in range(1, len(content)):
        parts = formats.parts(path, part_bytes)
        assert lines_of(parts) == expected
        for part in parts:
            for place, raw in formats.read_raw(part):
                offset = int(place.removeprefix(f"a.{format}:byte"))
                assert content[offset:].startswith(raw)
                assert part.start <= offset < part.stop


def test_a_place_in_a_split_file_names_its_document(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "one"}\n{"text": "two"}\n')
    ids = [document.id for document in read(path, part_bytes=20)]
    assert ids == ["a.jsonl:byte0", "a.jsonl:byte16"]


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
@pytest.mark.parametrize("harm", ["cut", "flip", "other"])
def test_a_damaged_file(tmp_path, compress, harm):
    content = bytearray(compress(b"".join(b"%d\n" % i for i in range(30_000))))
    if harm == "cut":
        del content[-20:]
    elif harm == "flip":
        content[len(content) // 2 : len(content) // 2 + 8] = b"\xff" * 8
    else:
        content = b"plain text"
    path = tmp_path / f"a.jsonl{'.gz' if compress is gzip.compress else '.bz2'}"
    path.write_bytes(content)
    (part,) = formats.parts(path)
    with pytest.raises(CorpusError, match=r"a.jsonl.* is damaged: .* Fetch it again"):
        list(formats.read_raw(part))


def test_a_disk_that_fails_is_no_damaged_file(tmp_path):
    part = Part(str(tmp_path / "gone.jsonl"), "gone.jsonl", "jsonl")
    with pytest.raises(FileNotFoundError, match="gone.jsonl"):
        list(formats.read_raw(part))


def test_problems_with_files_are_told_together(tmp_path):
    (tmp_path / "a.pdf").touch()
    (tmp_path / "b.tsv").write_text("0\ta text\ta title\n")
    (tmp_path / "c.tsv.gz").write_bytes(gzip.compress(HEADER)[:12])
    (tmp_path / "d.xml.zip").touch()
    said = (
        r"(?s)4 problem.*a.pdf ends in '.pdf', which can't be read. Convert it.*"
        r"b.tsv begins with '0 a text a title', not with the columns .'id', 'text', "
        r"'title'. of DPR's passages.*c.tsv.gz is damaged.*d.xml.zip ends in '.zip'"
    )
    with pytest.raises(CorpusError, match=said):
        formats.parts(tmp_path)


def test_a_missing_path(tmp_path):
    with pytest.raises(
        CorpusError, match="nowhere does not exist. Check --config.corp"
    ):
        formats.parts(tmp_path / "nowhere")


def test_a_dump_needs_the_parser(tmp_path, monkeypatch):
    (tmp_path / "a.xml").touch()
    monkeypatch.setitem(sys.modules, "mwparserfromhell", None)
    monkeypatch.delitem(sys.modules, "radit_jax.corpus.wikitext", raising=False)
    monkeypatch.delattr(radit_jax.corpus, "wikitext", raising=False)
    with pytest.raises(CorpusError, match=r"pip install 'radit_jax\[data\]'"):
        formats.parts(tmp_path)


def test_collecting_stops_at_twenty_problems(tmp_path):
    for number in range(50):
        (tmp_path / f"{number}.pdf").write_text("")
    with pytest.raises(CorpusError, match="the first 20 problem") as caught:
        formats.parts(tmp_path)
    assert str(caught.value).count("\n") == 20
