"""13-grams of benchmarks: which a text shares, and which questions have none."""

import json

import pytest

from radit_jax.corpus import contamination
from radit_jax.corpus.json_lines import CorpusError
from radit_jax.corpus.words import normalised_words

QUESTION = "Who was, in 1888, the first to climb the old North Tower alone?"  # 13 words


@pytest.fixture(autouse=True)
def _read_again():
    contamination.read_benchmarks.cache_clear()


def find(ngrams, text):
    return ngrams.find(normalised_words(text))


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_a_shared_13_gram_is_found_whatever_its_case():
    ngrams = contamination.BenchmarkNgrams()
    ngrams.add("q1", QUESTION, ["Ada"])
    text = (
        "He asked: WHO WAS IN 1888 the first to climb the old north tower, alone? No."
    )
    assert find(ngrams, text) == [
        ("q1", "who was in 1888 the first to climb the old north tower alone")
    ]
    assert find(ngrams, text.replace("climb", "scale")) == []
    assert find(ngrams, "Alone? " + text[:60]) == []


def test_question_and_answer_are_one_text():
    ngrams = contamination.BenchmarkNgrams()
    ngrams.add("q", "one two three four five six seven", ["a", "b c d e f g"])
    assert ngrams.num_short == 0
    (found,) = find(ngrams, "One two three four five six seven? B c d e f g!")
    assert found == ("q", "one two three four five six seven b c d e f g")
    assert find(ngrams, "one two three four five six seven a b c d e f") == []


def test_long_answers_count_and_short_questions_are_counted():
    ngrams = contamination.BenchmarkNgrams()
    answer = " ".join(f"a{i}" for i in range(14))
    ngrams.add("long", "Why?", ["Because.", answer])
    ngrams.add("short", "Who wrote it?", ["Ada"])
    assert (ngrams.num_questions, ngrams.num_short) == (2, 1)
    (found,) = find(ngrams, f"x {answer} y")
    assert found == ("long", " ".join(f"a{i}" for i in range(13)))
    assert find(ngrams, "Who wrote it? Ada") == []


def test_one_line_a_question():
    ngrams = contamination.BenchmarkNgrams()
    first, second = ([f"{x}{i}" for i in range(15)] for x in "ab")
    ngrams.add("first", " ".join(first), ["x"])
    ngrams.add("second", " ".join(second), ["x"])
    found = ngrams.find([*second, *first])
    assert [name for name, _ in found] == ["second", "first"]


def test_benchmarks_of_a_folder_are_named_by_their_file(tmp_path):
    write(tmp_path / "nq.jsonl", {"id": 7, "question": QUESTION, "answers": ["Ada"]})
    other = {"question": "?" + QUESTION[::-1], "answers": "x " * 13}
    write(tmp_path / "kilt.jsonl", other)
    ngrams = contamination.read_benchmarks(tmp_path)
    assert ngrams.num_questions == 2
    assert [name for name, _ in find(ngrams, QUESTION)] == ["nq.jsonl:7"]
    assert [n for n, _ in find(ngrams, "x " * 13)] == ["kilt.jsonl:kilt.jsonl:1"]
    one = contamination.read_benchmarks(tmp_path / "nq.jsonl")
    assert [name for name, _ in find(one, QUESTION)] == ["7"]


def test_no_benchmarks(tmp_path):
    with pytest.raises(CorpusError, match="no .jsonl file .*config.corpus.benchmarks"):
        contamination.read_benchmarks(tmp_path)
