import numpy as np
import pytest

from radit_jax.retrieval import scann_index
from radit_jax.retrieval.embeddings import EmbeddingsError
from radit_jax.retrieval.exact_index import ExactIndex
from radit_jax.retrieval.ranking import SearchError
from radit_jax.retrieval.scann_index import ScannError


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
    with pytest.raises(ScannError, match="a pickle can run any code and is never"):
        scann_index.load(tmp_path, to_disk(clustered), {})


def test_corpus_too_small(to_disk, clustered):
    with pytest.raises(ScannError, match="at least 16 chunks, the corpus has 15; use"):
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
