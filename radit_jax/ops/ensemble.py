"""Mixing the LM's answers over the retrieved chunks (RA-DIT, Eq. 2)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def retrieval_log_softmax(
    scores: Float[Array, "b k"],
    mask: Bool[Array, "b k"],
    temperature: float | Float[Array, ""] = 1.0,
) -> Float[Array, "b k"]:
    """log p_R(c | x), the retriever's softmax over the k retrieved chunks (Eq. 2).

    Args:
      scores: dot products s(x, c).
      mask: False for chunks that are not there; their probability is 0.
      temperature: divides the scores; the paper has none, which is 1.

    Returns:
      Log-probabilities in nats, float32; -inf at masked chunks, finite elsewhere.
    """
    scores = scores.astype(jnp.float32) / temperature
    # Finite, not -inf: a query without chunks would give inf - inf.
    scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    return jnp.where(mask, jax.nn.log_softmax(scores, axis=-1), -jnp.inf)


def mix_answers(
    answer_log_likelihood: Float[Array, "b a k"], log_p_r: Float[Array, "b k"]
) -> Float[Array, "b a"]:
    """log Σ_c p_LM(y | c∘x) p_R(c | x), one number an answer (RA-DIT, Eq. 2).

    Example: p_LM = (0.5, 0.1) under two chunks with p_R = (0.75, 0.25) mix to
    0.5·0.75 + 0.1·0.25 = 0.4.

    Args:
      answer_log_likelihood: log p_LM of whole answers under each chunk, nats.
      log_p_r: `retrieval_log_softmax`.

    Returns:
      Nats, float32.
    """
    log_joint = answer_log_likelihood.astype(jnp.float32) + log_p_r[:, None, :]
    return jax.nn.logsumexp(log_joint, axis=-1)


def mix_tokens(
    log_probs: Float[Array, "b k v"], log_p_r: Float[Array, "b k"]
) -> Float[Array, "b v"]:
    """The next token's mixture, token by token (REPLUG, arXiv 2301.12652, Eq. 2).

    Args:
      log_probs: log p_LM(token | c∘x∘so far) under each chunk, nats.
      log_p_r: `retrieval_log_softmax`.

    Returns:
      Nats, float32.
    """
    log_joint = log_probs.astype(jnp.float32) + log_p_r[:, :, None]
    return jax.nn.logsumexp(log_joint, axis=1)
