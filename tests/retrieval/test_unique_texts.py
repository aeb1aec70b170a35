import numpy as np
import pytest

from radit_jax.corpus.store import ChunkStore
from radit_jax.retrieval.ranking import SearchError
from radit_jax.retrieval.retriever import Retriever, Searcher
from radit_jax.retrieval.unique_texts import UniqueTexts
from radit_jax.types import Chunk
from tests.retrieval.searchers import Listed


class Texts(ChunkStore):
    """A chunk store of one letter a chunk."""

    def __init__(self, letters):
        self.letters = letters

    def get_many(self, ids):
        return [Chunk(int(i), f"d{i}", self.letters[i]) for i in ids]


@pytest.fixture
def unique():
    def make(letters):
        n = len(letters)
        inner = Listed(range(n), np.linspace(1, 0, n), n)
        return UniqueTexts(inner, Texts(letters)), inner

    return make


def test_the_best_of_equal_texts_counts(unique):
    searcher, inner = unique("aabacdef")
    assert isinstance(searcher, Searcher)
    ids, scores = Retriever(searcher).retrieve(["x", "y"], 3)
    assert ids.tolist() == [[0, 2, 4]] * 2
    assert scores[0].tolist() == pytest.approx([1, 5 / 7, 3 / 7])
    assert inner.searched == [6]


def test_looks_further_while_there_are_too_few(unique):
    searcher, inner = unique("a" * 12 + "bc")
    ids, _ = Retriever(searcher).retrieve(["x"], 3)
    assert ids.tolist() == [[0, 12, 13]]
    assert inner.searched == [6, 14]


def test_an_excluded_chunks_text_is_excluded(unique):
    searcher, _ = unique("abacdbef")
    ids, _ = Retriever(searcher).retrieve(["x", "y"], 3, [2, -1])
    assert ids.tolist() == [[1, 3, 4], [0, 1, 3]]


def test_too_few_texts_in_the_corpus(unique):
    searcher, _ = unique("abab")
    with pytest.raises(
        SearchError, match="question 0 .* only 2 different texts among its best 4 chunk"
    ):
        Retriever(searcher).retrieve(["x"], 3)


def test_it_looks_no_further_than_32_k(unique):
    searcher, inner = unique("a" * 70 + "b")
    with pytest.raises(SearchError, match="only 1 different texts among its best 64 "):
        Retriever(searcher).retrieve(["x"], 2)
    assert inner.searched == [4, 16, 64]
