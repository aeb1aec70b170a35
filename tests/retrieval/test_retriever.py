import threading

import numpy as np
import pytest

from radit_jax.retrieval.ranking import SearchError
from radit_jax.retrieval.retriever import DenseSearcher, Retriever, Searcher
from tests.retrieval.searchers import Counted, Letters

from .conftest import ranking_of

QUESTIONS = ["aab", "c", "abbbc"]


@pytest.fixture
def matrix():
    return np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)


@pytest.fixture
def index(to_disk, matrix):
    return Counted(to_disk(matrix))


@pytest.fixture
def retriever(index):
    return Retriever(DenseSearcher(Letters(), index))


def test_a_dense_searcher_is_one(index):
    assert isinstance(DenseSearcher(Letters(), index), Searcher)


def test_finds_the_best(retriever, index, matrix):
    ids, scores = retriever.retrieve(QUESTIONS, 4)
    expected = ranking_of(matrix, Letters().embed(QUESTIONS, 1), 4)
    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_array_equal(scores, expected[1])
    assert index.searched == [(3, 4)]


def test_excluded_chunks_are_left_out_in_one_search(retriever, index, matrix):
    """The 1st question loses its 2nd chunk, the 2nd loses none, the 3rd a far one."""
    full = ranking_of(matrix, Letters().embed(QUESTIONS, 1), 12)
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


def test_batches_are_the_whole_cut_up(index, matrix):
    questions = [*QUESTIONS, "bb", "ca"]
    # The best chunk of each but the second and the last.
    exclude = ranking_of(matrix, Letters().embed(questions, 1), 1)[0][:, 0].tolist()
    exclude[1] = exclude[4] = -1
    embedder = Letters()
    retriever = Retriever(DenseSearcher(embedder, index))
    batches = list(retriever.retrieve_batches(questions, 4, exclude, 2))
    assert [len(ids) for ids, _ in batches] == [2, 2, 1]
    assert embedder.embedded == [2, 2, 1]
    whole = retriever.retrieve(questions, 4, exclude)
    for part, expected in zip(zip(*batches, strict=True), whole, strict=True):
        np.testing.assert_array_equal(np.concatenate(part), expected)


def test_the_next_batch_is_encoded_while_one_is_searched(index):
    """Batch 1's search waits until batch 2 is encoded: alone, it would wait forever."""
    encoded = [threading.Event(), threading.Event()]

    class Watched(DenseSearcher):
        def encode(self, questions):
            found = super().encode(questions)
            encoded["bc".index(questions[0])].set()
            return found

        def search(self, *arguments):
            assert encoded[1].wait(timeout=10)
            return super().search(*arguments)

    retriever = Retriever(Watched(Letters(), index))
    assert len(list(retriever.retrieve_batches(["b", "c"], 3, batch_size=1))) == 2


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


def test_empty_questions_are_refused_before_any_work(index):
    embedder = Letters()
    retriever = Retriever(DenseSearcher(embedder, index))
    with pytest.raises(SearchError, match="2 of 4 questions are empty, the first is q"):
        retriever.retrieve_batches(["a", " \n", "b", ""], 3, batch_size=1)
    assert not embedder.embedded
