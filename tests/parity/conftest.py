"""Tiny random transformers models, every parameter large enough to matter."""

import functools

import jax
import numpy as np
import pytest
from flax import nnx

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SIZES = {
    "vocab_size": 50,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "max_position_embeddings": 64,
}
SCALINGS = {
    "default": {"rope_type": "default", "rope_theta": 500.0},
    "linear": {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0},
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 500.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
}
LENGTH = 11
TOKENS = np.random.default_rng(0).integers(0, 50, (2, LENGTH))


def draw(model):
    """Draws all parameters, norms and biases too, and turns dropout off."""
    generator = torch.Generator().manual_seed(0)
    for name, value in model.named_parameters():
        mean = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
        torch.nn.init.normal_(value, mean, 0.25, generator=generator)
    return model.eval()


@functools.partial(jax.jit, static_argnums=0)
def _run(graphdef, params, *inputs):
    return nnx.merge(graphdef, params)(*inputs)


def run(module, *inputs):
    """Calls one of our modules under jit."""
    return _run(*nnx.split(module), *inputs)


def layer(module, index: int):
    """One layer of a stacked module."""
    graphdef, params = nnx.split(module)
    return nnx.merge(graphdef, jax.tree.map(lambda value: value[index], params))


def causal(length: int = LENGTH):
    positions = np.broadcast_to(np.arange(length), (2, length))
    mask = np.broadcast_to(
        np.tril(np.ones((length, length), bool)), (2, length, length)
    )
    return positions, mask


def assert_close(ours, theirs, atol):
    np.testing.assert_allclose(
        np.asarray(ours), theirs.detach().numpy(), rtol=1e-5, atol=atol
    )
