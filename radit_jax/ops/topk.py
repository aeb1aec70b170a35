"""The k best of many scores, equal scores by lower id."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def top_k(
    scores: Float[Array, "b n"], k: int, recall_target: float = 1.0
) -> tuple[Float[Array, "b k"], Int[Array, "b k"]]:
    """The k highest scores of each row and their columns, best first.

    Example: k = 2 of (1, 3, 3, 2) gives scores (3, 3) and ids (1, 2).

    Args:
      scores: float32, without NaN.
      k: at most `n`.
      recall_target: under 1, `lax.approx_max_k` finds at least this share of the k
        best on average: on a TPU without a sort, elsewhere no faster (Chern et al.,
        arXiv 2206.14286).

    Returns:
      Scores, and ids as int32.
    """
    # -0.0 is equal to 0.0 but has other bits, which `lax.top_k` sorts by.
    scores = jnp.where(scores == 0, 0.0, scores)
    if recall_target < 1:
        best, ids = jax.lax.approx_max_k(scores, k, recall_target=recall_target)
    else:
        best, ids = jax.lax.top_k(scores, k)
    return best, ids


def merge_top_k(
    scores: Float[Array, "b m"], ids: Int[Array, "b m"], k: int
) -> tuple[Float[Array, "b k"], Int[Array, "b k"]]:
    """The k best of candidates from several blocks, in whatever order they come.

    Example: k = 2 of scores (5, 1, 5, 2) with ids (7, 0, 3, 4) gives scores (5, 5)
    and ids (3, 7).

    Args:
      scores: the blocks' best scores, side by side.
      ids: their ids.
      k: at most `m`.

    Returns:
      Scores and ids, best first.
    """
    negative, ids = jax.lax.sort((-scores, ids), num_keys=2)
    return -negative[:, :k], ids[:, :k]
