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


def test_prefix_matches_a_loop():
    slot_mask = np.array(
        [[True, False, True, True, False], [False, True, True] + [True] * 2]
    )
    expected = np.zeros((2, 2, 5), bool)
    for row in range(2):
        for query in range(2):
            for slot in range(5):
                filled = slot < 2 + query and slot_mask[row, slot]
                expected[row, query, slot] = filled or slot == 2 + query
    mask = masks.prefix(jnp.array(slot_mask), 2, jnp.array(2))
    np.testing.assert_array_equal(mask, expected)


def test_prefix_at_offset_zero_is_causal():
    mask = masks.prefix(jnp.ones((1, 4), bool), 4)
    np.testing.assert_array_equal(mask[0], masks.causal(4))
