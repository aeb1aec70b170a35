"""What the step's loss holds in memory, as it is compiled."""

import math
import re

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from radit_jax.testing import toy
from radit_jax.training.lm_loss import NextTokenLoss

LENGTH, HEADS, WORDS, SLOTS = 2048, 4, 4096, 512


def gradient(remat, dtype="float32"):
    """Of the loss, traced; two layers, so that one attends for all its tokens."""
    graphdef, params = nnx.split(toy.decoder(vocab_size=WORDS, compute_dtype=dtype))
    shapes = {
        "tokens": (1, LENGTH),
        "positions": (1, LENGTH),
        "segment_ids": (1, LENGTH),
        "target_positions": (1, SLOTS),
        "target_tokens": (1, SLOTS),
    }
    batch = {name: jax.ShapeDtypeStruct(s, jnp.int32) for name, s in shapes.items()}
    batch["target_mask"] = jax.ShapeDtypeStruct((1, SLOTS), bool)
    loss = NextTokenLoss(graphdef, remat, block_tokens=128)
    return jax.jit(jax.grad(lambda *args: loss(*args)[0])).trace(params, batch)


def largest(shapes):
    return max(math.prod(map(int, re.findall(r"\d+", shape))) for shape in shapes)


@pytest.mark.parametrize("remat", ["none", "layer"])
def test_no_array_of_all_pairs_of_tokens_nor_of_all_logits(remat):
    compiled = gradient(remat).lower().compile()
    shapes = re.findall(r"(?:f32|bf16|pred|s32)\[([\d,]+)\]", compiled.as_text())
    assert largest(shapes) >= 128 * WORDS  # one block's logits: the text was read
    assert largest(shapes) < min(LENGTH * LENGTH, SLOTS * WORDS)
    # Less than scores of one head, had they been made.
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * HEADS * LENGTH**2


@pytest.mark.parametrize(("dtype", "has_kernel"), [("bfloat16", 1), ("float32", 0)])
def test_nor_on_a_gpu(dtype, has_kernel):
    program = gradient("none", dtype).lower(lowering_platforms=("cuda",)).as_text()
    shapes = re.findall(r"tensor<((?:\d+x)+)(?:f32|bf16|i1|i32)>", program)
    assert largest(shapes) >= 128 * WORDS
    assert largest(shapes) < min(LENGTH * LENGTH, SLOTS * WORDS)
    assert ("__gpu$xla.gpu.triton" in program) == has_kernel
