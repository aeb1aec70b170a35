"""How fast the k best of a corpus are found, against faiss.

python -m benchmarks.search --embeddings=X.npy [--queries=Y.npy] [--normalize]
    [--curve=FILE.png] [--growth] [--quick] [--json=FILE]

The questions: queries a second at recall@10 of 0.95 and 0.99, one query at a time and
256 together, of our ScaNN as stage build_index tunes it, and of every family of faiss'
indexes at the settings that are fastest in just that case; and of our exact index
against faiss' Flat. Both choose their settings with one half of the queries; recall and
time are of the other half, on which a setting under the target is raised until it
holds. Runs take turns. Without --queries, rows are held out of the corpus.
"""

import dataclasses
import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
from absl import flags, logging
from etils import epath

from benchmarks import command, faiss_indexes, search_growth
from radit_jax.artifacts import Draft
from radit_jax.config import IndexConfig
from radit_jax.retrieval import embeddings, index, recall
from radit_jax.retrieval.exact_index import ExactIndex

_EMBEDDINGS = flags.DEFINE_string("embeddings", None, "[n e], .npy.")
_QUERIES = flags.DEFINE_string("queries", None, "[b e], .npy.")
_NORMALIZE = flags.DEFINE_bool("normalize", False, "Make all vectors of length 1.")
_CURVE = flags.DEFINE_string("curve", None, "File of the chart, .png.")
_GROWTH = flags.DEFINE_bool("growth", False, "Measure 10k to 2M rows as well.")
_QUICK = flags.DEFINE_bool("quick", False, "Fewer settings and repeats.")

_K = 10
_TARGETS = (0.95, 0.99)
_CURVE_TARGETS = (0.8, 0.9, 0.98, 0.995)  # besides
_BATCHES = {"256 together": 256, "one at a time": 1}
_NUM_ALONE = 400  # queries of a run, one at a time; of exact search a twentieth
_THREADS = 2
_HELD_OUT = 4096
_QUICK_ROWS = 20_000


@dataclasses.dataclass(frozen=True)
class Contender:
    """What is timed in one case."""

    name: str
    search: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
    bytes: int
    is_exact: bool = False


