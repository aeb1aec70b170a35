"""Ranking: what every index checks before its search, and does after it."""

import numpy as np
from jaxtyping import Float, Int

from radit_jax.retrieval.embeddings import Embeddings

Found = tuple[Int[np.ndarray, "b k"], Float[np.ndarray, "b k"]]

# Candidates beyond k that a search brings to `rank`: rows whose scores differ by a
# rounding error (equal texts, say) may then still change places across the cut.
MARGIN = 16

_BLOCK_ROWS = 256  # of candidates in float64: 1.6 MB at a width of 768, in cache
_READ_ROWS = 4096  # of the corpus, looked at together


class SearchError(ValueError):
    """A search that cannot be answered."""


def check(
    queries: Float[np.ndarray, "b e"],
    k: int,
    embeddings: Embeddings,
    is_finite: bool = False,
) -> None:
    """Checks a search against the corpus.

    Args:
      queries: to be searched with.
      k: chunks wanted.
      embeddings: the corpus.
      is_finite: whether the queries are known to be.

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
    if not is_finite and not np.isfinite(queries).all():
        is_bad = ~np.isfinite(queries).all(axis=1)
        raise SearchError(
            f"{is_bad.sum()} of {len(queries)} query embeddings are not finite, the "
            f"first is query {is_bad.argmax()} of the batch; check the query tower, or "
            "use --config.encoder.compute_dtype=float32."
        )


def largest_norm(embeddings: Embeddings, part: range) -> float:
    """The largest L2 norm of the rows in `part`, all of which are read once.

    Raises:
      EmbeddingsError: rows are not finite.
    """
    largest = 0.0
    for start in range(part.start, part.stop, _READ_ROWS):
        rows = embeddings.slice(start, min(start + _READ_ROWS, part.stop))
        rows = rows.astype(np.float64)
        squares = np.vecdot(rows, rows)
        largest = max(largest, float(squares.max(initial=0.0)))
        if not np.isfinite(squares).all():
            embeddings.check_finite()  # raises, with the count and the first
    return largest**0.5


def tolerance(queries: Float[np.ndarray, "b e"], norm: float) -> float:
    """How far apart two float32 dot products' order is still uncertain.

    A float32 sum in one lane is at most e · 2⁻²⁴ · |x| |c| off (Higham, Accuracy and
    Stability of Numerical Algorithms, §3.1). Vector units sum in four lanes or more;
    two products may err to opposite sides.

    Args:
      queries: float32.
      norm: the largest of the corpus.
    """
    if len(queries) == 1:  # a search of one query takes ScaNN only some 30 µs
        squares = float(queries[0] @ queries[0])
    else:
        squares = float(np.vecdot(queries, queries).max(initial=0.0))
    longest = squares**0.5
    return 2 * (queries.shape[1] / 4 + 4) * 2.0**-24 * longest * norm


def cut(
    ids: Int[np.ndarray, "b m"],
    scores: Float[np.ndarray, "b m"],
    k: int,
    uncertainty: float,
) -> Int[np.ndarray, "b c"]:
    """Drops the candidates whose scores are surely under the k-th.

    Example: k = 2 of scores (9, 8, 7.9, 3) with an uncertainty of 0.2 keeps three.

    Args:
      ids: best first.
      scores: theirs.
      k: at most m.
      uncertainty: see `tolerance`.

    Returns:
      The first c ids of every query, k ≤ c ≤ m.
    """
    may_be_best = scores >= scores[:, k - 1 : k] - np.float32(uncertainty)
    return ids[:, : max(k, np.count_nonzero(may_be_best.any(axis=0)))]


def settle(
    embeddings: Embeddings,
    queries: Float[np.ndarray, "b e"],
    ids: Int[np.ndarray, "b m"],
    scores: Float[np.ndarray, "b m"],
    k: int,
    uncertainty: float,
) -> Found:
    """The best k by float32 dot products, by `rank` where these may mislead.

    Reading rows anew costs as much as finding them: it is left out for queries whose
    k best are further from each other, and from the next, than rounding errors go.

    Args:
      embeddings: the corpus.
      queries: float32.
      ids: candidates, int32, best first.
      scores: theirs, products of float32.
      k: at most m.
      uncertainty: see `tolerance`.

    Returns:
      Ids, int32, and scores, float32; best first, equal ones by lower id.
    """
    next_best = scores[:, 1 : k + 1]
    is_close = scores[:, : next_best.shape[1]] - next_best <= uncertainty
    if not is_close.any():
        return ids[:, :k], scores[:, :k]
    again = np.flatnonzero(is_close.any(axis=1))
    candidates = cut(ids[again], scores[again], k, uncertainty)
    ids, scores = ids[:, :k].copy(), scores[:, :k].copy()
    ids[again], scores[again] = rank(embeddings, queries[again], candidates, k)
    return ids, scores


def rank(
    embeddings: Embeddings,
    queries: Float[np.ndarray, "b e"],
    ids: Int[np.ndarray, "b m"],
    k: int,
) -> Found:
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
    num_candidates = ids.shape[1]
    scores = np.empty(ids.shape, np.float32)
    queries = queries[:, None].astype(np.float64)
    size = max(1, _BLOCK_ROWS // num_candidates)
    for start in range(0, len(ids), size):
        block = ids[start : start + size]
        rows = embeddings.rows(block.reshape(-1)).astype(np.float64)
        rows = rows.reshape(len(block), num_candidates, -1)
        scores[start : start + size] = np.vecdot(rows, queries[start : start + size])
    return merge(ids, scores, k)


def merge(
    ids: Int[np.ndarray, "b m"], scores: Float[np.ndarray, "b m"], k: int
) -> Found:
    """The k best of ranked candidates, equal scores by lower id.

    Args:
      ids: candidates, in whatever order.
      scores: float32.
      k: at most m.

    Returns:
      Ids, int32, and scores, float32; best first.
    """
    order = np.lexsort((ids, -scores), axis=-1)[:, :k]
    places = order + np.arange(0, ids.size, ids.shape[1])[:, None]
    return ids.take(places).astype(np.int32), scores.take(places)
