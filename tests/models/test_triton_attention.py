"""The GPU's kernel, interpreted, against the attention that holds a mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from radit_jax.models import layers, packed_attention, span_attention, triton_attention
from radit_jax.ops import masks

SEGMENTS = jnp.asarray([[1] * 90 + [2] * 140 + [0] * 26], jnp.int32)
SHAPES = [(1, 256, 4, 64), (1, 256, 2, 64), (1, 256, 2, 64), (1, 256, 4, 64)]


def test_output_and_gradients_are_those_of_a_mask():
    rng = np.random.default_rng(0)
    *inputs, cotangent = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in SHAPES)

    def triton(*inputs):
        return triton_attention.attend(
            *inputs, SEGMENTS, None, dtype="float32", interpret=True
        )

    def dense(*inputs):
        return layers.attend(*inputs, masks.segment_causal(SEGMENTS), "float32")

    @jax.jit
    def both(*inputs):
        found = [jax.vjp(attend, *inputs) for attend in (triton, dense)]
        return [(mixed, backward(cotangent)) for mixed, backward in found]

    found, expected = both(*inputs)
    for one, other in zip(
        jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("length", "dtype", "window", "takes"),
    [
        (256, "bfloat16", None, True),
        (256, "bfloat16", 4096, True),  # no row is longer than what a token sees
        (256, "bfloat16", 40, False),
        (256, "float32", None, False),
        (250, "bfloat16", None, False),
    ],
)
def test_which_shapes_it_takes(length, dtype, window, takes):
    query = jax.ShapeDtypeStruct((1, length, 4, 64), jnp.float32)
    assert triton_attention.takes(query, dtype, window) == takes


@pytest.mark.parametrize(("dtype", "num_kernels"), [("bfloat16", 4), ("float32", 0)])
def test_it_is_what_a_gpus_step_is_compiled_with(dtype, num_kernels):
    """Forward, and backward its forward again, its preparation and itself."""

    def loss(*inputs):
        seen = span_attention.spans(SEGMENTS, None)
        rows = packed_attention.Rows(seen, SEGMENTS, None, whole=True)
        mixed = packed_attention.attend(
            *inputs, rows, dtype=dtype, note=lambda _, value: value
        )
        return mixed.sum()

    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in SHAPES[:3]]
    traced = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).trace(*inputs)
    program = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert program.count("__gpu$xla.gpu.triton") == num_kernels
