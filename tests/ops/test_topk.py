import jax
import jax.numpy as jnp
import numpy as np

from radit_jax.ops import topk


def _argsort(scores, k):
    """Highest first; NumPy's stable sort keeps lower columns first among equals."""
    ids = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, ids, axis=1), ids


def test_top_k_equals_argsort_with_many_ties():
    scores = np.random.default_rng(0).integers(-3, 4, size=(6, 500)) / 2
    scores = scores.astype(np.float32)
    for k in (1, 7, 500):
        result = jax.jit(topk.top_k, static_argnums=1)(jnp.array(scores), k)
        expected = _argsort(scores, k)
        np.testing.assert_array_equal(result[0], expected[0])
        np.testing.assert_array_equal(result[1], expected[1])


def test_top_k_takes_minus_zero_for_zero():
    scores = jnp.array([[-0.0, -1.0, 0.0, -0.0, 0.0]])
    _, ids = jax.jit(topk.top_k, static_argnums=1)(scores, 4)
    np.testing.assert_array_equal(ids, [[0, 2, 3, 4]])


def test_merge_top_k_by_hand():
    scores, ids = topk.merge_top_k(
        jnp.array([[5.0, 1.0, 5.0, 2.0]]), jnp.array([[7, 0, 3, 4]]), 2
    )
    np.testing.assert_array_equal(scores, [[5, 5]])
    np.testing.assert_array_equal(ids, [[3, 7]])


def test_blocks_merged_in_any_order_equal_argsort():
    scores = np.random.default_rng(1).integers(0, 9, size=(4, 60)).astype(np.float32)
    found = []
    for start in (40, 0, 20):
        block_scores, ids = topk.top_k(jnp.array(scores[:, start : start + 20]), 8)
        found.append((block_scores, ids + start))
    merged = topk.merge_top_k(
        jnp.concatenate([s for s, _ in found], axis=1),
        jnp.concatenate([i for _, i in found], axis=1),
        8,
    )
    expected = _argsort(scores, 8)
    np.testing.assert_array_equal(merged[0], expected[0])
    np.testing.assert_array_equal(merged[1], expected[1])
