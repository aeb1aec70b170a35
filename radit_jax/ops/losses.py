"""The fine-tuning losses: RA-DIT's Eq. 3 (the LM) and Eq. 4 and 5 (the retriever).

Beside RA-DIT's loss for the retriever stand those of REPLUG, Atlas and EMDR². In all of
them the gradient reaches the retriever's scores alone: the LM is frozen.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from radit_jax.ops import ensemble

DIRECTIONS = ("forward", "reverse")
NEARLY_UNIFORM = 0.99  # of the largest entropy, ln(chunks): see `diagnostics`


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
    return _mean_over_queries(_kl(log_p_r, log_p_lsr, mask), mask)


def replug_lsr_loss(
    retriever_scores: Float[Array, "b k"],
    lm_likelihood: Float[Array, "b k"],
    mask: Bool[Array, "b k"],
    *,
    lm_temperature: float = 0.1,
    retriever_temperature: float = 0.1,
) -> Float[Array, ""]:
    """REPLUG LSR: mean KL(P_R ‖ Q_LM), Q_LM a softmax of likelihoods.

    P_R(c | x) = softmax(s(x, c) / γ) and Q_LM(c | x, y) = softmax(p_LM(y | c∘x) / β)
    over the retrieved (Shi et al. 2023, arXiv 2301.12652, §4). RA-DIT's loss, but for
    the temperature γ and for p in place of log p.

    Example: s = (0, 0.1·ln 3) gives P_R = (1/4, 3/4). Likelihoods (0.1·ln 3, 0) give
    Q_LM = (3/4, 1/4). KL = ¼ ln(1/3) + ¾ ln 3 = ½ ln 3 = 0.5493 nats.

    Args:
      retriever_scores: cosines s(x, c) in REPLUG; the gradient flows into these.
      lm_likelihood: p_LM(y | c∘x), the score form "likelihood"; no gradient.
      mask: False for chunks that are not there.
      lm_temperature: β.
      retriever_temperature: γ.

    Returns:
      Nats, float32 scalar; 0 where no query has a chunk.
    """
    return lsr_loss(
        retriever_scores,
        lm_likelihood,
        mask,
        lm_temperature=lm_temperature,
        retriever_temperature=retriever_temperature,
    )


def pdist_loss(
    retriever_scores: Float[Array, "b k"],
    mean_log_likelihood: Float[Array, "b k"],
    mask: Bool[Array, "b k"],
    *,
    width: int,
    lm_temperature: float = 0.01,
    retriever_temperature: float = 0.01,
) -> Float[Array, ""]:
    """Atlas' perplexity distillation: mean KL(p_LM ‖ p_R).

    p_LM(c) = softmax(mean_t log p_LM(y_t | c∘x, y_<t) / τ_gold) and
    p_R(c | x) = softmax(s(x, c) / (√e · τ_score)) over the retrieved (Izacard et al.
    2022, arXiv 2208.03299, §2.2; its code's `ppmean`, with both temperatures 0.01).
    Atlas' code divides by queries · chunks (PyTorch's `KLDivLoss`), we by queries.

    Example: with width 4, s = (0, 0.02·ln 3) is (0, ln 3) after both divisions, so
    p_R = (1/4, 3/4). Log-likelihoods (0, 0) give p_LM = (1/2, 1/2).
    KL = ½ ln 2 + ½ ln(2/3) = ½ ln(4/3) = 0.1438 nats.

    Args:
      retriever_scores: dot products s(x, c); the gradient flows into these.
      mean_log_likelihood: the score form of that name; no gradient.
      mask: False for chunks that are not there.
      width: of the embeddings, e.
      lm_temperature: τ_gold.
      retriever_temperature: τ_score.

    Returns:
      Nats, float32 scalar; 0 where no query has a chunk.
    """
    return lsr_loss(
        retriever_scores,
        mean_log_likelihood,
        mask,
        lm_temperature=lm_temperature,
        retriever_temperature=retriever_temperature * width**0.5,
        direction="reverse",
    )


@functools.partial(jax.jit, static_argnames="retriever_temperature")
def emdr2_loss(
    retriever_scores: Float[Array, "b k"],
    token_log_likelihood: Float[Array, "b k t"],
    target_mask: Bool[Array, "b t"],
    mask: Bool[Array, "b k"],
    *,
    retriever_temperature: float = 1.0,
) -> Float[Array, ""]:
    """EMDR²: -mean_t log Σ_c p_LM(y_t | c∘x, y_<t) p_R(c | x).

    The chunk is marginalised at every token, and the mean runs over all tokens of the
    batch, so that long answers weigh more (Sachan et al. 2021, arXiv 2106.05346, and
    its code; Atlas' `emdr` does the same). Both divide s(x, c) by √e first: give
    √e · τ as the temperature to have that. Their term that trains the LM is left out.

    Example: p_R = (1/4, 3/4); one token of probability 1/2 and 1/10. The loss is
    -ln(1/8 + 3/40) = -ln 0.2 = 1.6094 nats.

    Args:
      retriever_scores: dot products s(x, c); the gradient flows into these.
      token_log_likelihood: nats; no gradient.
      target_mask: True for the answer's tokens, which are the same under all chunks.
      mask: False for chunks that are not there.
      retriever_temperature: of p_R.

    Returns:
      Nats a token, float32 scalar. The tokens of a query without any chunk do not
      count; 0 where none is left.
    """
    log_p_r = ensemble.retrieval_log_softmax(
        retriever_scores, mask, retriever_temperature
    )
    # Zeros before the sum: -inf has no gradient, and masked tokens may hold anything.
    log_p_r = jnp.where(mask, log_p_r, jnp.finfo(jnp.float32).min / 2)
    counts = (target_mask & jnp.any(mask, axis=-1, keepdims=True))[:, None]
    counts_and_is_there = counts & mask[:, :, None]
    log_likelihood = jnp.where(
        counts_and_is_there, token_log_likelihood.astype(jnp.float32), 0.0
    )
    log_joint = jax.lax.stop_gradient(log_likelihood) + log_p_r[:, :, None]
    log_marginal = jnp.where(counts[:, 0], jax.nn.logsumexp(log_joint, axis=1), 0.0)
    return -jnp.sum(log_marginal) / jnp.maximum(jnp.sum(counts), 1)


def diagnostics(
    log_p_r: Float[Array, "b k"],
    log_p_lsr: Float[Array, "b k"],
    mask: Bool[Array, "b k"],
) -> dict[str, Float[Array, "b"]]:
    """What `lsr_distributions` say of each query: does the LM's score teach anything?

    Args:
      log_p_r: nats, -inf at masked chunks.
      log_p_lsr: likewise.
      mask: False for chunks that are not there.

    Returns:
      For each query, float32, 0 where it has no chunk: `entropy_p_r` and
      `entropy_p_lsr`; `kl_p_r_p_lsr` and `kl_p_lsr_p_r`, all in nats; `agreement`, 1
      where the LM's favourite chunk is the retriever's; `nearly_uniform`, 1 where
      p_LSR has over 99 % of the largest entropy, ln(chunks) - about what chunks that
      differ by a fifth have - or where there is but one chunk.
    """
    uniform = jnp.zeros_like(log_p_r)
    entropy_p_lsr = -_kl(log_p_lsr, uniform, mask)
    most = jnp.log(jnp.maximum(jnp.sum(mask, axis=-1), 1))
    agrees = jnp.argmax(log_p_r, axis=-1) == jnp.argmax(log_p_lsr, axis=-1)
    found = {
        "entropy_p_r": -_kl(log_p_r, uniform, mask),
        "entropy_p_lsr": entropy_p_lsr,
        "kl_p_r_p_lsr": _kl(log_p_r, log_p_lsr, mask),
        "kl_p_lsr_p_r": _kl(log_p_lsr, log_p_r, mask),
        "agreement": agrees,
        "nearly_uniform": entropy_p_lsr >= NEARLY_UNIFORM * most,
    }
    has_chunks = jnp.any(mask, axis=-1)
    return {
        name: jnp.where(has_chunks, value, 0.0).astype(jnp.float32)
        for name, value in found.items()
    }


def _mean_over_queries(
    values: Float[Array, "b"], mask: Bool[Array, "b k"]
) -> Float[Array, ""]:
    """The mean over the queries that have a chunk; the others' values are 0."""
    return jnp.sum(values) / jnp.maximum(jnp.sum(jnp.any(mask, axis=-1)), 1)


def _kl(
    log_p: Float[Array, "b k"], log_q: Float[Array, "b k"], mask: Bool[Array, "b k"]
) -> Float[Array, " b"]:
    # Zeros before the subtraction: -inf - -inf is NaN, and a `where` after it would
    # hide that from the value but not from the gradient.
    log_ratio = jnp.where(mask, log_p, 0.0) - jnp.where(mask, log_q, 0.0)
    return jnp.sum(jnp.exp(log_p) * log_ratio, axis=-1)
