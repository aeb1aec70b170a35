"""The training step's forward pass, against the decoder's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from radit_jax.models import packed_forward
from radit_jax.ops import masks
from tests.models.conftest import DECODER, make_decoder

SEGMENTS = jnp.asarray([[1, 1, 1, 1, 2, 2, 2, 0], [1, 1, 1, 1, 1, 1, 1, 1]])
POSITIONS = jnp.asarray([[0, 1, 2, 3, 0, 1, 2, 0], list(range(8))])
TARGETS = jnp.asarray([[2, 3, 5, 0], [4, 5, 6, 7]])


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, DECODER.vocab_size, SEGMENTS.shape)
    cotangent = rng.normal(size=(*TARGETS.shape, DECODER.width))
    return jnp.asarray(tokens), jnp.asarray(cotangent, jnp.float32)


def plain(graphdef, params, tokens):
    decoder = nnx.merge(graphdef, params)
    hidden = decoder(tokens, POSITIONS, masks.segment_causal(SEGMENTS))
    return jnp.take_along_axis(hidden, TARGETS[..., None], axis=1)


@pytest.mark.parametrize(
    ("remat", "window"), [("none", None), ("mlp", 3), ("layer", None)]
)
def test_hidden_states_and_gradients_are_the_decoders(rows, remat, window):
    tokens, cotangent = rows
    graphdef, params = nnx.split(make_decoder(sliding_window=window))

    def packed(params):
        decoder = nnx.merge(graphdef, params)
        return packed_forward.read_targets(
            decoder, tokens, POSITIONS, SEGMENTS, TARGETS, remat=remat
        )

    @jax.jit
    def both(params):
        hidden, backward = jax.vjp(lambda p: plain(graphdef, p, tokens), params)
        expected = hidden, *backward(cotangent)
        found, backward = jax.vjp(packed, params)
        # What is given back as the parameters' cotangent is added to.
        ones = jax.tree.map(jnp.ones_like, found.params)
        return expected, (
            found.hidden,
            *backward(packed_forward.Targets(cotangent, ones)),
        )

    (hidden, expected), (found, gradients) = both(params)
    np.testing.assert_allclose(found, hidden, rtol=1e-4, atol=1e-5)
    ones = jax.tree.map(jnp.ones_like, expected["layers"])
    expected["layers"] = jax.tree.map(jnp.add, expected["layers"], ones)
    for one, other in zip(
        jax.tree.leaves(gradients), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
