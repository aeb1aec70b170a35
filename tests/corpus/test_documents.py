"""Documents in all their forms, and every way in which they can be wrong."""

import gzip
import json

import pytest

from radit_jax.corpus import documents
from radit_jax.corpus.json_lines import CorpusError
from radit_jax.types import Document
from tests.corpus.test_wet import wet_record


def write(path, *records, end="\n"):
    lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


def read(path, **fields):
    return list(documents.read_documents(path, **fields))


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
    found = read(path, id_field="key", title_field="head", text_field="body")
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
        ('{"text": "a", "id": "x"}', "d.jsonl:2 repeats the id 'x'. Give every docume"),
    ],
)
def test_a_bad_line(tmp_path, line, match):
    path = write(tmp_path / "d.jsonl", {"id": "x", "text": "fine"}, line)
    with pytest.raises(CorpusError, match=match):
        read(path)


def test_a_line_that_is_not_utf8(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_bytes(b'{"text": "a"}\n{"text": "caf\xe9"}\n')
    with pytest.raises(CorpusError, match=r"d.jsonl:2 is not UTF-8: byte 0xe9 at offs"):
        read(path)


def test_a_text_that_is_not_utf8(tmp_path):
    (tmp_path / "note.txt").write_bytes("text".encode("utf-16"))
    with pytest.raises(CorpusError, match="note.txt is not UTF-8: .* with iconv"):
        read(tmp_path)


def test_an_empty_text(tmp_path):
    (tmp_path / "note.txt").write_text(" \n")
    with pytest.raises(CorpusError, match="note.txt is empty. Fill it, or move it out"):
        read(tmp_path)


def test_an_unsupported_suffix(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.pdf").write_text("b")
    with pytest.raises(CorpusError, match=r"b.pdf ends in '.pdf', which can't be read"):
        read(tmp_path)


def test_a_missing_path(tmp_path):
    with pytest.raises(
        CorpusError, match="nowhere does not exist. Check --config.corp"
    ):
        read(tmp_path / "nowhere")


@pytest.mark.parametrize("empty", [None, "d.jsonl"])
def test_an_empty_corpus(tmp_path, empty):
    if empty:
        (tmp_path / empty).write_text("\n\n")
    with pytest.raises(CorpusError, match="holds no documents. Name a file or folder"):
        read(tmp_path)


def test_problems_are_told_together_after_the_last_document(tmp_path):
    write(tmp_path / "a.jsonl", {"text": "fine"}, "oops", {"text": ""})
    (tmp_path / "b.txt").write_text("fine")
    (tmp_path / "c.csv").write_text("1,2")
    found = documents.read_documents(tmp_path)
    assert [next(found).id, next(found).id] == ["a.jsonl:1", "b.txt"]
    with pytest.raises(CorpusError, match="(?s)3 problem.*c.csv.*a.jsonl:2.*a.jsonl:3"):
        next(found)


def test_reading_stops_at_twenty_problems(tmp_path):
    path = write(tmp_path / "a.jsonl", *["oops"] * 50)
    with pytest.raises(CorpusError, match="the first 20 problem") as caught:
        read(path)
    assert str(caught.value).count("\n") == 20


def test_a_damaged_file_is_a_problem_beside_the_others(tmp_path):
    whole = gzip.compress(b'{"text": "one"}\n' * 100)
    (tmp_path / "a.jsonl.gz").write_bytes(whole[:-10])
    write(tmp_path / "b.jsonl", "oops")
    with pytest.raises(CorpusError, match="(?s)2 problem.*a.jsonl.gz is damaged.*b.js"):
        read(tmp_path)


def test_what_is_left_out_is_counted_and_web_pages_may_repeat(tmp_path, caplog):
    page = wet_record("conversion", "http://a.org/", "A page of just five words.\n")
    notes = wet_record("warcinfo", "http://a.org/", "Notes")
    (tmp_path / "a.wet").write_bytes(notes + page + page)
    with caplog.at_level("INFO"):
        found = read(tmp_path)
    assert found == [Document("http://a.org/", "A page of just five words.")]
    assert "'warcinfo record': 1, 'web page crawled before': 1" in caplog.text
