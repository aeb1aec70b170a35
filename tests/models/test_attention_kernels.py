"""The platforms' own kernels, interpreted, against the attention that holds a mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from radit_jax.models import (
    layers,
    packed_attention,
    span_attention,
    splash_attention,
    triton_attention,
)
from radit_jax.ops import masks

SEGMENTS = jnp.asarray([[1] * 90 + [2] * 140 + [0] * 26], jnp.int32)


@pytest.mark.parametrize(
    ("kernel", "width", "window"),
    [
        (splash_attention, 128, None),
        (splash_attention, 128, 40),
        (triton_attention, 64, None),
    ],
)
def test_output_and_gradients_are_those_of_a_mask(kernel, width, window):
    rng = np.random.default_rng(0)
    *inputs, cotangent = (
        jnp.asarray(rng.normal(size=(1, 256, h, width)), jnp.float32)
        for h in (4, 2, 2, 4)
    )

    def by_kernel(*inputs):
        return kernel.attend(*inputs, SEGMENTS, window, dtype="float32", interpret=True)

    def dense(*inputs):
        mask = masks.segment_causal(SEGMENTS)
        if window is not None:
            places = np.arange(256)
            mask &= (places[:, None] - places < window)[None]
        return layers.attend(*inputs, mask, "float32")

    @jax.jit
    def both(*inputs):
        found = [jax.vjp(attend, *inputs) for attend in (by_kernel, dense)]
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
def test_which_shapes_splash_takes(shape, dtype, takes):
    query = jax.ShapeDtypeStruct(shape, jnp.float32)
    assert splash_attention.takes(query, dtype, None) == takes


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
def test_which_shapes_triton_takes(length, dtype, window, takes):
    query = jax.ShapeDtypeStruct((1, length, 4, 64), jnp.float32)
    assert triton_attention.takes(query, dtype, window) == takes


@pytest.mark.parametrize(("dtype", "num_kernels"), [("bfloat16", 4), ("float32", 0)])
def test_triton_is_what_a_gpus_step_is_compiled_with(dtype, num_kernels):
    """Forward, and backward its forward again, its preparation and itself."""

    def loss(*inputs):
        seen = span_attention.spans(SEGMENTS, None)
        rows = packed_attention.Rows(seen, SEGMENTS, None, whole=True)
        mixed = packed_attention.attend(
            *inputs, rows, dtype=dtype, note=lambda _, value: value
        )
        return mixed.sum()

    shapes = [(1, 256, heads, 64) for heads in (4, 2, 2)]
    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    traced = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).trace(*inputs)
    program = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert program.count("__gpu$xla.gpu.triton") == num_kernels
