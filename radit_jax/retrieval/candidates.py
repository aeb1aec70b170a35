"""Exact search where all rows fit in memory, and where they do not."""

import os
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float

from radit_jax.retrieval.embeddings import Embeddings
from radit_jax.retrieval.exact_index import ExactIndex
from radit_jax.retrieval.ranking import Found

_BLOCK = 256  # queries searched together


@runtime_checkable
class Search(Protocol):
    """An exact search."""

    def search(self, queries: Float[np.ndarray, "b e"], k: int) -> Found:
        """The best k rows of each query, and their scores."""


class Candidates:
    """Exact search among some rows, for a matrix that is larger than the memory."""

    def __init__(self, matrix: Embeddings, ids: Iterable[int]):
        """Reads the rows with these ids."""
        self._ids = np.unique(np.fromiter(ids, np.int64))
        self._rows = matrix.rows(self._ids)

    def search(self, queries: Float[np.ndarray, "b e"], k: int) -> Found:
        """See `Search.search`; of equal scores the smaller id is first."""
        ids, scores = [], []
        for begin in range(0, len(queries), _BLOCK):
            found = queries[begin : begin + _BLOCK] @ self._rows.T
            best = np.argsort(-found, axis=1, kind="stable")[:, :k]
            ids.append(self._ids[best])
            scores.append(np.take_along_axis(found, best, axis=1))
        return np.concatenate(ids), np.concatenate(scores)


def make_search(matrix: Embeddings, candidates: Iterable[int]) -> tuple[Search, str]:
    """Exact search on the whole corpus where half the memory holds it, and its name.

    Else on `candidates`: what the base tower retrieved for any validation question. A
    tuned tower that would find other chunks is then judged too well.
    """
    num_bytes = matrix.num_rows * matrix.width * matrix.dtype.itemsize
    if num_bytes <= _memory_bytes() // 2:
        return ExactIndex(matrix), "whole corpus"
    return Candidates(matrix, candidates), "retrieved candidates"


def _memory_bytes() -> int:
    """Of this process' devices; on CPUs, of the machine."""
    limits = [
        (device.memory_stats() or {}).get("bytes_limit", 0)
        for device in jax.local_devices()
    ]
    if all(limits):
        return sum(limits)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
