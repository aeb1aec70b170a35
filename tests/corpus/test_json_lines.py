"""JSON lines and text files in all their forms, and every way to be wrong."""

import json
import re

import pytest

from radit_jax.corpus import formats
from radit_jax.corpus.records import BadRecord, Fields
from radit_jax.types import Document


def write(path, *records, end="\n"):
    lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


def read(path, **fields):
    return [
        found
        for part in formats.parts(path)
        for place, raw in formats.read_raw(part)
        for found in formats.parse(part.format, place, raw, Fields(**fields))
    ]


def assert_bad(found, match):
    """The last record can't be read, and it is said why."""
    assert isinstance(found[-1], BadRecord)
    assert re.search(match, str(found[-1]))


def test_json_lines(tmp_path):
    path = write(
        tmp_path / "wiki.jsonl",
        {"id": "x", "title": " T ", "text": "one", "section": " S "},
        {"id": 7, "text": "two\r\n日本", "title": None},
        "",
        {"text": "three", "title": ""},
    )
    assert read(path) == [
        Document("x", "one", "T", "S"),
        Document("7", "two\r\n日本"),
        Document("wiki.jsonl:4", "three"),
    ]


def test_fields_can_be_named(tmp_path):
    path = write(tmp_path / "d.jsonl", {"key": "a", "head": "H", "body": "B"})
    found = read(path, id="key", title="head", text="body")
    assert found == [Document("a", "B", "H")]


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_byte_order_mark_and_windows_line_ends(tmp_path, bom):
    lines = tmp_path / "a.jsonl"
    lines.write_bytes(bom + b'{"text": "one"}\r\n{"text": "two"}\r\n\r\n')
    (tmp_path / "b.txt").write_bytes(bom + b"three\r\nfour")
    assert read(tmp_path) == [
        Document("a.jsonl:1", "one"),
        Document("a.jsonl:2", "two"),
        Document("b.txt", "three\nfour"),
    ]


def test_a_folder_is_read_to_its_depths_in_order(tmp_path):
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "b" / "c" / "z.MD").write_text("# z")
    (tmp_path / "b" / "a.txt").write_text("a")
    (tmp_path / ".hidden.bin").write_text("x")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("x")
    write(tmp_path / "a.jsonl", {"text": "first"})
    ids = [document.id for document in read(tmp_path)]
    assert ids == ["a.jsonl:1", "b/a.txt", "b/c/z.MD"]


def test_a_file_with_one_document(tmp_path):
    (tmp_path / "note.txt").write_text("hello")
    assert read(tmp_path / "note.txt") == [Document("note.txt", "hello")]


@pytest.mark.parametrize(
    ("line", "match"),
    [
        (
            '{"text": "a',
            r"d.jsonl:2 is not valid JSON \(Unterminated string .* column 10\). Write",
        ),
        ('["a"]', r'd.jsonl:2 is a JSON list, not an object: \["a"\]. Write one JSON'),
        ('"text"', "d.jsonl:2 is a JSON str, not an object"),
        ("[" * 100_000, "d.jsonl:2 is not valid JSON .it is nested too deeply"),
        (
            '{"title": "T", "body": "B"}',
            r"d.jsonl:2 has no 'text' field; found \['title', 'body'\]. Name the field "
            "with --config.corpus.text_field",
        ),
        (
            '{"text": 5}',
            "d.jsonl:2 has a 'text' that is 5, not a string. Correct the line",
        ),
        ('{"text": null}', "d.jsonl:2 has a 'text' that is None, not a"),
        ('{"text": " \\n"}', "d.jsonl:2 has a 'text' that is empty. Correct the li"),
        ('{"text": "\\ud835"}', "d.jsonl:2 has a 'text' that holds half of a surr"),
        (
            '{"text": "a", "title": ["T"]}',
            "a 'title' that is .* --config.corpus.title_f",
        ),
        (
            '{"text": "a", "id": 1.5}',
            "d.jsonl:2 has an 'id' that is 1.5, .* --config.corpus.id_f",
        ),
        (
            '{"text": "a", "id": true}',
            "d.jsonl:2 has an 'id' that is True, not a string or a whol",
        ),
        ('{"text": "a", "id": ""}', "d.jsonl:2 has an 'id' that is '', not a string"),
        ('{"text": "a", "section": 5}', "a 'section' that is 5, .* or leave it out."),
    ],
)
def test_a_bad_line(tmp_path, line, match):
    path = write(tmp_path / "d.jsonl", {"id": "x", "text": "fine"}, line)
    assert_bad(read(path), match)


def test_a_line_that_is_not_utf8(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_bytes(b'{"text": "a"}\n{"text": "caf\xe9"}\n')
    assert_bad(read(path), r"d.jsonl:2 is not UTF-8: byte 0xe9 at offs")


def test_a_text_that_is_not_utf8(tmp_path):
    (tmp_path / "note.txt").write_bytes("text".encode("utf-16"))
    assert_bad(read(tmp_path), "note.txt is not UTF-8: .* with iconv")


def test_an_empty_text(tmp_path):
    (tmp_path / "note.txt").write_text(" \n")
    assert_bad(read(tmp_path), "note.txt is empty. Fill it, or move it out")
