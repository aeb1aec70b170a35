import numpy as np
import pytest

from radit_jax.retrieval import recall
from radit_jax.retrieval.recall import RecallError

from .conftest import ranking_of


def test_share_found_by_hand():
    """Of the three best, the first query has two, the second all (one is equal)."""
    found = np.array([[9, 7, 2], [5, 4, 4]], np.float32)
    assert recall.share_found(found, np.array([6, 4], np.float32)) == 5 / 6


def test_least_scores_are_the_kth_of_argsort(to_disk, clustered, monkeypatch):
    monkeypatch.setattr(recall, "_RESIDENT_ROWS", 700)  # three times, and 300 rows
    queries = clustered[:6] + np.float32(0.3)
    least = recall.least_scores(to_disk(clustered), range(100, 1900), queries, 10)
    expected = ranking_of(clustered[100:1900], queries, 10)[1][:, -1]
    np.testing.assert_array_equal(least, expected)


def test_sampled_queries_are_rows_with_noise(to_disk, clustered):
    rows = clustered / np.linalg.norm(clustered, axis=1, keepdims=True)
    stored = to_disk(3 * rows)
    queries = recall.sample_queries(stored, range(40, 60), 500, 1.0, seed=1)
    assert queries.shape == (500, 32)
    cosines = queries @ rows.T / np.linalg.norm(queries, axis=1, keepdims=True)
    assert set(range(40, 60)) <= set(cosines.argmax(axis=1).tolist())
    assert 0.65 < np.median(cosines[:, 40:60].max(axis=1)) < 0.8
    again = recall.sample_queries(stored, range(40, 60), 500, 1.0, seed=1)
    np.testing.assert_array_equal(queries, again)
    bare = recall.sample_queries(stored, range(40, 60), 9, 0.0, seed=1)
    np.testing.assert_allclose(np.linalg.norm(bare, axis=1), 3, rtol=1e-6)


class Pretended:
    """Finds a share of 1 - (1 - leaves / 64)², or less with few candidates."""

    def __init__(self, num_queries=1000, k=10):
        self.least = np.zeros(num_queries, np.float32)
        self.shape, self.calls = (num_queries, k), []

    def __call__(self, leaves, reorder):
        self.calls.append((leaves, reorder))
        share = min(1 - (1 - leaves / 64) ** 2, 1 - 2 / reorder)
        drawn = np.random.default_rng(0).random(self.shape)
        return np.where(drawn < share, 1, -1).astype(np.float32)


def test_tune_finds_the_fewest_leaves_that_reach_the_target():
    """0.9 takes 43.8 of 64 leaves: the next rung is 50, the one before it 42."""
    search = Pretended()
    point, curve = recall.tune(search, search.least, 64, 10_000, 10, 0.9)
    assert point.leaves_to_search == 50
    # Whichever number of candidates was faster: 26 give 0.923 and 52 give 0.952.
    assert 0.9 <= point.recall < 0.97
    assert len(set(search.calls)) == len(curve)
    assert [p.recall for p in curve] == sorted(p.recall for p in curve)


def test_tune_reorders_more_where_leaves_do_not_help():
    """26 candidates give at most 0.923, 52 give 0.961, 104 give 0.98."""
    search = Pretended()
    point, _ = recall.tune(search, search.least, 64, 10_000, 10, 0.975)
    assert point.reorder >= 104
    assert point.recall >= 0.975


def test_the_reported_recall_is_of_the_queries_held_out():
    """Every other query finds less: what they find is reported, and decides."""

    def search(leaves, reorder):
        found = np.ones((100, 10), np.float32)
        found[1::2, : 10 - min(leaves, 10)] = -1
        return found

    point, curve = recall.tune(search, np.zeros(100, np.float32), 64, 100, 10, 0.75)
    assert (point.leaves_to_search, point.recall) == (8, 0.8)
    assert {p.recall for p in curve} == {1.0}


def test_all_leaves_are_tried_before_giving_up():
    """One leaf that comes short searches all, so that five seem to find no more."""

    def search(leaves, reorder):
        found = np.ones((100, 10), np.float32)
        found[:, {1: 9, 64: 10}.get(leaves, 8) :] = -1
        return found

    point, _ = recall.tune(search, np.zeros(100, np.float32), 64, 100, 10, 0.95)
    assert (point.leaves_to_search, point.recall) == (64, 1.0)


def test_recall_that_cannot_be_reached():
    search = Pretended()
    with pytest.raises(
        RecallError,
        match=r"finds 1.0000 of the 10 best chunks with 64 leaves searched and 100 "
        r"candidates .* the target is 1.01. Lower --config.index.target_recall",
    ):
        recall.tune(Whole(search), search.least, 64, 100, 10, 1.01)


class Whole:
    """Finds all with all leaves."""

    def __init__(self, search):
        self.search = search

    def __call__(self, leaves, reorder):
        found = self.search(leaves, reorder)
        return np.ones_like(found) if leaves == 64 else found
