"""Reciprocal-rank fusion: one ranking from several (a hybrid of dense and BM25)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from radit_jax.retrieval.ranking import Found
from radit_jax.retrieval.retriever import Searcher

_RANK_OFFSET = 60  # as published


class Fusion:
    """Sums 1 / (60 + rank) over searchers (Cormack, Clarke and Büttcher, SIGIR 2009).

    Ranks count from 1. A chunk that a searcher does not match, or only further down
    than `depth`, gets nothing from it.
    """

    no_match = 0.0

    def __init__(self, searchers: Sequence[Searcher], depth: int = 100):
        """Joins searchers of one corpus.

        Args:
          searchers: at least one.
          depth: best chunks of each that count; k, where that is more.

        Raises:
          ValueError: the searchers are of different corpora.
        """
        sizes = sorted({searcher.num_chunks for searcher in searchers})
        if len(sizes) != 1:
            raise ValueError(
                f"searchers over {sizes} chunks are not of one corpus; build all "
                "indexes from the same chunk store."
            )
        self._searchers = searchers
        self._depth = depth
        self.num_chunks = sizes[0]

    def encode(self, questions: Sequence[str]) -> list[Any]:
        """Every searcher's encoding."""
        return [searcher.encode(questions) for searcher in self._searchers]

    def search(
        self, encoded: list[Any], k: int, exclude: Int[np.ndarray, " b"]
    ) -> Found:
        """See `Searcher`."""
        depth = min(max(k, self._depth), self.num_chunks - bool(np.any(exclude >= 0)))
        ids, weights = [], []
        for searcher, one in zip(self._searchers, encoded, strict=True):
            found, scores = searcher.search(one, depth, exclude)
            reciprocal = 1 / (_RANK_OFFSET + 1 + np.arange(depth))
            ids.append(found)
            weights.append(np.where(scores > searcher.no_match, reciprocal, 0.0))
        return fuse(np.concatenate(ids, axis=1), np.concatenate(weights, axis=1), k)


def fuse(ids: Int[np.ndarray, "b m"], weights: Float[np.ndarray, "b m"], k: int):
    """Sums the weights of each row's equal ids and takes the k heaviest.

    Args:
      ids: chunks, at least k different ones a row.
      weights: of each place.
      k: chunks.

    Returns:
      Ids, int32, and summed weights, float32; heaviest first, equal ones by lower id.
    """
    rows = [_fuse_row(*row, k) for row in zip(ids, weights, strict=True)]
    return tuple(np.stack(part) for part in zip(*rows, strict=True))


def _fuse_row(ids: Int[np.ndarray, " m"], weights: Float[np.ndarray, " m"], k: int):
    different, places = np.unique(ids, return_inverse=True)  # in the order of the ids
    # Rounded before they are compared: sums in another order are equal then.
    sums = np.bincount(places, weights=weights).astype(np.float32)
    best = np.argsort(-sums, kind="stable")[:k]
    return different[best].astype(np.int32), sums[best]
