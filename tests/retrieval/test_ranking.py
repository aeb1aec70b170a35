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


def test_cut_by_hand():
    """One query needs two candidates, the other, whose third is close, three."""
    ids = np.array([[4, 2, 9, 7], [5, 6, 0, 1]])
    scores = np.array([[9, 8, 5, 1], [9, 8, 7.9, 3]], np.float32)
    np.testing.assert_array_equal(ranking.cut(ids, scores, 2, 0.2), ids[:, :3])
    np.testing.assert_array_equal(ranking.cut(ids, scores, 2, 0.05), ids[:, :2])


def test_settle_ranks_anew_only_where_scores_are_close(to_disk):
    """Scores lie: they are believed where they are far apart."""
    stored = to_disk(np.array([[1], [2], [3], [4], [5]], np.float32), num_shards=1)
    ids = np.array([[0, 1, 2], [0, 1, 2]], np.int32)
    queries = np.ones((2, 1), np.float32)
    for close, expected in (
        ([9, 8.99, 7], [[1, 0], [2, 1]]),
        ([9, 8, 7.99], [[2, 1], [3, 2]]),
    ):
        scores = np.array([[9, 8, 7], close], np.float32)
        found, values = ranking.settle(stored, queries, ids, scores, 2, 0.1)
        np.testing.assert_array_equal(found, [[0, 1], expected[0]])
        np.testing.assert_array_equal(values, [[9, 8], expected[1]])
    assert (found.dtype, values.dtype) == (np.int32, np.float32)


def test_tolerance_covers_the_errors_of_float32_sums():
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(50, 384)).astype(np.float32)
    rows = rng.normal(size=(400, 384)).astype(np.float32)
    norm = float(np.linalg.norm(rows, axis=1).max())
    error = np.abs(queries @ rows.T - np.float64(queries) @ np.float64(rows).T).max()
    assert 2 * error < ranking.tolerance(queries, norm) < 100 * error


def test_largest_norm(to_disk):
    matrix = np.array([[9, 9], [3, 4], [1, 2], [0, 8]], np.float32)
    assert ranking.largest_norm(to_disk(matrix, num_shards=2), range(1, 3)) == 5


def test_no_queries(to_disk):
    stored = to_disk(np.ones((7, 3), np.float32))
    ids, scores = ranking.rank(
        stored, np.ones((0, 3), np.float32), np.ones((0, 4), int), 2
    )
    assert ids.shape == scores.shape == (0, 2)
