"""CommonCrawl's text: whole records, damaged ones, and the lines that are kept."""

import io

import pytest

from radit_jax.corpus import formats, wet
from radit_jax.corpus.json_lines import CorpusError
from radit_jax.corpus.records import BadRecord, Skipped
from radit_jax.types import Document

SENTENCE = "This page has one whole sentence."


def wet_record(kind, url, content):
    """A record as CommonCrawl writes it."""
    content = content.encode() if isinstance(content, str) else content
    header = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\n"
        "WARC-Date: 2017-01-16T09:51:21Z\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return header.encode() + content + b"\r\n\r\n"


def read(content):
    """(line, what is found there) of a file."""
    return [
        (int(place.removeprefix("a.wet:")), found)
        for place, raw in wet.read_records(io.BytesIO(content), "a.wet")
        for found in formats.parse("wet", place, raw)
    ]


def test_records():
    text = f"WARC/1.0 is a format of files.\n\r\n{SENTENCE}\nMenu\n"
    content = (
        wet_record("warcinfo", "", "Software-Info: x\r\n")
        + wet_record("conversion", "http://a.org/é?b=1", text)
        + wet_record("conversion", "<http://b.org/>", SENTENCE)
    )
    assert read(content) == [
        (1, Skipped("a.wet:1", "warcinfo record")),
        (
            11,
            Document(
                "http://a.org/é?b=1", f"WARC/1.0 is a format of files.\n{SENTENCE}"
            ),
        ),
        (24, Document("http://b.org/", SENTENCE)),
    ]
    lines = content.split(b"\n")
    assert [lines[n - 1] for n in (1, 11, 24)] == [b"WARC/1.0\r"] * 3


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("  Five words make a line.  ", "Five words make a line."),
        ("She said “five words here.”", "She said “five words here.”"),
        ("Four words are few.", None),
        ("Home - About - Contact - Log in", None),
        ("Please turn on JavaScript to read this.", None),
        ("", None),
    ],
)
def test_lines_that_are_kept(line, kept):
    ((_, found),) = read(wet_record("conversion", "u", line))
    if kept is None:
        assert found == Skipped("a.wet:1", "web page without a sentence")
    else:
        assert found == Document("u", kept)


@pytest.mark.parametrize(
    ("damaged", "places", "reason"),
    [
        (
            b"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Length: x\r\n\r\na\n\nc\r\n",
            [1],
            "is no",
        ),
        (b"WARC/1.0\r\nWARC-Type: conv", [1], "is no WARC record: b'WARC/1.0"),
        (
            wet_record("conversion", "u", SENTENCE).replace(b": 33", b": 3"),
            [1, 8],
            "is no WARC record: b's page has",
        ),
        (wet_record("conversion", "", SENTENCE), [1], "has no WARC-Target-URI"),
        (
            wet_record("conversion", "u", b"caf\xe9 au lait"),
            [1],
            "is not UTF-8: byte 0xe9",
        ),
    ],
)
def test_after_a_damaged_record_the_next_is_read(damaged, places, reason):
    whole = wet_record("conversion", "http://b.org/", SENTENCE)
    *found, (line, last) = read(damaged.rstrip(b"\r\n") + b"\r\n" + whole)
    assert [place for place, _ in found] == places
    assert isinstance(found[-1][1], BadRecord)
    assert found[-1][1].reason.startswith(reason)
    assert last == Document("http://b.org/", SENTENCE)
    assert line == damaged.rstrip(b"\r\n").count(b"\n") + 2


def test_a_record_that_is_cut_short():
    content = wet_record("conversion", "u", SENTENCE)
    with pytest.raises(
        CorpusError, match=r"a.wet:1 is cut short: it has 23 bytes of the 33"
    ):
        read(content[:-14])


def test_a_file_of_something_else():
    with pytest.raises(
        CorpusError, match="a.wet begins with b'<html>', not with b'WARC"
    ):
        read(b"<html>")
