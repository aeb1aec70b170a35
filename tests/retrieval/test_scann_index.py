import json

import jax
import numpy as np
import pytest

from radit_jax.retrieval import scann_index
from radit_jax.retrieval.embeddings import EmbeddingsError
from radit_jax.retrieval.exact_index import ExactIndex
from radit_jax.retrieval.ranking import SearchError
from radit_jax.retrieval.scann_index import ScannError, ScannIndex


def _index(stored, num_parts=1, **options):
    cuts = np.linspace(0, stored.num_rows, num_parts + 1).astype(int).tolist()
    parts = [
        scann_index.build_part(stored, range(*cuts[i : i + 2]), **options)
        for i in range(num_parts)
    ]
    return ScannIndex(parts, stored)


def _search_everything(index):
    for part in index.parts:
        settings = part.parameters
        settings.update(leaves_to_search=settings["num_leaves"], reorder=2000)
    return index


def test_parameters_follow_the_rules_of_thumb():
    small = scann_index.parameters(10_000, 384)
    assert (small["num_leaves"], small["leaves_to_search"]) == (100, 10)
    assert (small["dimensions_per_block"], small["reorder"]) == (2, 100)
    assert small["training_sample_size"] == 10_000
    assert small["anisotropic_quantization_threshold"] == 0.2
    assert small["soar_lambda"] == 1.5
    wikipedia = scann_index.parameters(37_000_000, 768)
    assert wikipedia["num_leaves"] == 6083
    assert wikipedia["training_sample_size"] == 64 * 6083
    assert scann_index.parameters(10_000, 384, num_leaves=7)["num_leaves"] == 7


@pytest.mark.parametrize("num_parts", [1, 3])
@pytest.mark.parametrize("rows_dtype", ["float32", "bfloat16"])
def test_all_leaves_and_candidates_equal_exact_search(
    to_disk, clustered, num_parts, rows_dtype
):
    stored = to_disk(clustered)
    index = _search_everything(_index(stored, num_parts, rows_dtype=rows_dtype))
    queries = clustered[:20] + np.float32(0.1)
    exact_ids, exact_scores = ExactIndex(stored).search(queries, 10)
    for batch in (slice(0, 20), slice(7, 8)):  # one query alone goes another way
        ids, scores = index.search(queries[batch], 10)
        np.testing.assert_array_equal(ids, exact_ids[batch])
        # Sure of the order, ScaNN's own float32 sums are kept.
        np.testing.assert_allclose(scores, exact_scores[batch], rtol=1e-6)
    assert (ids.dtype, scores.dtype) == (np.int32, np.float32)


def test_k_above_a_part(to_disk, clustered):
    """Three parts of 40: all chunks come once."""
    index = _index(to_disk(clustered[:120]), num_parts=3)
    ids, scores = index.search(clustered[:2], 120)
    np.testing.assert_array_equal(np.sort(ids), [np.arange(120)] * 2)
    assert np.all(np.diff(scores, axis=1) <= 0)


def test_principal_dimensions_are_few_where_few_hold_most(to_disk, clustered):
    """16 dimensions of 32 hold nearly all, in no axis' direction."""
    turned, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(32, 32)))
    flat = clustered * np.where(np.arange(32) < 16, 1, 0.01) @ turned
    assert scann_index.projected_dims(flat.astype(np.float32)) in (14, 16)
    assert scann_index.projected_dims(clustered) == 0
    stored = to_disk(flat.astype(np.float32))
    index = _search_everything(_index(stored))
    assert index.parts[0].parameters["projected_dims"] in (14, 16)
    ids, _ = index.search(clustered[:9], 10)
    exact_ids, _ = ExactIndex(stored).search(clustered[:9], 10)
    np.testing.assert_array_equal(ids, exact_ids)


def test_parts_of_other_processes_are_waited_for(to_disk, clustered):
    """The gather of a job of one process: each brings k, none of them twice."""
    assert jax.process_count() == 1
    stored = to_disk(clustered)
    parts = _search_everything(_index(stored, 2)).parts
    shared = ScannIndex(parts, stored, is_shared=True)
    ids, scores = shared.search(clustered[:5], 10)
    expected = ExactIndex(stored).search(clustered[:5], 10)
    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_array_equal(scores, expected[1])


