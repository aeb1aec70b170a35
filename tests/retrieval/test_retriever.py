import numpy as np
import pytest

from radit_jax.retrieval.embedder import Embedder
from radit_jax.retrieval.exact_index import ExactIndex
from radit_jax.retrieval.ranking import SearchError
from radit_jax.retrieval.retriever import Retriever

from .conftest import ranking_of


class _Letters(Embedder):
    """Counts the letters a, b and c of each text."""

    def __init__(self):
        pass

    def embed(self, texts, batch_size):
        del batch_size
        return np.array([[t.count(x) for x in "abc"] for t in texts], np.float32)


class _Counted(ExactIndex):
    """Remembers the searches."""

    def search(self, queries, k):
        self.searched = [*getattr(self, "searched", []), (len(queries), k)]
        return super().search(queries, k)


QUESTIONS = ["aab", "c", "abbbc"]


@pytest.fixture
def matrix():
    return np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)


@pytest.fixture
def index(to_disk, matrix):
    return _Counted(to_disk(matrix))


@pytest.fixture
def retriever(index):
    return Retriever(_Letters(), index)


def test_finds_the_best(retriever, index, matrix):
    ids, scores = retriever.retrieve(QUESTIONS, 4)
    expected = ranking_of(matrix, _Letters().embed(QUESTIONS, 1), 4)
    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_array_equal(scores, expected[1])
    assert index.searched == [(3, 4)]


def test_excluded_chunks_are_left_out_in_one_search(retriever, index, matrix):
    """The 1st question loses its 2nd chunk, the 2nd loses none, the 3rd a far one."""
    full = ranking_of(matrix, _Letters().embed(QUESTIONS, 1), 12)
    exclude = [int(full[0][0, 1]), -1, int(full[0][2, 11])]
    ids, scores = retriever.retrieve(QUESTIONS, 4, exclude)
    columns = [[0, 2, 3, 4], [0, 1, 2, 3], [0, 1, 2, 3]]
    np.testing.assert_array_equal(
        ids, np.take_along_axis(full[0], np.array(columns), 1)
    )
    np.testing.assert_array_equal(
        scores, np.take_along_axis(full[1], np.array(columns), 1)
    )
    assert index.searched == [(3, 5)]


def test_nothing_excluded_searches_k(retriever, index):
    retriever.retrieve(QUESTIONS, 12, [-1, -1, -1])
    assert index.searched == [(3, 12)]


def test_excluding_needs_a_chunk_more(retriever):
    ids, _ = retriever.retrieve(QUESTIONS, 11, [3, -1, -1])
    assert 3 not in ids[0]
    with pytest.raises(
        SearchError, match="k=12 chunks besides an excluded one .* 12; lower --config"
    ):
        retriever.retrieve(QUESTIONS, 12, [3, -1, -1])


def test_more_than_the_corpus(retriever):
    with pytest.raises(SearchError, match="k=13 is larger than the corpus of 12"):
        retriever.retrieve(QUESTIONS, 13)


def test_no_questions(retriever):
    with pytest.raises(SearchError, match="there are no questions to retrieve for"):
        retriever.retrieve([], 3)


def test_empty_questions(retriever):
    with pytest.raises(SearchError, match="2 of 4 questions are empty, the first is q"):
        retriever.retrieve(["a", " \n", "b", ""], 3)
