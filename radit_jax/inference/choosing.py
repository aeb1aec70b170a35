"""Which token comes next: the likeliest, or one that is drawn."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

from radit_jax.ops import ensemble


@dataclasses.dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn.

    Raises:
      ValueError: a temperature below 0, or a share outside (0, 1].
    """

    temperature: float = 0.0  # divides the logits; 0: always the likeliest
    top_p: float = 1.0  # only of the likeliest tokens that hold this share
    seed: int = 0

    def __post_init__(self):
        """Refuses what no distribution has."""
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(
                f"the temperature is {self.temperature}; give 0 for greedy answers, "
                "or a number above it."
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(
                f"top_p is {self.top_p}; give a share above 0 and up to 1 (all)."
            )


def choose(
    logits: Float[Array, "b v"],
    log_p_r: Float[Array, "q k"] | None,
    seeds: UInt32[Array, "b"],
    step: Int[Array, ""],
    sampling: Sampling,
) -> Int[Array, "b"]:
    """The next token of each row.

    Args:
      logits: of each row.
      log_p_r: None: each row by itself; else row q·k + i has chunk i of question q,
        and a question's rows get the same token, of their mixture.
      seeds: of each row; of a question's rows the first one's counts.
      step: of the answer. What is drawn depends on seed and step, and on no other
        row.
      sampling: how.
    """
    scores = logits
    if log_p_r is not None:
        log_probs = jax.nn.log_softmax(logits).reshape(*log_p_r.shape, -1)
        scores = ensemble.mix_tokens(log_probs, log_p_r)
        seeds = seeds[:: log_p_r.shape[1]]
    if sampling.temperature:
        scores = nucleus(scores / sampling.temperature, sampling.top_p)
        scores += jax.vmap(lambda seed: _noise(seed, step, scores.shape[1]))(seeds)
    chosen = jnp.argmax(scores, axis=-1).astype(jnp.int32)
    return chosen if log_p_r is None else jnp.repeat(chosen, log_p_r.shape[1])


def _noise(
    seed: UInt32[Array, ""], step: Int[Array, ""], num: int
) -> Float[Array, "v"]:
    """The arg max of scores with Gumbel noise is a draw from their softmax."""
    return jax.random.gumbel(jax.random.fold_in(jax.random.key(seed), step), num)


def nucleus(scores: Float[Array, "b v"], top_p: float) -> Float[Array, "b v"]:
    """-inf at all but the likeliest tokens that hold `top_p` (arXiv 1904.09751).

    Example: of probabilities (0.5, 0.3, 0.2), a share of 0.6 keeps the first two.
    """
    if top_p >= 1:
        return scores
    descending = -jnp.sort(-scores, axis=-1)
    probability = jax.nn.softmax(descending, axis=-1)
    before = jnp.cumsum(probability, axis=-1) - probability
    lowest = jnp.min(
        jnp.where(before < top_p, descending, jnp.inf), axis=-1, keepdims=True
    )
    return jnp.where(scores >= lowest, scores, -jnp.inf)