@pytest.mark.parametrize("num_queries", [1, 8])
def test_few_leaves_still_give_k_chunks(to_disk, clustered, num_queries):
    """ScaNN gives less where the searched leaves hold too few, or pads with NaN."""
    index = _index(to_disk(clustered))
    index.parts[0].parameters["leaves_to_search"] = 1
    ids, scores = index.search(clustered[:num_queries], 500)
    assert all(len(set(row)) == 500 for row in ids.tolist())
    assert np.all(np.diff(scores, axis=1) <= 0)


def test_equal_texts_come_by_lower_id(to_disk, clustered):
    """20 chunks of every text: the ten best are the ten lower ids of one text."""
    matrix = np.tile(clustered[:50], (20, 1))
    index = _search_everything(_index(to_disk(matrix)))
    ids, _ = index.search(clustered[:9], 10)
    best = (clustered[:9] @ clustered[:50].T).argmax(axis=1)
    np.testing.assert_array_equal(ids, best[:, None] + 50 * np.arange(10))


@pytest.mark.parametrize("scale", [1, 0.01])  # the second is projected
@pytest.mark.parametrize("rows_dtype", ["float32", "bfloat16"])
def test_save_move_and_load(to_disk, clustered, tmp_path, scale, rows_dtype):
    clustered[:, 16:] *= scale
    stored = to_disk(clustered)
    index = _index(stored, rows_dtype=rows_dtype)
    index.parts[0].parameters["leaves_to_search"] = 7
    (tmp_path / "draft").mkdir()
    index.parts[0].save(tmp_path / "draft")
    (tmp_path / "draft").rename(tmp_path / "moved")
    loaded = ScannIndex([scann_index.load_part(tmp_path / "moved")], stored)
    assert loaded.parts[0].parameters == index.parts[0].parameters
    for before, after in zip(
        index.search(clustered[:9], 5), loaded.search(clustered[:9], 5), strict=True
    ):
        np.testing.assert_array_equal(before, after)


def test_a_file_cut_short(to_disk, clustered, tmp_path):
    _index(to_disk(clustered[:99])).parts[0].save(tmp_path)
    hashed = tmp_path / "hashed_dataset.npy"
    hashed.write_bytes(hashed.read_bytes()[:-5])
    with pytest.raises(ScannError, match=r"hashed_dataset.npy has \d+ bytes of \d+;"):
        scann_index.load_part(tmp_path)
    hashed.unlink()
    with pytest.raises(ScannError, match=r"hashed_dataset.npy has 0 bytes of \d+; run"):
        scann_index.load_part(tmp_path)


def test_a_pickle_is_never_loaded(tmp_path):
    (tmp_path / "part.json").write_text(json.dumps({"bytes": {}}))
    (tmp_path / "scann_docids.pkl").write_bytes(b"")
    with pytest.raises(ScannError, match="a pickle can run any code and is never"):
        scann_index.load_part(tmp_path)


def test_corpus_too_small(to_disk, clustered):
    with pytest.raises(ScannError, match="at least 16 chunks, here are 15; lower"):
        _index(to_disk(clustered[:15]))


def test_smallest_corpus(to_disk, clustered):
    ids, _ = _index(to_disk(clustered[:16])).search(clustered[:2], 16)
    np.testing.assert_array_equal(np.sort(ids), [np.arange(16)] * 2)


def test_corpus_that_is_not_finite(to_disk, clustered):
    clustered[30, 2] = np.inf
    with pytest.raises(EmbeddingsError, match="1 of 2000 .* the first is chunk 30"):
        _index(to_disk(clustered))


def test_checks_its_queries(to_disk, clustered):
    index = _index(to_disk(clustered[:20]))
    with pytest.raises(SearchError, match="k=21 is larger than the corpus of 20"):
        index.search(clustered[:1], 21)
