"""Recall: how many of the best chunks ScaNN finds, and what it takes to find more."""

import dataclasses
import math
import time
from collections.abc import Callable

import numpy as np
from absl import logging
from jaxtyping import Float

from radit_jax.retrieval import ranking
from radit_jax.retrieval.embeddings import Embeddings
from radit_jax.retrieval.exact_index import ExactIndex

_RESIDENT_ROWS = 1 << 20  # of the corpus on the devices at a time, for exact scores
_MAX_REORDER = 1600  # candidates; more, and exact search is as fast
_DOUBLING = 4  # rungs of `_ladder`
_TURNS = 5  # of the settings that reach the target

# (leaves_to_search, reorder) → scores of the k best found, best first.
Search = Callable[[int, int], Float[np.ndarray, "b k"]]


class RecallError(ValueError):
    """An index that finds too few of the best chunks."""


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """One setting of ScaNN's search, and what it gave on the sample."""

    leaves_to_search: int
    reorder: int
    recall: float
    queries_per_second: float


def sample_queries(
    embeddings: Embeddings, part: range, count: int, noise: float, seed: int
) -> Float[np.ndarray, "b e"]:
    """Rows of the corpus that are moved off themselves, for want of real queries.

    A bare row's best chunk is itself, which any index finds.

    Args:
      embeddings: the corpus.
      part: ids to draw from.
      count: queries; more than there are rows, and rows serve twice.
      noise: length of the Gaussian noise, as a share of the row's. Of 62k MiniLM
        passages, settings tuned to 0.95 and 0.99 with a noise of 0.7 found 0.953 and
        0.991 of what real questions ask for; with 0.3 and 1, 0.989 and 0.993.
      seed: of both.
    """
    rng = np.random.default_rng(seed)
    rows = embeddings.rows(np.sort(rng.integers(part.start, part.stop, count)))
    moved = rng.normal(size=rows.shape) / math.sqrt(rows.shape[1])
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows + noise * lengths * moved).astype(np.float32)


def least_scores(
    embeddings: Embeddings, part: range, queries: Float[np.ndarray, "b e"], k: int
) -> Float[np.ndarray, " b"]:
    """The exact k-th best score of each query; devices hold few rows at a time."""
    best = np.empty((len(queries), 0), np.float32)
    for start in range(part.start, part.stop, _RESIDENT_ROWS):
        rows = range(start, min(start + _RESIDENT_ROWS, part.stop))
        exact = ExactIndex(embeddings, part=rows)
        _, scores = exact.search(queries, min(k, len(rows)))
        best = -np.sort(-np.concatenate([best, scores], axis=1), axis=1)[:, :k]
    return best[:, -1]


def share_found(
    found: Float[np.ndarray, "b k"], least: Float[np.ndarray, " b"]
) -> float:
    """Recall@k: the share of the k best chunks that was found.

    A chunk counts where its score reaches the exact k-th one: of equal texts, any
    will do.

    Args:
      found: exact scores of what the index found.
      least: of `least_scores`.
    """
    return float(np.mean(found >= least[:, None]))


