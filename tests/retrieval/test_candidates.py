import numpy as np
import pytest

from radit_jax.retrieval import candidates
from tests.retrieval.conftest import ranking_of


def test_candidates_are_ranked_exactly(to_disk):
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(40, 6)).astype(np.float32)
    queries = rng.normal(size=(300, 6)).astype(np.float32)
    ids = [7, 3, 31, 12, 3, 25]
    found, scores = candidates.Candidates(to_disk(matrix), ids).search(queries, 4)
    kept = np.array(sorted(set(ids)))
    expected, values = ranking_of(matrix[kept], queries, 4)
    np.testing.assert_array_equal(found, kept[expected])
    np.testing.assert_allclose(scores, values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("memory_bytes", "name"),
    [(2 * 40 * 6 * 4, "whole corpus"), (2 * 40 * 6 * 4 - 1, "retrieved candidates")],
)
def test_the_whole_corpus_is_searched_where_it_fits(
    to_disk, monkeypatch, memory_bytes, name
):
    matrix = np.eye(40, 6, dtype=np.float32)
    monkeypatch.setattr(candidates, "_memory_bytes", lambda: memory_bytes)
    search, found = candidates.make_search(to_disk(matrix), [1, 2])
    assert found == name
    ids, _ = search.search(np.eye(3, 6, dtype=np.float32)[1:], 2)
    assert ids[:, 0].tolist() == [1, 2]


def test_the_memory_of_this_machine_is_known():
    assert candidates._memory_bytes() > 1 << 28
