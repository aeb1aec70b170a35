"""Approximate search on the hosts with ScaNN (Guo et al., arXiv 1908.10396).

The only file that imports scann, and not its TensorFlow half. ScaNN proposes
candidates; `ranking` orders them by dot product. The corpus may be cut into
parts, each an index of its own, so that a host builds, loads and searches only some.
"""

import dataclasses
import json
import math
import os
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from jaxtyping import Float
from scann.scann_ops.py import scann_builder, scann_ops_pybind

from radit_jax.retrieval import ranking
from radit_jax.retrieval.embeddings import Embeddings
from radit_jax.retrieval.ranking import Found

_MIN_CHUNKS = 16  # a codebook has 16 words
_COPIED_ROWS = 65_536  # at a time
_PCA_ROWS = 16_384  # sampled
_PCA_ENERGY = 0.9
_PCA_MOST = 0.75  # of the width
_REORDER_TYPES = {
    "float32": scann_builder.ReorderType.FLOAT32,
    "bfloat16": scann_builder.ReorderType.BFLOAT16,
}


class ScannError(ValueError):
    """A corpus or a folder that ScaNN cannot use."""


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """ScaNN's searcher over some consecutive chunks."""

    searcher: scann_ops_pybind.ScannSearcher
    ids: range  # the chunks
    norm: float  # the largest L2 norm of their rows
    parameters: dict[str, Any]  # of `parameters`; two are changed by tuning

    def candidates(self, queries: Float[np.ndarray, "b e"], k: int) -> Found:
        """Ids and ScaNN's scores of about the best chunks, more than k if there are.

        Args:
          queries: float32.
          k: chunks that are wanted of the whole corpus.
        """
        count = min(k + ranking.MARGIN, len(self.ids))
        # The reordered were counted for the k of tuning: others take their share.
        share = max(1.0, k / self.parameters["tuned_for"])
        reorder = max(count, math.ceil(share * self.parameters["reorder"]))
        find = self._find_one if len(queries) == 1 else self._find
        ids, scores = find(queries, count, min(reorder, len(self.ids)))
        return (ids + self.ids.start if self.ids.start else ids), scores

    def _find(self, queries, count: int, reorder: int) -> Found:
        """Rows of the part and scores."""
        # ScaNN hands whole batches to its threads: of 256 by default, one would work.
        batch_size = min(256, -(-len(queries) // (os.cpu_count() or 1)))
        search, settings = self.searcher.search_batched_parallel, self.parameters
        leaves = settings["leaves_to_search"]
        ids, scores = search(
            np.ascontiguousarray(queries), count, reorder, leaves, batch_size
        )
        # The searched leaves hold fewer chunks than wanted; all of them hold all.
        is_short = np.isnan(scores[:, -1])
        if is_short.any():
            leaves = settings["num_leaves"]
            ids[is_short], scores[is_short] = search(
                queries[is_short], count, reorder, leaves, batch_size
            )
        return ids.astype(np.int32), scores

    def _find_one(self, queries, count: int, reorder: int) -> Found:
        """One query, without ScaNN's threads, which would only wait for each other."""
        search, settings = self.searcher.search, self.parameters
        ids, scores = search(queries[0], count, reorder, settings["leaves_to_search"])
        if len(ids) < count:
            ids, scores = search(queries[0], count, reorder, settings["num_leaves"])
        return ids[None].astype(np.int32), scores[None]

    def save(self, folder: epath.PathLike) -> None:
        """Writes the searcher's files and `part.json` into an existing folder."""
        folder = epath.Path(folder)
        if _is_local(folder):
            self.searcher.serialize(os.fspath(folder), relative_path=True)
        else:
            with tempfile.TemporaryDirectory() as local:
                self.searcher.serialize(local, relative_path=True)
                for file in epath.Path(local).iterdir():
                    file.copy(folder / file.name)
        description = {
            "ids": [self.ids.start, self.ids.stop],
            "norm": self.norm,
            "parameters": self.parameters,
            "bytes": {file.name: file.stat().length for file in folder.iterdir()},
        }
        (folder / "part.json").write_text(json.dumps(description, indent=1))


class ScannIndex:
    """Tree, asymmetric hashing, reordering; then exact ranking."""

    def __init__(
        self, parts: Sequence[Part], embeddings: Embeddings, is_shared: bool = False
    ):
        """Joins parts.

        Args:
          parts: of this process.
          embeddings: the corpus that they were built from.
          is_shared: whether other processes hold other parts. Then all processes must
            search the same queries together.
        """
        self.parts = list(parts)
        self._embeddings = embeddings
        self._is_shared = is_shared
        self._norm = max((part.norm for part in parts), default=0.0)
        dtypes = {part.parameters["rows_dtype"] for part in parts}
        self._is_unrounded = dtypes == {"float32"}

    @property
    def num_chunks(self) -> int:
        """`n`."""
        return self._embeddings.num_rows

    def search(self, queries: Float[np.ndarray, "b e"], k: int) -> Found:
        """See `Index.search`: about the k best chunks, by float32 products.

        Where products are so close that rounding could change their order, they are
        taken again, in float64.
        """
        uncertainty = ranking.tolerance(queries, self._norm)
        ranking.check(queries, k, self._embeddings, math.isfinite(uncertainty))
        found = [part.candidates(queries, k) for part in self.parts]
        if self._is_shared:
            return self._share(queries, found, k)
        ids, scores = found[0] if len(found) == 1 else _merge(found)
        if not self._is_unrounded:
            return ranking.rank(self._embeddings, queries, ids, k)
        return ranking.settle(self._embeddings, queries, ids, scores, k, uncertainty)

    def _share(self, queries: Float[np.ndarray, "b e"], found: list[Found], k: int):
        """Exact scores of this process' candidates; the best of all processes."""
        shape = (len(queries), k)
        # Every process brings k: none of the corpus, where its parts have fewer.
        nothing = np.full(shape, self.num_chunks, np.int32)
        ranked = [(nothing, np.full(shape, -np.inf, np.float32))]
        if found:
            ids, _ = _merge(found)
            own = min(k, ids.shape[1])
            ranked.append(ranking.rank(self._embeddings, queries, ids, own))
        ids, scores = multihost_utils.process_allgather(
            ranking.merge(*_side_by_side(ranked), k)
        )
        # One process' arrays come without a first axis of processes.
        gathered = zip(ids.reshape(-1, *shape), scores.reshape(-1, *shape), strict=True)
        return ranking.merge(*_side_by_side(gathered), k)


def _side_by_side(found: Iterable) -> tuple[np.ndarray, np.ndarray]:
    ids, scores = (np.concatenate(part, axis=1) for part in zip(*found, strict=True))
    return ids, scores


def _merge(found: Iterable) -> Found:
    """All candidates of several parts, best first."""
    ids, scores = _side_by_side(found)
    return ranking.merge(ids, scores, ids.shape[1])


def parameters(
    num_chunks: int, width: int, rows_dtype: str = "float32", num_leaves: int = 0
) -> dict[str, Any]:
    """ScaNN's settings for a corpus, by the rules of its docs/algorithms.md.

    About √n leaves; 2 dimensions a block of the hash; more candidates reordered than
    wanted. The anisotropic threshold of 0.2 and the sample of 100,000 rows are its
    builder's and examples' values; so is SOAR's λ of 1.5, which puts every row into a
    second leaf, whose error is as far as can be orthogonal to the first's (Sun et al.,
    arXiv 2404.00774): an eighth more memory, a third fewer leaves to search. How many
    leaves and candidates a recall takes depends on the corpus: `recall.tune` finds
    them. (github.com/google-research/google-research, scann/docs)

    Args:
      num_chunks: rows of the part.
      width: of the embeddings.
      rows_dtype: of the rows that reordering reads.
      num_leaves: 0: by the rule.
    """
    num_leaves = min(num_leaves or max(1, round(math.sqrt(num_chunks))), num_chunks)
    return {
        "num_chunks": num_chunks,
        "width": width,
        "num_leaves": num_leaves,
        "leaves_to_search": math.ceil(num_leaves / 10),
        # With 64 rows a leaf and more, k-means has something to average.
        "training_sample_size": min(num_chunks, max(100_000, 64 * num_leaves)),
        "projected_dims": 0,  # none; set by `build_part`
        "dimensions_per_block": 2,
        "anisotropic_quantization_threshold": 0.2,
        "soar_lambda": 1.5,
        "rows_dtype": rows_dtype,
        "reorder": min(num_chunks, 100),
        "tuned_for": 10,  # chunks
    }


def build_part(
    embeddings: Embeddings,
    ids: range,
    rows_dtype: str = "float32",
    num_leaves: int = 0,
    scratch: epath.PathLike | None = None,
) -> Part:
    """Trains and fills ScaNN's searcher over consecutive chunks.

    ScaNN takes one float32 array. Here it gets a memory map of a scratch file, which
    the shards are streamed into, so that no copy of ours is in memory. It makes two of
    its own: of the rows, which it keeps (not with "bfloat16"), and of what the tree
    leaves of them, which it gives back: 2.3 times the float32 rows, measured.

    Args:
      embeddings: the corpus.
      ids: the chunks.
      rows_dtype: of the rows that reordering reads, "float32" or "bfloat16".
      num_leaves: see `parameters`.
      scratch: a local folder with room for the rows; by default the system's.

    Raises:
      EmbeddingsError: rows are not finite.
      ScannError: too few chunks to learn a codebook from.
    """
    if len(ids) < _MIN_CHUNKS:
        raise ScannError(
            f"ScaNN needs at least {_MIN_CHUNKS} chunks, here are {len(ids)}; lower "
            "--config.index.num_parts, or use --config.index.kind=exact."
        )
    norm = ranking.largest_norm(embeddings, ids)
    settings = parameters(len(ids), embeddings.width, rows_dtype, num_leaves)
    with tempfile.TemporaryFile(dir=scratch) as file:
        rows = np.memmap(file, np.float32, "w+", shape=(len(ids), embeddings.width))
        for start in range(ids.start, ids.stop, _COPIED_ROWS):
            stop = min(start + _COPIED_ROWS, ids.stop)
            place = slice(start - ids.start, stop - ids.start)
            rows[place] = embeddings.slice(start, stop)
        settings["projected_dims"] = projected_dims(rows)
        searcher = _builder(rows, settings).build()
    return Part(searcher, ids, norm, settings)


def projected_dims(rows: Float[np.ndarray, "n e"]) -> int:
    """How many principal dimensions the tree and the hash see; 0: all, unprojected.

    As few as hold nine tenths of the rows' squares, an even number: reordering reads
    whole rows. On 37k MiniLM embeddings, 192 of 384 gave 12 % more queries a second
    at recall 0.99 than all; 128 and 256 gave less. Where more than three quarters
    would be left, as of GloVe, the projection costs what it saves.
    """
    some = np.asarray(rows[:: -(-len(rows) // _PCA_ROWS)], np.float64)
    energy = np.cumsum(np.linalg.eigvalsh(some.T @ some)[::-1])
    dims = int(np.searchsorted(energy, _PCA_ENERGY * energy[-1])) + 1
    dims += dims % 2
    return dims if dims <= _PCA_MOST * rows.shape[1] else 0


def _builder(rows: Float[np.ndarray, "n e"], settings: dict[str, Any]):
    builder = scann_ops_pybind.builder(rows, 10, "dot_product")
    if settings["projected_dims"]:
        builder = builder.pca(settings["projected_dims"], None, None)
    builder = builder.tree(
        num_leaves=settings["num_leaves"],
        num_leaves_to_search=settings["leaves_to_search"],
        training_sample_size=settings["training_sample_size"],
        soar_lambda=settings["soar_lambda"] if settings["num_leaves"] > 1 else None,
    )
    builder = builder.score_ah(
        settings["dimensions_per_block"],
        anisotropic_quantization_threshold=settings[
            "anisotropic_quantization_threshold"
        ],
        training_sample_size=settings["training_sample_size"],
    )
    quantize = _REORDER_TYPES[settings["rows_dtype"]]
    return builder.reorder(settings["reorder"], quantize=quantize)


def load_part(folder: epath.PathLike) -> Part:
    """Opens what `Part.save` wrote.

    Raises:
      ScannError: files are missing or cut short, or one is a pickle.
    """
    folder = epath.Path(folder)
    if (folder / "scann_docids.pkl").exists():
        raise ScannError(
            f"{folder} holds scann_docids.pkl; a pickle can run any code and is never "
            "loaded. Run stage build_index again with --overwrite."
        )
    description = json.loads((folder / "part.json").read_text())
    for name, num_bytes in description["bytes"].items():
        file = folder / name
        found = file.stat().length if file.exists() else 0
        if found != num_bytes:
            raise ScannError(
                f"{file} has {found} bytes of {num_bytes}; run stage build_index again "
                "with --overwrite."
            )
    if _is_local(folder):
        searcher = _load_searcher(os.fspath(folder))
    else:
        with tempfile.TemporaryDirectory() as local:
            for file in folder.iterdir():
                file.copy(epath.Path(local) / file.name)
            searcher = _load_searcher(local)
    ids = range(*description["ids"])
    return Part(searcher, ids, description["norm"], description["parameters"])


def _load_searcher(folder: str) -> scann_ops_pybind.ScannSearcher:
    # Without the shim for old files, which prints and rewrites the folder.
    return scann_ops_pybind.load_searcher(folder, assets_backcompat_shim=False)


def _is_local(path: epath.Path) -> bool:
    return "://" not in os.fspath(path)
