"""A tiny decoder, and what it says without cache, batch or blocks of targets."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from radit_jax.models.decoder import Decoder, DecoderConfig
from radit_jax.ops import masks

EOS, NEWLINE, VOCAB, LONGEST = 2, 5, 64, 160


def make_decoder(seed: int = 0, **changes) -> Decoder:
    config = DecoderConfig(
        **dict(
            vocab_size=VOCAB,
            num_layers=2,
            width=32,
            num_heads=4,
            num_kv_heads=2,
            head_width=8,
            mlp_width=48,
            max_positions=LONGEST,
        )
        | changes
    )
    graphdef, params = nnx.split(Decoder(config, rngs=nnx.Rngs(seed)))
    # With the weights of a new model every distribution would be nearly flat.
    params = jax.tree.map(lambda x: x * 8 if (x != 1).any() else x, params)
    return nnx.merge(graphdef, params)


@jax.jit
def _all_logits(decoder, tokens):
    positions = jnp.arange(tokens.shape[1])[None]
    hidden = decoder(tokens, positions, masks.causal(tokens.shape[1])[None])
    return decoder.logits(hidden)


def full_log_probs(decoder: Decoder, tokens: list[int]) -> np.ndarray:
    """[l v] float64: the next-token distribution after each token."""
    row = np.zeros((1, LONGEST), np.int32)
    row[0, : len(tokens)] = tokens
    logits = np.asarray(_all_logits(decoder, row), np.float64)[0, : len(tokens)]
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def score(decoder: Decoder, prompt: list[int], output: list[int]) -> np.ndarray:
    """log p of each output token: position i predicts token i + 1."""
    log_probs = full_log_probs(decoder, [*prompt, *output])
    return np.array([log_probs[len(prompt) + j - 1, y] for j, y in enumerate(output)])


def random_texts(seed: int, num: int, low: int, high: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(low, high, num)
    return [rng.integers(6, VOCAB, n).tolist() for n in lengths]
