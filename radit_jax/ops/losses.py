"""The fine-tuning losses: RA-DIT's Eq. 3 (the LM) and Eq. 4 and 5 (the retriever)."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from radit_jax.ops import ensemble

DIRECTIONS = ("forward", "reverse")


def next_token_loss(
    log_likelihood: Float[Array, "*b t"], mask: Bool[Array, "*b t"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Sum of -log p over the output tokens, and their number (RA-DIT, Eq. 3).

    The two are apart so that a mean over micro-batches and devices can be weighted by
    tokens: sum both, then divide. A mean of means would favour short answers.

    Args:
      log_likelihood: of each target token, nats.
      mask: True for output tokens.

    Returns:
      The loss in nats and the number of tokens, float32 scalars.
    """
    log_likelihood = jnp.where(mask, log_likelihood.astype(jnp.float32), 0.0)
    return -jnp.sum(log_likelihood), jnp.sum(mask, dtype=jnp.float32)


def lsr_distributions(
    retriever_scores: Float[Array, "b k"],
    lm_scores: Float[Array, "b k"],
    mask: Bool[Array, "b k"],
    *,
    lm_temperature: float,
    retriever_temperature: float = 1.0,
) -> tuple[Float[Array, "b k"], Float[Array, "b k"]]:
    """log p_R(c | x) and log p_LSR(c | x, y) over the retrieved set (RA-DIT, Eq. 4).

    Args:
      retriever_scores: dot products s(x, c).
      lm_scores: `ops.likelihood.sequence_score` of the answer under each chunk.
      mask: False for chunks that are not there.
      lm_temperature: τ.
      retriever_temperature: 1 in the paper.

    Returns:
      Both in nats, float32, -inf at masked chunks. No gradient reaches `lm_scores`:
      the LM is frozen while the retriever is tuned.
    """
    lm_scores = jax.lax.stop_gradient(lm_scores)
    log_p_r = ensemble.retrieval_log_softmax(
        retriever_scores, mask, retriever_temperature
    )
    return log_p_r, ensemble.retrieval_log_softmax(lm_scores, mask, lm_temperature)


@functools.partial(
    jax.jit,
    static_argnames=("lm_temperature", "retriever_temperature", "direction"),
)
def lsr_loss(
    retriever_scores: Float[Array, "b k"],
    lm_scores: Float[Array, "b k"],
    mask: Bool[Array, "b k"],
    *,
    lm_temperature: float,
    retriever_temperature: float = 1.0,
    direction: str = "forward",
) -> Float[Array, ""]:
    """Mean KL(p_R ‖ p_LSR) over the queries: LM-supervised retrieval (RA-DIT, Eq. 5).

    Example: s = (0, 0) gives p_R = (1/2, 1/2). LM scores (0, -τ·ln 3) give p_LSR =
    (3/4, 1/4). KL = ½ ln(½ / ¾) + ½ ln(½ / ¼) = ½ ln(4/3) = 0.1438 nats.

    Args:
      retriever_scores: dot products s(x, c); the gradient flows into these.
      lm_scores: of the answer under each chunk; no gradient.
      mask: False for chunks that are not there: they have no weight. A query without
        any chunk does not count in the mean.
      lm_temperature: τ.
      retriever_temperature: 1 in the paper.
      direction: "forward" is the paper's KL(p_R ‖ p_LSR); "reverse" is the other,
        KL(p_LSR ‖ p_R), as in REPLUG's and Atlas' code.

    Returns:
      Nats, float32 scalar; 0 where no query has a chunk.

    Raises:
      ValueError: for another direction.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"direction is {direction!r}; choose one of {DIRECTIONS}.")
    log_p_r, log_p_lsr = lsr_distributions(
        retriever_scores,
        lm_scores,
        mask,
        lm_temperature=lm_temperature,
        retriever_temperature=retriever_temperature,
    )
    if direction == "reverse":
        log_p_r, log_p_lsr = log_p_lsr, log_p_r
    has_chunks = jnp.any(mask, axis=-1)
    divergence = _kl(log_p_r, log_p_lsr, mask)
    return jnp.sum(divergence) / jnp.maximum(jnp.sum(has_chunks), 1)


def _kl(
    log_p: Float[Array, "b k"], log_q: Float[Array, "b k"], mask: Bool[Array, "b k"]
) -> Float[Array, " b"]:
    # Zeros before the subtraction: -inf - -inf is NaN, and a `where` after it would
    # hide that from the value but not from the gradient.
    log_ratio = jnp.where(mask, log_p, 0.0) - jnp.where(mask, log_q, 0.0)
    return jnp.sum(jnp.exp(log_p) * log_ratio, axis=-1)
