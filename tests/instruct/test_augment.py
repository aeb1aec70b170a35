"""Corpus questions: slices of a chunk, drawn by the seed."""

import pytest
import tokenizers

from radit_jax.corpus import store
from radit_jax.instruct import augment
from radit_jax.text.tokenizer import LMTokenizer
from radit_jax.types import Chunk


@pytest.fixture(scope="module")
def tokenizer():
    """A token a word, with the space before it, and a token a byte for rare letters."""
    words = [f"Ġw{i}" for i in range(400)]
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(alphabet)}
    merges = []
    for word in words:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocabulary:
                vocabulary[word[:end]] = len(vocabulary)
                merges.append((word[: end - 1], word[end - 1]))
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, merges))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    backend.decoder = tokenizers.decoders.ByteLevel()
    return LMTokenizer(backend, None, 0)


def open_store(path, texts):
    store.write_chunks(path, (Chunk(i, "d", text) for i, text in enumerate(texts)))
    return store.ChunkStore(path)


def words(first, num):
    return " " + " ".join(f"w{first + i}" for i in range(num))


def test_question_and_answer_are_the_chunks_ends(tmp_path, tokenizer):
    chunks = open_store(tmp_path, [words(100, 11)])
    (found,) = augment.corpus_instructions(chunks, 1, 3, tokenizer, seed=0)
    assert found.id == "corpus:0"
    assert found.question == "w100 w101 w102"
    assert found.answers == ("w108 w109 w110",)
    assert found.source_chunk == 0


def test_the_draw_is_sorted_and_seeded(tmp_path, tokenizer):
    chunks = open_store(tmp_path, [words(100 + i, 8) for i in range(60)])
    one, same, other = (
        augment.corpus_instructions(chunks, 20, 3, tokenizer, seed)
        for seed in (1, 1, 2)
    )
    ids = [instruction.source_chunk for instruction in one]
    assert ids == sorted(set(ids))
    assert len(ids) == 20
    assert ids != list(range(20))
    assert one == same
    assert one != other


def test_short_chunks_are_passed_over_and_counted(tmp_path, tokenizer, caplog):
    caplog.set_level("INFO", logger="absl")
    lengths = [5, 6, 7, 2, 6]  # tokens; 2 x 3 is the least
    chunks = open_store(tmp_path, [words(100, length) for length in lengths])
    found = augment.corpus_instructions(chunks, 5, 3, tokenizer, seed=0)
    assert [instruction.source_chunk for instruction in found] == [1, 2, 4]
    assert "Found 3 of the 5 corpus questions wanted: 2 of the 5" in caplog.text
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_ends_do_not_share_a_character_of_several_tokens(tmp_path, tokenizer):
    # "é" is 2 tokens here, so the middle of these 6 tokens falls inside a letter.
    chunks = open_store(tmp_path, ["aaéaé"[:4] + "b"])
    (found,) = augment.corpus_instructions(chunks, 1, 3, tokenizer, seed=0)
    assert (found.question, found.answers) == ("aaé", ("ab",))


def test_no_long_chunk_is_an_error(tmp_path, tokenizer):
    chunks = open_store(tmp_path, [words(100, 5), words(100, 4)])
    match = "0 of the 9 .* 2 of the 2 .* 2 x 3 tokens. Lower .*corpus_query_tokens"
    with pytest.raises(augment.AugmentError, match=match):
        augment.corpus_instructions(chunks, 9, 3, tokenizer, seed=0)
