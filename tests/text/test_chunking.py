"""Chunks: bounded, even, and where they say they are."""

import random

import pytest

from radit_jax.text import chunking
from radit_jax.types import Chunk, Document

SPACES = [" ", "\n\n", "\t ", "\u00a0", "\u3000", "\x1f", "\u2028"]


def test_worked_example():
    text = "  a b c d e\n\nf g h i j "
    assert chunking.split_words(text, 5) == [
        (2, "a b c"),
        (8, "d e\n\nf"),
        (15, "g h i j"),
    ]


@pytest.mark.parametrize("num_words", [1, 2, 8, 9, 10, 17, 100, 101])
def test_pieces_are_bounded_even_and_complete(num_words):
    rng = random.Random(num_words)
    words = [f"w{i}é" for i in range(num_words)]
    text = rng.choice(["", *SPACES]) + "".join(
        word + rng.choice(SPACES) for word in words
    )
    pieces = chunking.split_words(text, 10)
    lengths = [len(piece.split()) for _, piece in pieces]
    assert max(lengths) < 10
    assert max(lengths) - min(lengths) <= 1
    assert len(pieces) == -(-num_words // 9)
    assert [word for _, piece in pieces for word in piece.split()] == words
    assert all(text[start : start + len(piece)] == piece for start, piece in pieces)
    assert all(piece == piece.strip() for _, piece in pieces)


@pytest.mark.parametrize("text", ["", " \n\t "])
@pytest.mark.parametrize("min_words", [0, 1, 3])
def test_no_words_no_pieces(text, min_words):
    assert chunking.split_words(text, 10, min_words) == []


@pytest.mark.parametrize(("min_words", "max_words"), [(1, 2), (5, 10), (5, 11)])
def test_only_a_text_that_is_too_short_gives_no_pieces(min_words, max_words):
    for num_words in range(1, 8 * max_words):
        pieces = chunking.split_words("w " * num_words, max_words, min_words)
        lengths = [len(piece.split()) for _, piece in pieces]
        assert sum(lengths) == (num_words if num_words >= min_words else 0)
        assert all(min_words <= length < max_words for length in lengths)


@pytest.mark.parametrize(
    ("max_words", "min_words", "match"),
    [
        (1, 1, "max_words=1 and at least min_words=1 .* to 2 or more"),
        (1, 0, "to 2 or more"),
        (9, 5, "max_words=9 and at least min_words=5 .* to 10 or more, or lower"),
    ],
)
def test_lengths_that_cannot_be_cut(max_words, min_words, match):
    with pytest.raises(ValueError, match=match):
        chunking.split_words("a b", max_words, min_words)


def test_chunk_document():
    document = Document("d7", "one two three four", "Title", "Section")
    first, second = chunking.chunk_document(document, 3, first_id=5)
    assert (first.id, second.id) == (5, 6)
    assert (first.text, second.text) == ("one two", "three four")
    assert second == Chunk(6, "d7", "three four", "Title", 8, "Section")
    assert second.passage == "Title: Section: three four"


def test_a_short_document_has_no_chunk():
    assert chunking.chunk_document(Document("d", "a b c d"), 10, min_words=5) == []
    (chunk,) = chunking.chunk_document(Document("d", " a b c d e"), 10, min_words=5)
    assert chunk == Chunk(0, "d", "a b c d e", "", 1)