class Tuner:
    """Looks for the fastest setting whose recall@k is the target.

    For each number of reordered candidates, doubled from just over k, it looks for the
    fewest leaves. Every other query chooses; the rest are held out: they measure what
    is reported, and where that is under the target, more leaves are searched.
    """

    def __init__(
        self, search: Search, least: Float[np.ndarray, " b"], k: int, target: float
    ):
        """Args: as of `tune`."""
        self._search, self._least = search, least
        self._k, self._target = k, target
        self._measured: dict[tuple[int, int], tuple[Point, float]] = {}

    @property
    def curve(self) -> list[Point]:
        """All settings tried, from low to high recall of the choosing queries."""
        points = [point for point, _ in self._measured.values()]
        return sorted(points, key=lambda point: (point.recall, point.reorder))

    def run(self, num_leaves: int, num_rows: int) -> Point:
        """The setting, with the recall of the queries held out. See `tune`."""
        ladder, found = _ladder(num_leaves), []
        reorders = _reorders(self._k, num_rows)
        for reorder in reorders:
            rung = self._fewest_leaves(ladder, reorder)
            if rung is not None:
                found.append((rung, reorder))
            if len(found) > 1 and found[-1][0] == found[-2][0]:
                break  # more candidates only cost time
        if not found:
            # What looked flat may not be: in a small part, a search that comes short
            # of candidates searches all leaves, and finds more than a longer one.
            found = [(len(ladder) - 1, reorders[-1])]
            if self._measure(num_leaves, reorders[-1])[0].recall < self._target:
                raise self._out_of_reach()
        rung, reorder = self._fastest(ladder, found)
        while (measured := self._measure(ladder[rung], reorder))[1] < self._target:
            rung += 1
            if rung == len(ladder):
                raise self._out_of_reach()
        return dataclasses.replace(measured[0], recall=measured[1])

    def _fewest_leaves(self, ladder: list[int], reorder: int) -> int | None:
        """The lowest rung that reaches the target, or None."""
        low, rung, before = -1, 0, 0.0
        while (recall := self._measure(ladder[rung], reorder)[0].recall) < self._target:
            # Each doubling gains less than the one before it.
            is_flat = low >= 0 and recall - before < (self._target - recall) / 8
            if rung == len(ladder) - 1 or is_flat:
                return None
            low, rung, before = rung, min(rung + _DOUBLING, len(ladder) - 1), recall
        while rung - low > 1:
            middle = (low + rung) // 2
            reached = self._measure(ladder[middle], reorder)[0].recall >= self._target
            low, rung = (low, middle) if reached else (middle, rung)
        return rung

    def _fastest(
        self, ladder: list[int], found: list[tuple[int, int]]
    ) -> tuple[int, int]:
        """Of settings that reach the target: they take turns, their best runs count."""
        seconds = [math.inf] * len(found)
        for _ in range(_TURNS):
            for i, (rung, reorder) in enumerate(found):
                begin = time.perf_counter()
                self._search(ladder[rung], reorder)
                seconds[i] = min(seconds[i], time.perf_counter() - begin)
        return found[seconds.index(min(seconds))]

    def _measure(self, leaves: int, reorder: int) -> tuple[Point, float]:
        """One setting, and its recall of the queries held out."""
        if (leaves, reorder) not in self._measured:
            begin = time.perf_counter()
            found = self._search(leaves, reorder)
            rate = len(found) / (time.perf_counter() - begin)
            recall = share_found(found[::2], self._least[::2])
            held_out = share_found(found[1::2], self._least[1::2])
            point = Point(leaves, reorder, recall, rate)
            self._measured[leaves, reorder] = point, held_out
            logging.info("ScaNN: %s, of held-out queries %.4f.", point, held_out)
        return self._measured[leaves, reorder]

    def _out_of_reach(self) -> RecallError:
        best = self.curve[-1]
        return RecallError(
            f"ScaNN finds {best.recall:.4f} of the {self._k} best chunks with "
            f"{best.leaves_to_search} leaves searched and {best.reorder} candidates "
            f"reordered; the target is {self._target}. Lower "
            "--config.index.target_recall, give --config.index.rows_dtype='' if it is "
            "bfloat16, or use --config.index.kind=exact."
        )


def tune(
    search: Search,
    least: Float[np.ndarray, " b"],
    num_leaves: int,
    num_rows: int,
    k: int,
    target: float,
) -> tuple[Point, list[Point]]:
    """Tunes ScaNN's search; see `Tuner`.

    Args:
      search: searches all queries.
      least: their exact k-th scores.
      num_leaves: at most this many are searched.
      num_rows: at most this many are reordered.
      k: chunks.
      target: recall, 0 to 1.

    Returns:
      The setting with the recall of the queries held out, and the curve: all settings
      tried, with the others' recall.

    Raises:
      RecallError: no setting reaches it.
    """
    tuner = Tuner(search, least, k, target)
    return tuner.run(num_leaves, num_rows), tuner.curve


def _ladder(num_leaves: int) -> list[int]:
    """1, 2, 3, 4, 5, 6, 7, 8, 10, …: steps of a fifth, to all leaves."""
    steps = [1]
    while steps[-1] < num_leaves:
        steps.append(min(num_leaves, max(steps[-1] + 1, round(1.2 * steps[-1]))))
    return steps


def _reorders(k: int, num_rows: int) -> list[int]:
    counts = [k + ranking.MARGIN]
    while 2 * counts[-1] <= max(_MAX_REORDER, 4 * k):
        counts.append(2 * counts[-1])
    return sorted({min(count, num_rows) for count in counts})
