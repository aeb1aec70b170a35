import numpy as np
import pytest

from radit_jax.retrieval import ranking
from radit_jax.retrieval.ranking import SearchError


def test_rank_by_hand(to_disk):
    """Products with (1, 2): 5, 3, 3, 0, 8, 3; of the three 3s the lower ids win."""
    stored = to_disk(
        np.array([[1, 2], [1, 1], [3, 0], [0, 0], [0, 4], [-1, 2]], np.float32)
    )
    ids, scores = ranking.rank(
        stored, np.array([[1, 2]], np.float32), np.array([[5, 2, 4, 3, 1]]), 3
    )
    np.testing.assert_array_equal(ids, [[4, 1, 2]])
    np.testing.assert_array_equal(scores, [[8, 3, 3]])
    assert (ids.dtype, scores.dtype) == (np.int32, np.float32)


def test_equal_rows_get_equal_scores(to_disk):
    """Where they lie in a block must not change the order in which a sum is taken."""
    rng = np.random.default_rng(0)
    row = rng.normal(size=(1, 384)).astype(np.float32)
    stored = to_disk(np.repeat(row, 40, axis=0))
    queries = rng.normal(size=(5, 384)).astype(np.float32)
    shuffled = np.stack([rng.permutation(40) for _ in range(5)])
    ids, scores = ranking.rank(stored, queries, shuffled, 40)
    np.testing.assert_array_equal(ids, np.tile(np.arange(40), (5, 1)))
    assert np.all(scores == scores[:, :1])


def test_k_above_the_corpus(to_disk):
    stored = to_disk(np.ones((7, 3), np.float32))
    with pytest.raises(
        SearchError,
        match="k=8 is larger than the corpus of 7 chunks; lower --config.retrieve.num",
    ):
        ranking.check(np.ones((1, 3), np.float32), 8, stored)


def test_queries_of_another_width(to_disk):
    stored = to_disk(np.ones((7, 3), np.float32))
    with pytest.raises(SearchError, match="queries are 4 wide, .* embeddings 3"):
        ranking.check(np.ones((1, 4), np.float32), 2, stored)


def test_queries_that_are_not_finite(to_disk):
    stored = to_disk(np.ones((7, 3), np.float32))
    queries = np.ones((4, 3), np.float32)
    queries[2, 0] = np.nan
    with pytest.raises(SearchError, match="1 of 4 query embeddings .* is query 2"):
        ranking.check(queries, 2, stored)
