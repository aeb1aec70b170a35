import json

import pytest

from radit_jax.corpus.json_lines import CorpusError
from radit_jax.corpus.store import ChunkStore
from radit_jax.retrieval import queries
from radit_jax.types import Chunk, Instruction, Retrieved


class Store(ChunkStore):
    def __init__(self):
        pass

    def get_many(self, ids):
        return [Chunk(i, f"d{i}", f"text {i}", "Title") for i in ids]


def write(tmp_path, content, name="asked.jsonl"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_json_lines(tmp_path):
    path = write(
        tmp_path,
        '{"id": 7, "question": " Who? "}\n\n{"question": "Où?", "answers": ["x"]}\n',
    )
    assert queries.read_queries(path) == [
        Instruction("7", "Who?", ()),
        Instruction("asked.jsonl:3", "Où?", ()),
    ]


def test_plain_text(tmp_path):
    path = write(tmp_path, "\ufeffWho?\n \nOù?", "asked.txt")
    assert queries.read_queries(path) == [
        Instruction("asked.txt:1", "Who?", ()),
        Instruction("asked.txt:3", "Où?", ()),
    ]


def test_every_problem_is_named(tmp_path):
    lines = [
        '{"id": "a", "question": "x"}',
        '{"id": "a", "question": "y"}',
        '{"text": "z"}',
        '{"question": "  "}',
        '{"id": 1.5, "question": "x"}',
        "not JSON",
    ]
    with pytest.raises(CorpusError) as raised:
        queries.read_queries(write(tmp_path, "\n".join(lines)))
    said = str(raised.value)
    assert "asked.jsonl:2: 'id' is 'a', which is no id or not the first such" in said
    assert "asked.jsonl:3: 'question' is missing; found ['text']" in said
    assert "asked.jsonl:4: 'question' is empty" in said
    assert "asked.jsonl:5: 'id' is 1.5" in said
    assert "asked.jsonl:6 is not valid JSON" in said
    assert "5 problem(s)" in said


def test_text_that_is_not_utf8(tmp_path):
    with pytest.raises(CorpusError, match="asked.txt:2 is not UTF-8"):
        queries.read_queries(write(tmp_path, b"Who?\nO\xf9?\n", "asked.txt"))


def test_no_questions(tmp_path):
    with pytest.raises(CorpusError, match="holds no questions; write one a line"):
        queries.read_queries(write(tmp_path, "\n \n"))
    with pytest.raises(CorpusError, match="none.jsonl is not a file of questions"):
        queries.read_queries(tmp_path / "none.jsonl")


def test_what_was_found(tmp_path):
    found = [Retrieved(Instruction("q", "Où?", ()), (4, 1), (0.5, 0.25))]
    queries.write_found(tmp_path / "found.jsonl", found, Store())
    (line,) = (tmp_path / "found.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert (record["id"], record["question"]) == ("q", "Où?")
    assert record["chunks"][0] == {
        "score": 0.5,
        "chunk_id": 4,
        "document_id": "d4",
        "title": "Title",
        "text": "text 4",
    }
    assert [chunk["score"] for chunk in record["chunks"]] == [0.5, 0.25]
