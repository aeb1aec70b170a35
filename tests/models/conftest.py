"""Small random models on asymmetric sizes, so that swapped axes can't agree."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from radit_jax.models.decoder import Decoder, DecoderConfig
from radit_jax.models.encoder import Encoder, EncoderConfig

DECODER = DecoderConfig(
    vocab_size=40,
    num_layers=3,
    width=16,
    num_heads=6,
    num_kv_heads=2,
    head_width=4,
    mlp_width=20,
    rope_theta=100.0,
    max_positions=64,
)
ENCODER = EncoderConfig(
    vocab_size=30, num_layers=2, width=12, num_heads=3, mlp_width=20, max_positions=9
)


def scatter(make):
    """A module of `make`'s shapes; large draws, so that norms and biases count too.

    Drawn by NumPy: compiling a random generator for every shape takes seconds.
    """
    graphdef, state = nnx.split(nnx.eval_shape(make))
    rng = np.random.default_rng(0)

    def draw(leaf):
        return jnp.asarray(rng.normal(0.1, 0.3, leaf.shape).astype(np.float32))

    return nnx.merge(graphdef, jax.tree.map(draw, state))


def make_decoder(**changes) -> Decoder:
    config = dataclasses.replace(DECODER, **changes)
    return scatter(lambda: Decoder(config, rngs=nnx.Rngs(0)))


@pytest.fixture
def decoder():
    return make_decoder()


@pytest.fixture
def encoder():
    return scatter(lambda: Encoder(ENCODER, rngs=nnx.Rngs(0)))


@functools.partial(jax.jit, static_argnums=0)
def _run(graphdef, params, *inputs):
    return nnx.merge(graphdef, params)(*inputs)


def run(module, *inputs):
    """Calls a module, compiled once for all tests that use its shapes."""
    return _run(*nnx.split(module), *inputs)


def causal_inputs(tokens: np.ndarray):
    """(tokens, positions, causal mask) of rows without padding."""
    b, length = tokens.shape
    positions = np.broadcast_to(np.arange(length), (b, length))
    mask = np.broadcast_to(
        np.tril(np.ones((length, length), bool)), (b, length, length)
    )
    return jnp.asarray(tokens), jnp.asarray(positions), jnp.asarray(mask)


def draw_tokens(b: int, length: int, vocab_size: int = 40) -> np.ndarray:
    return np.random.default_rng(1).integers(0, vocab_size, (b, length))
