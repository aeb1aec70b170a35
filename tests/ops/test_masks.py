import jax.numpy as jnp
import numpy as np

from radit_jax.ops import masks


def test_causal_is_the_lower_triangle():
    expected = [[True, False, False], [True, True, False], [True, True, True]]
    np.testing.assert_array_equal(masks.causal(3), expected)


def test_segment_causal_matches_a_loop():
    segment_ids = np.array([[1, 1, 2, 2, 2, 0], [1, 2, 3, 3, 0, 0]])
    expected = np.zeros((2, 6, 6), bool)
    for row in range(2):
        for query in range(6):
            for key in range(query + 1):
                expected[row, query, key] = (
                    segment_ids[row, query] == segment_ids[row, key]
                )
    mask = masks.segment_causal(jnp.array(segment_ids))
    np.testing.assert_array_equal(mask, expected)
    assert np.all(np.any(mask, axis=-1))  # no softmax is empty


def test_tree_causal_matches_a_loop():
    ends = np.array([[4, 3, 3, 4, 5, 0]])
    expected = np.zeros((1, 6, 6), bool)
    for query in range(6):
        for key in range(query + 1):
            expected[0, query, key] = query < ends[0, key]
    mask = masks.tree_causal(jnp.array(ends))
    np.testing.assert_array_equal(mask, expected)
    assert mask[0, 3].tolist() == [True, False, False, True, False, False]
