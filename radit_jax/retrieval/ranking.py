"""Ranking: what every index checks before its search, and does after it."""

import numpy as np
from jaxtyping import Float, Int

from radit_jax.retrieval.embeddings import Embeddings

# Candidates beyond k that a search brings to `rank`: rows whose scores differ by a
# rounding error (equal texts, say) may then still change places across the cut.
MARGIN = 16


class SearchError(ValueError):
    """A search that cannot be answered."""


def check(queries: Float[np.ndarray, "b e"], k: int, embeddings: Embeddings) -> None:
    """Checks a search against the corpus.

    Raises:
      SearchError: k, the queries' width or their numbers do not fit.
    """
    if k > embeddings.num_rows:
        raise SearchError(
            f"k={k} is larger than the corpus of {embeddings.num_rows} chunks; lower "
            "--config.retrieve.num_chunks."
        )
    if queries.shape[1] != embeddings.width:
        raise SearchError(
            f"queries are {queries.shape[1]} wide, but the corpus' embeddings "
            f"{embeddings.width}; --config.encoder.query_path and passage_path must be "
            "towers of one dual encoder."
        )
    is_bad = ~np.isfinite(queries).all(axis=1)
    if is_bad.any():
        raise SearchError(
            f"{is_bad.sum()} of {len(queries)} query embeddings are not finite, the "
            f"first is query {is_bad.argmax()} of the batch; check the query tower, or "
            "use --config.encoder.compute_dtype=float32."
        )


def rank(
    embeddings: Embeddings,
    queries: Float[np.ndarray, "b e"],
    ids: Int[np.ndarray, "b m"],
    k: int,
) -> tuple[Int[np.ndarray, "b k"], Float[np.ndarray, "b k"]]:
    """The best k of m candidates by exact dot product, equal scores by lower id.

    The products are summed in float64 and rounded once. An index' own scores depend on
    its sums' order or on quantisation: equal rows would get unequal scores, and two
    indexes unequal rankings.

    Args:
      embeddings: the corpus.
      queries: float32.
      ids: at least k different rows for each query.
      k: chunks.

    Returns:
      Ids, int32, and scores, float32; best first.
    """
    rows = embeddings.rows(ids.reshape(-1)).reshape(*ids.shape, embeddings.width)
    scores = rows.astype(np.float64) @ queries.astype(np.float64)[:, :, None]
    scores = scores[..., 0].astype(np.float32)
    order = np.lexsort((ids, -scores), axis=-1)[:, :k]
    ids = np.take_along_axis(ids, order, axis=1).astype(np.int32)
    return ids, np.take_along_axis(scores, order, axis=1)
