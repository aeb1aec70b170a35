"""Chunks: bounded, even, and where they say they are."""

import random

import pytest

from radit_jax.text import chunking
from radit_jax.types import Document


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
    text = rng.choice(["", " "]) + "".join(
        word + rng.choice([" ", "\n\n", "\t ", "\u00a0"]) for word in words
    )
    pieces = chunking.split_words(text, 10)
    lengths = [len(piece.split()) for _, piece in pieces]
    assert max(lengths) < 10
    assert max(lengths) - min(lengths) <= 1
    assert len(pieces) == -(-num_words // 9)
    assert [word for _, piece in pieces for word in piece.split()] == words
    assert all(text[start : start + len(piece)] == piece for start, piece in pieces)


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_no_words_no_pieces(text):
    assert chunking.split_words(text, 10) == []


def test_max_words_leaves_room_for_a_word():
    with pytest.raises(ValueError, match="max_words=1 words.*max_chunk_words to 2"):
        chunking.split_words("a b", 1)


def test_chunk_document():
    document = Document("d7", "one two three four", "Title")
    first, second = chunking.chunk_document(document, 3, first_id=5)
    assert (first.id, second.id) == (5, 6)
    assert (first.text, second.text) == ("one two", "three four")
    assert second.start == 8
    assert second.document_id == "d7"
    assert second.passage == "Title: three four"