class Corpus:
    """Rows, queries to choose settings with and queries to time, and the truth."""

    def __init__(self, rows: np.ndarray, queries: np.ndarray):
        """Searches exactly, with faiss' Flat."""
        self.rows = rows
        self.flat = faiss_indexes.build("Flat", rows)
        self.choosing, self.timed = queries[::2], queries[1::2]
        self._least = {
            id(some): self.flat.search(some, _K)[1][:, -1]
            for some in (self.choosing, self.timed)
        }

    def recall(self, search, queries: np.ndarray) -> float:
        """Of the k best; as good as the k-th counts, and rounding errors do not."""
        ids, _ = search(queries, _K)
        scores = np.vecdot(self.rows[ids], queries[:, None])
        scores = np.where(ids < 0, -np.inf, scores)
        return recall.share_found(scores, self._least[id(queries)] - np.float32(1e-5))

    def rate(self, contender: Contender, batch_size: int) -> float:
        """Queries a second, once."""
        queries = self.timed
        if batch_size == 1:
            queries = queries[: _NUM_ALONE // (20 if contender.is_exact else 1)]
        begin = time.perf_counter()
        for start in range(0, len(queries), batch_size):
            contender.search(queries[start : start + batch_size], _K)
        return len(queries) / (time.perf_counter() - begin)


class Ours:
    """ScaNN and the exact index, made by the stage's code."""

    def __init__(self, corpus: Corpus, folder: epath.Path):
        """Writes the corpus as stage embed_corpus does, and opens it."""
        embeddings.write_shard(folder / embeddings.shard_names(1)[0], corpus.rows)
        self._corpus, self._folder = corpus, folder
        self._stored = embeddings.Embeddings(folder, 1)

    def exact(self, rows_dtype: str = "") -> Contender:
        """The exact index."""
        built = ExactIndex(self._stored, rows_dtype=rows_dtype)
        num_bytes = self._corpus.rows.nbytes // (2 if rows_dtype else 1)
        name = f"our exact index {rows_dtype}".strip()
        return Contender(name, built.search, num_bytes, is_exact=True)

    def at(self, target: float) -> Contender:
        """ScaNN as the stage tunes it; more leaves where the timed queries need it."""
        path = self._folder / f"index-{target}"
        config = IndexConfig(kind="scann", target_recall=target)
        index.build(self._stored, config, Draft(path), self._corpus.choosing)
        loaded = index.load(path, self._stored)
        settings = loaded.parts[0].parameters
        while self._corpus.recall(loaded.search, self._corpus.timed) < target:
            settings["leaves_to_search"] += 1
        name = (
            f"our ScaNN, {settings['leaves_to_search']} of {settings['num_leaves']} "
            f"leaves, {settings['reorder']} reordered, "
            f"{settings['projected_dims']} dimensions"
        )
        num_bytes = sum(file.stat().length for file in path.glob("scann-*/*"))
        return Contender(name, loaded.search, num_bytes)


class Peer:
    """faiss' indexes, and the settings of each that reach a recall."""

    def __init__(self, corpus: Corpus):
        """Builds all of them."""
        self._corpus = corpus
        factories = faiss_indexes.factories(*corpus.rows.shape, _QUICK.value)
        self._built = {
            family: [faiss_indexes.build(factory, corpus.rows) for factory in some]
            for family, some in factories.items()
        }
        self._recalls: dict[str, float] = {}

    def at(self, target: float) -> dict[str, list[Contender]]:
        """For each family, every setting worth timing."""
        return {
            family: [
                Contender(setting.name, setting.search, setting.bytes)
                for built in group
                for setting in faiss_indexes.reaching(built, self._recall, target)
            ]
            for family, group in self._built.items()
        }

    def _recall(self, setting: faiss_indexes.Setting) -> float:
        """The lower of both halves': ours, too, holds on the timed one."""
        if setting.name not in self._recalls:
            halves = self._corpus.choosing, self._corpus.timed
            self._recalls[setting.name] = min(
                self._corpus.recall(setting.search, half) for half in halves
            )
        return self._recalls[setting.name]


def _fastest(
    corpus: Corpus, contenders: list[Contender], batch_size: int
) -> tuple[Contender, float]:
    """By the best of three runs; with its queries a second."""
    rates = [max(corpus.rate(c, batch_size) for _ in range(3)) for c in contenders]
    best = int(np.argmax(rates))
    return contenders[best], rates[best]


def _finalists(
    corpus: Corpus, folder: epath.Path
) -> tuple[dict[tuple[str, str], list[Contender]], dict[str, list]]:
    """For each case, ours first, then every family's fastest; and the curves."""
    ours, peer, cases, curves = Ours(corpus, folder), Peer(corpus), {}, {}
    for target in _TARGETS + (() if _QUICK.value else _CURVE_TARGETS):
        reaching = {"our ScaNN": [ours.at(target)]} | peer.at(target)
        reaching = {family: some for family, some in reaching.items() if some}
        for mode, batch_size in _BATCHES.items():
            found = {
                family: _fastest(corpus, contenders, batch_size)
                for family, contenders in reaching.items()
                if target in _TARGETS or batch_size > 1
            }
            if target in _TARGETS:
                cases[f"recall {target}", mode] = [one for one, _ in found.values()]
            if batch_size > 1:
                for family, (one, rate) in found.items():
                    point = corpus.recall(one.search, corpus.timed), rate
                    curves.setdefault(family, []).append(point)
    exact = ours.exact()
    flat = Contender("faiss Flat", corpus.flat.search, corpus.rows.nbytes, True)
    for mode in _BATCHES:
        cases["exact", mode] = [exact, flat, ours.exact("bfloat16")]
    return cases, {family: sorted(points) for family, points in curves.items()}


def _race(
    corpus: Corpus, contenders: list[Contender], batch_size: int, repeats: int
) -> dict[str, Any]:
    """Runs that take turns; ratios of ours over the best peer of the same turn."""
    rates = {one.name: [] for one in contenders}
    for one in contenders:
        corpus.rate(one, batch_size)  # compiles, and fills the caches
    for _ in range(repeats):
        for one in contenders:
            rates[one.name].append(corpus.rate(one, batch_size))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    peers = [one for one in contenders[1:] if one.name.startswith("faiss")]
    best = max(peers, key=lambda one: medians[one.name])
    first = contenders[0]
    ratios = [a / b for a, b in zip(rates[first.name], rates[best.name], strict=True)]
    return {
        "ours": medians[first.name],
        "ours_is": first.name,
        "peer": medians[best.name],
        "peer_is": best.name,
        "unit": "queries/s",
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "memory_ratio": first.bytes / best.bytes,
        "recalls": {
            one.name: corpus.recall(one.search, corpus.timed) for one in contenders
        },
        "medians": medians,
        "ranges": {name: [min(values), max(values)] for name, values in rates.items()},
    }


def _read() -> Corpus:
    rows = np.load(_EMBEDDINGS.value)[: _QUICK_ROWS if _QUICK.value else None]
    rows = rows.astype(np.float32)
    if _QUERIES.value:
        queries = np.load(_QUERIES.value).astype(np.float32)[:_HELD_OUT]
    else:
        order = np.random.default_rng(0).permutation(len(rows))
        queries, rows = rows[order[:_HELD_OUT]], rows[np.sort(order[_HELD_OUT:])]
    if _NORMALIZE.value:
        rows, queries = (
            some / np.linalg.norm(some, axis=1, keepdims=True)
            for some in (rows, queries)
        )
    return Corpus(rows, queries)


def measure(folder: epath.Path) -> dict[str, Any]:
    """All of it, as the JSON object that is printed."""
    corpus = _read()
    finalists, curves = _finalists(corpus, folder)
    repeats, cases = 7 if _QUICK.value else 11, []
    for (target, mode), contenders in finalists.items():
        raced = _race(corpus, contenders, _BATCHES[mode], repeats)
        cases.append({"case": f"{target}, {mode}"} | raced)
        logging.info("%s", cases[-1])
    worst = min(cases, key=lambda case: case["ratio"])
    keys = "ours", "peer", "unit", "ratio", "ratio_range", "memory_ratio", "case"
    return {
        "name": "search",
        **{key: worst[key] for key in keys},  # of the case that went worst
        "agrees": _agreement(corpus, finalists["exact", "256 together"][0]),
        "goal": "a ratio of 1 or more in every case",
        "cases": cases,
        "curves": curves,  # [recall, queries/s, 256 together]; best of three runs
        "rows": corpus.rows.shape,
        "how": f"{_EMBEDDINGS.value}; queries {_QUERIES.value or 'held out'}; "
        f"{len(corpus.timed)} timed; {repeats} turns; {_THREADS} threads; load "
        f"{os.getloadavg()[0]:.1f}; faiss {faiss.__version__}",
    }


def _agreement(corpus: Corpus, exact: Contender) -> str:
    """Of the two exact searches; chunks of nearly equal scores may change places."""
    ids, scores = exact.search(corpus.timed, _K)
    other_ids, other_scores = corpus.flat.search(corpus.timed, _K)
    share = float(np.mean(ids == other_ids))
    error = float(np.abs(scores - other_scores).max())
    if share < 0.999 or error > 1e-4:
        raise RuntimeError(f"{share} of the exact ids agree; scores within {error}.")
    return f"{share:.6f} of the exact ids; scores within {error:.1e}"


def _draw(curves: dict[str, list[tuple[float, float]]], file: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for name, points in curves.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set(
        xlabel=f"recall@{_K}",
        ylabel="queries a second",
        yscale="log",
        title=f"256 queries together, {_THREADS} threads",
    )
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=150)


def _measure(folder: pathlib.Path) -> dict[str, Any]:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:_THREADS])
    faiss.omp_set_num_threads(_THREADS)
    result = measure(epath.Path(folder))
    if _GROWTH.value:
        rows = np.load(_EMBEDDINGS.value, mmap_mode="r")
        queries = np.load(_QUERIES.value) if _QUERIES.value else None
        result["growth"] = search_growth.measure(rows, queries, folder, _QUICK.value)
    if _CURVE.value:
        _draw(result["curves"], _CURVE.value)
    return result


if __name__ == "__main__":
    command.run(_measure, "embeddings")
