import numpy as np
import pytest

from radit_jax.retrieval import scann_index
from radit_jax.retrieval.exact_index import ExactIndex
from radit_jax.retrieval.recall import RecallError, measure_recall, reach_recall

from .conftest import ranking_of


def _recall_by_ids(found, matrix, queries, k):
    """The share of the true k best ids, with loops."""
    best = ranking_of(matrix, queries, k)[0]
    return np.mean([len(set(x) & set(y)) / k for x, y in zip(found, best, strict=True)])


def test_measured_recall_is_the_share_of_the_best_ids(to_disk, clustered):
    stored = to_disk(clustered)
    index = scann_index.build(stored)
    index.parameters |= {"leaves_to_search": 1, "reorder": 30}
    queries = clustered[::50] + np.float32(0.3)
    recall = measure_recall(index, ExactIndex(stored), queries, 10)
    expected = _recall_by_ids(index.search(queries, 10)[0], clustered, queries, 10)
    np.testing.assert_allclose(recall, expected)
    assert 0.05 < recall < 0.99


def test_any_of_equal_texts_counts_as_found(to_disk):
    """80 subjects, 25 equal chunks each: the ten best are any ten of 25."""
    rng = np.random.default_rng(0)
    matrix = np.repeat(rng.normal(size=(80, 16)), 25, axis=0).astype(np.float32)
    matrix = matrix[rng.permutation(2000)]
    stored = to_disk(matrix)
    index = scann_index.build(stored)
    index.parameters |= {"leaves_to_search": 45, "reorder": 200}
    recall = measure_recall(index, ExactIndex(stored), matrix[:40], 10)
    assert recall == 1


def test_reach_recall_searches_more_until_the_target(to_disk, clustered):
    stored = to_disk(clustered)
    index, exact = scann_index.build(stored), ExactIndex(stored)
    index.parameters |= {"leaves_to_search": 1, "reorder": 30}
    queries = clustered[::20] + np.float32(0.3)
    before = measure_recall(index, exact, queries, 10)
    recall = reach_recall(index, exact, queries, 10, 0.97)
    assert before < 0.97 <= recall
    assert recall == measure_recall(index, exact, queries, 10)
    assert index.parameters["leaves_to_search"] > 1


def test_recall_that_cannot_be_reached(to_disk, clustered):
    stored = to_disk(clustered[:200])
    index = scann_index.build(stored)
    with pytest.raises(
        RecallError,
        match=r"finds 1.0000 of the 10 best chunks with all 14 leaves and 200 "
        r"candidates .* the target is 1.01. Lower --config.index.target_recall",
    ):
        reach_recall(index, ExactIndex(stored), clustered[:9], 10, 1.01)
