"""The TPU's kernel, interpreted, against the attention that holds a mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from radit_jax.models import layers, splash_attention
from radit_jax.ops import masks


@pytest.mark.parametrize("window", [None, 40])
def test_output_and_gradients_are_those_of_a_mask(window):
    rng = np.random.default_rng(0)
    shapes = [(1, 256, 4, 128), (1, 256, 2, 128), (1, 256, 2, 128), (1, 256, 4, 128)]
    *inputs, cotangent = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes)
    segment_ids = jnp.asarray([[1] * 90 + [2] * 140 + [0] * 26], jnp.int32)

    def splash(*inputs):
        return splash_attention.attend(
            *inputs, segment_ids, window, dtype="float32", interpret=True
        )

    def dense(*inputs):
        mask = masks.segment_causal(segment_ids)
        if window is not None:
            places = np.arange(256)
            mask &= (places[:, None] - places < window)[None]
        return layers.attend(*inputs, mask, "float32")

    @jax.jit
    def both(*inputs):
        found = [jax.vjp(attend, *inputs) for attend in (splash, dense)]
        return [(mixed, backward(cotangent)) for mixed, backward in found]

    found, expected = both(*inputs)
    for one, other in zip(
        jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("shape", "dtype", "takes"),
    [
        ((1, 2048, 32, 128), "bfloat16", True),
        ((1, 2048, 32, 128), "float32", False),
        ((1, 2048, 9, 64), "bfloat16", False),
        ((1, 500, 32, 128), "bfloat16", False),
    ],
)
def test_which_shapes_it_takes(shape, dtype, takes):
    query = jax.ShapeDtypeStruct(shape, jnp.float32)
    assert splash_attention.takes(query, dtype, None) == takes
