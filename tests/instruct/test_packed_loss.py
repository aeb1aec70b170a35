"""Attention and loss never cross an example: shown by gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from radit_jax.instruct import packing
from radit_jax.instruct.packing import Example
from radit_jax.testing import toy
from radit_jax.training import lm_loss

# No token stands in two examples, so a gradient tells which example it came through.
EXAMPLES = [
    Example("a", [3, 4, 5, 6, 7], 2),
    Example("b", [10, 11, 12, 13], 3),
    Example("c", [20, 21, 22, 23, 24, 25], 2),
]


@pytest.fixture(scope="module")
def loss():
    graphdef, params = nnx.split(toy.decoder(vocab_size=40, tied_head=False))
    loss_fn = lm_loss.NextTokenLoss(graphdef)
    step = jax.jit(jax.value_and_grad(lambda *args: loss_fn(*args)[0]))
    return functools.partial(step, params)


def batch_of(examples):
    (row,) = packing.pack(examples, 18)
    arrays = row.arrays(18, 16)
    return {name: jnp.asarray(array)[None] for name, array in arrays.items()}


@pytest.mark.parametrize("place", range(3))
def test_an_examples_loss_reaches_its_own_tokens_only(loss, place):
    batch, example = batch_of(EXAMPLES), EXAMPLES[place]
    targets = example.tokens[example.num_prompt_tokens :]
    batch["target_mask"] &= jnp.isin(batch["target_tokens"], jnp.asarray(targets))
    assert batch["target_mask"].sum() == len(targets)
    _, gradients = loss(batch)
    read = np.abs(np.asarray(gradients["embedding"].get_value())).sum(axis=1)
    # The last token is predicted, and read by none.
    np.testing.assert_array_equal(np.flatnonzero(read), example.tokens[:-1])


def test_a_rows_loss_and_gradient_are_the_sum_of_its_examples(loss):
    packed = loss(batch_of(EXAMPLES))
    alone = [loss(batch_of([one])) for one in EXAMPLES]
    expected = jax.tree.map(lambda *parts: sum(parts), *alone)
    for one, other in zip(
        jax.tree.leaves(packed), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
