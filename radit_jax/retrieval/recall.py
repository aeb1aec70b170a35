"""Recall: how many of the best chunks ScaNN finds, and what it takes to find more."""

import numpy as np
from absl import logging
from jaxtyping import Float

from radit_jax.retrieval.exact_index import ExactIndex
from radit_jax.retrieval.scann_index import ScannIndex

_MAX_REORDER = 1600  # candidates; more, and exact search is as fast


class RecallError(ValueError):
    """An index that finds too few of the best chunks."""


def measure_recall(
    index: ScannIndex, exact: ExactIndex, queries: Float[np.ndarray, "b e"], k: int
) -> float:
    """The share of the k best chunks that the index finds (recall@k).

    A chunk counts where its score reaches the exact k-th one: of equal texts, any
    will do.
    """
    _, found = index.search(queries, k)
    _, best = exact.search(queries, k)
    return float(np.mean(found >= best[:, -1:]))


def reach_recall(
    index: ScannIndex,
    exact: ExactIndex,
    queries: Float[np.ndarray, "b e"],
    k: int,
    target: float,
) -> float:
    """Searches more leaves and reorders more candidates until recall@k is `target`.

    Returns:
      The recall; the index' `parameters` hold what reached it.

    Raises:
      RecallError: all leaves and the most candidates stay under it.
    """
    settings = index.parameters
    while (recall := measure_recall(index, exact, queries, k)) < target:
        logging.info("ScaNN: recall@%d is %.4f with %s.", k, recall, settings)
        limits = settings["num_leaves"], min(index.num_chunks, _MAX_REORDER)
        if (settings["leaves_to_search"], settings["reorder"]) == limits:
            raise RecallError(
                f"ScaNN finds {recall:.4f} of the {k} best chunks with all "
                f"{limits[0]} leaves and {limits[1]} candidates reordered; the target "
                f"is {target}. Lower --config.index.target_recall, or use "
                "--config.index.kind=exact."
            )
        settings["leaves_to_search"] = min(2 * settings["leaves_to_search"], limits[0])
        settings["reorder"] = min(2 * settings["reorder"], limits[1])
    return recall
