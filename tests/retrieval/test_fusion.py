import numpy as np
import pytest

from radit_jax.retrieval.fusion import Fusion
from radit_jax.retrieval.retriever import Retriever, Searcher
from tests.retrieval.searchers import Listed


def reciprocal(*ranks):
    return np.float32(sum(1 / (60 + rank) for rank in ranks))


DENSE = Listed([4, 7, 1, 0, 9], [0.5, 0.1, -0.2, -0.3, -0.9], 10)
WORDS = Listed([7, 3, 1, 2, 5], [8.0, 3.0, 2.0, 0.0, 0.0], 10, no_match=0.0)


def test_sums_reciprocal_ranks():
    """Negative dot products count; words that match nothing (2 and 5) do not."""
    fusion = Fusion([DENSE, WORDS], depth=5)
    assert isinstance(fusion, Searcher)
    ids, scores = Retriever(fusion).retrieve(["x"], 5)
    expected = {
        7: reciprocal(2, 1),
        1: reciprocal(3, 3),
        4: reciprocal(1),
        3: reciprocal(2),
        0: reciprocal(4),
    }
    assert ids.tolist() == [list(expected)]
    assert scores.tolist() == [list(expected.values())]
    assert ids.dtype == np.int32 and scores.dtype == np.float32


def test_equal_sums_by_lower_id():
    swapped = Listed([1, 4, 7], [3.0, 2.0, 1.0], 10)
    straight = Listed([4, 1, 7], [3.0, 2.0, 1.0], 10)
    ids, scores = Retriever(Fusion([straight, swapped], depth=3)).retrieve(["x"], 3)
    assert ids.tolist() == [[1, 4, 7]]
    assert scores[0, 0] == scores[0, 1]


def test_places_below_the_depth_do_not_count():
    ids, scores = Retriever(Fusion([DENSE, WORDS], depth=2)).retrieve(["x"], 2)
    assert ids.tolist() == [[7, 4]]
    assert scores.tolist() == [[reciprocal(2, 1), reciprocal(1)]]


def test_the_excluded_chunk_leaves_its_rank_to_the_next():
    ids, scores = Retriever(Fusion([DENSE, WORDS], depth=4)).retrieve(["x"], 3, [7])
    assert ids.tolist() == [[1, 3, 4]]
    assert scores.tolist() == [[reciprocal(2, 2), reciprocal(1), reciprocal(1)]]


def test_chunks_that_match_nowhere_fill_up():
    nothing = Listed([0, 1, 2], [0.0, 0.0, 0.0], 3, no_match=0.0)
    ids, scores = Retriever(Fusion([nothing, nothing])).retrieve(["x"], 3)
    assert ids.tolist() == [[0, 1, 2]]
    assert scores.tolist() == [[0.0, 0.0, 0.0]]


def test_searchers_of_two_corpora():
    with pytest.raises(ValueError, match=r"over \[3, 10\] chunks are not of one corpu"):
        Fusion([DENSE, Listed([0], [1.0], 3)])
