import numpy as np
import pytest

from radit_jax.retrieval import scann_index
from radit_jax.retrieval.embeddings import EmbeddingsError
from radit_jax.retrieval.exact_index import ExactIndex
from radit_jax.retrieval.ranking import SearchError
from radit_jax.retrieval.scann_index import RecallError
from tests.retrieval.conftest import ranking_of


def _recall_by_ids(found, matrix, queries, k):
    """The share of the true k best ids, with loops."""
    best = ranking_of(matrix, queries, k)[0]
    return np.mean([len(set(x) & set(y)) / k for x, y in zip(found, best, strict=True)])


def test_parameters_follow_the_rules_of_thumb():
    small = scann_index.parameters(10_000, 384)
    assert (small["num_leaves"], small["leaves_to_search"]) == (100, 10)
    assert (small["dimensions_per_block"], small["reorder"]) == (2, 100)
    assert small["training_sample_size"] == 10_000
    assert small["anisotropic_quantization_threshold"] == 0.2
    wikipedia = scann_index.parameters(37_000_000, 768)
    assert wikipedia["num_leaves"] == 6083
    assert wikipedia["training_sample_size"] == 64 * 6083


def test_all_leaves_and_candidates_equal_exact_search(to_disk, clustered):
    stored = to_disk(clustered)
    index = scann_index.build(stored)
    index.parameters |= {"leaves_to_search": 45, "reorder": 2000}
    queries = clustered[:20] + np.float32(0.1)
    ids, scores = index.search(queries, 10)
    exact_ids, exact_scores = ExactIndex(stored).search(queries, 10)
    np.testing.assert_array_equal(ids, exact_ids)
    np.testing.assert_array_equal(scores, exact_scores)
    assert (ids.dtype, scores.dtype) == (np.int32, np.float32)


def test_measured_recall_is_the_share_of_the_best_ids(to_disk, clustered):
    stored = to_disk(clustered)
    index = scann_index.build(stored)
    index.parameters |= {"leaves_to_search": 1, "reorder": 30}
    queries = clustered[::50] + np.float32(0.3)
    recall = scann_index.measure_recall(index, ExactIndex(stored), queries, 10)
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
    recall = scann_index.measure_recall(index, ExactIndex(stored), matrix[:40], 10)
    assert recall == 1


def test_reach_recall_searches_more_until_the_target(to_disk, clustered):
    stored = to_disk(clustered)
    index, exact = scann_index.build(stored), ExactIndex(stored)
    index.parameters |= {"leaves_to_search": 1, "reorder": 30}
    queries = clustered[::20] + np.float32(0.3)
    before = scann_index.measure_recall(index, exact, queries, 10)
    recall = scann_index.reach_recall(index, exact, queries, 10, 0.97)
    assert before < 0.97 <= recall
    assert recall == scann_index.measure_recall(index, exact, queries, 10)
    assert index.parameters["leaves_to_search"] > 1


def test_recall_that_cannot_be_reached(to_disk, clustered):
    stored = to_disk(clustered[:200])
    index = scann_index.build(stored)
    with pytest.raises(
        RecallError,
        match=r"finds 1.0000 of the 10 best chunks with all 14 leaves and 200 "
        r"candidates .* the target is 1.01. Lower --config.index.target_recall",
    ):
        scann_index.reach_recall(index, ExactIndex(stored), clustered[:9], 10, 1.01)


def test_few_leaves_still_give_k_chunks(to_disk, clustered):
    """ScaNN pads with id 0 and NaN where the searched leaves hold too few."""
    stored = to_disk(clustered)
    index = scann_index.build(stored)
    index.parameters["leaves_to_search"] = 1
    ids, scores = index.search(clustered[:8], 500)
    assert all(len(set(row)) == 500 for row in ids.tolist())
    assert np.all(np.diff(scores, axis=1) <= 0)


def test_save_move_and_load(to_disk, clustered, tmp_path):
    stored = to_disk(clustered)
    index = scann_index.build(stored)
    index.parameters["leaves_to_search"] = 7
    (tmp_path / "draft").mkdir()
    index.save(tmp_path / "draft")
    (tmp_path / "draft").rename(tmp_path / "moved")
    loaded = scann_index.load(tmp_path / "moved", stored, index.parameters)
    for before, after in zip(
        index.search(clustered[:9], 5), loaded.search(clustered[:9], 5), strict=True
    ):
        np.testing.assert_array_equal(before, after)


def test_a_pickle_is_never_loaded(to_disk, clustered, tmp_path):
    (tmp_path / "scann").mkdir()
    (tmp_path / "scann" / "scann_docids.pkl").write_bytes(b"")
    with pytest.raises(RecallError, match="a pickle can run any code and is never"):
        scann_index.load(tmp_path, to_disk(clustered), {})


def test_corpus_too_small(to_disk, clustered):
    with pytest.raises(RecallError, match="at least 16 chunks, the corpus has 15; use"):
        scann_index.build(to_disk(clustered[:15]))


def test_smallest_corpus(to_disk, clustered):
    ids, _ = scann_index.build(to_disk(clustered[:16])).search(clustered[:2], 16)
    np.testing.assert_array_equal(np.sort(ids), [np.arange(16)] * 2)


def test_corpus_that_is_not_finite(to_disk, clustered):
    clustered[30, 2] = np.inf
    with pytest.raises(EmbeddingsError, match="1 of 2000 .* the first is chunk 30"):
        scann_index.build(to_disk(clustered))


def test_checks_its_queries(to_disk, clustered):
    index = scann_index.build(to_disk(clustered[:20]))
    with pytest.raises(SearchError, match="k=21 is larger than the corpus of 20"):
        index.search(clustered[:1], 21)
