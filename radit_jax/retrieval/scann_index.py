"""Approximate search on the host with ScaNN (Guo et al., arXiv 1908.10396).

The only file that imports scann, and not its TensorFlow half. ScaNN proposes
candidates; `ranking.rank` orders them by exact dot product.
"""

import json
import math
import os
import tempfile
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Float, Int
from scann.scann_ops.py import scann_ops_pybind

from radit_jax.retrieval import ranking
from radit_jax.retrieval.embeddings import Embeddings

_MIN_CHUNKS = 16  # a codebook has 16 words


class ScannError(ValueError):
    """A corpus or a folder that ScaNN cannot use."""


class ScannIndex:
    """Tree, asymmetric hashing, reordering; then exact ranking."""

    def __init__(self, searcher, embeddings: Embeddings, parameters: dict[str, Any]):
        """Wraps a searcher of `build` or `load`.

        Args:
          searcher: ScaNN's.
          embeddings: the corpus that it was built from.
          parameters: those of `parameters`; `recall.reach_recall` changes two.
        """
        self._searcher = searcher
        self._embeddings = embeddings
        self.parameters = parameters

    @property
    def num_chunks(self) -> int:
        """`n`."""
        return self._embeddings.num_rows

    def search(
        self, queries: Float[np.ndarray, "b e"], k: int
    ) -> tuple[Int[np.ndarray, "b k"], Float[np.ndarray, "b k"]]:
        """About the k best chunks of each query.

        Args:
          queries: float32.
          k: chunks.

        Returns:
          Chunk ids, int32, and their exact dot products, float32: best first, equal
          ones by lower id.

        Raises:
          SearchError: k, the queries' width or their numbers do not fit.
        """
        ranking.check(queries, k, self._embeddings)
        num_candidates = min(k + ranking.MARGIN, self.num_chunks)
        leaves = self.parameters["leaves_to_search"]
        ids, is_missing = self._candidates(queries, num_candidates, leaves)
        if is_missing.any():
            # The searched leaves hold fewer chunks than wanted; all of them hold all.
            leaves = self.parameters["num_leaves"]
            more, _ = self._candidates(queries[is_missing], num_candidates, leaves)
            ids[is_missing] = more
        return ranking.rank(self._embeddings, queries, ids, k)

    def save(self, directory: epath.PathLike) -> None:
        """Writes `index.json` and the folder `scann`, which can be moved."""
        directory = epath.Path(directory)
        folder = directory / "scann"
        folder.mkdir(exist_ok=True)
        if _is_local(folder):
            self._searcher.serialize(os.fspath(folder), relative_path=True)
        else:
            with tempfile.TemporaryDirectory() as local:
                self._searcher.serialize(local, relative_path=True)
                _copy(epath.Path(local), folder)
        description = {
            "kind": "scann",
            "num_chunks": self.num_chunks,
            "width": self._embeddings.width,
            "parameters": self.parameters,
        }
        (directory / "index.json").write_text(json.dumps(description))

    def _candidates(
        self, queries: Float[np.ndarray, "b e"], count: int, leaves: int
    ) -> tuple[Int[np.ndarray, "b m"], np.ndarray]:
        """Ids, and which queries got fewer than `count`: ScaNN pads with id 0, NaN."""
        ids, distances = self._searcher.search_batched_parallel(
            np.ascontiguousarray(queries),
            count,
            min(max(self.parameters["reorder"], 2 * count), self.num_chunks),
            leaves,
        )
        return ids.astype(np.int32), np.isnan(distances).any(axis=1)


def parameters(num_chunks: int, width: int) -> dict[str, Any]:
    """ScaNN's settings for a corpus, by the rules of its docs/algorithms.md.

    About √n leaves; 2 dimensions a block of the hash; more candidates reordered than
    wanted. The anisotropic threshold of 0.2 and the sample of 100,000 rows are its
    builder's and examples' values. A tenth of the leaves is a start for
    `recall.reach_recall`. (github.com/google-research/google-research, scann/docs)
    """
    num_leaves = max(1, round(math.sqrt(num_chunks)))
    return {
        "num_chunks": num_chunks,
        "width": width,
        "num_leaves": num_leaves,
        "leaves_to_search": math.ceil(num_leaves / 10),
        # With 64 rows a leaf and more, k-means has something to average.
        "training_sample_size": min(num_chunks, max(100_000, 64 * num_leaves)),
        "dimensions_per_block": 2,
        "anisotropic_quantization_threshold": 0.2,
        "reorder": min(num_chunks, 100),
    }


def build(embeddings: Embeddings) -> ScannIndex:
    """Trains and fills an index; all rows are in host memory as float32 meanwhile.

    Raises:
      EmbeddingsError: rows are not finite.
      ScannError: the corpus is too small to learn a codebook from.
    """
    if embeddings.num_rows < _MIN_CHUNKS:
        raise ScannError(
            f"ScaNN needs at least {_MIN_CHUNKS} chunks, the corpus has "
            f"{embeddings.num_rows}; use --config.index.kind=exact."
        )
    embeddings.check_finite()
    settings = parameters(embeddings.num_rows, embeddings.width)
    rows = embeddings.slice(0, embeddings.num_rows).astype(np.float32, copy=False)
    builder = scann_ops_pybind.builder(rows, 10, "dot_product")
    builder = builder.tree(
        num_leaves=settings["num_leaves"],
        num_leaves_to_search=settings["leaves_to_search"],
        training_sample_size=settings["training_sample_size"],
    )
    builder = builder.score_ah(
        settings["dimensions_per_block"],
        anisotropic_quantization_threshold=settings[
            "anisotropic_quantization_threshold"
        ],
        training_sample_size=settings["training_sample_size"],
    )
    searcher = builder.reorder(settings["reorder"]).build()
    return ScannIndex(searcher, embeddings, settings)


def load(
    directory: epath.PathLike, embeddings: Embeddings, parameters: dict[str, Any]
) -> ScannIndex:
    """Opens the folder `scann` that `ScannIndex.save` wrote.

    Raises:
      ScannError: the folder holds a pickle, which would run code.
    """
    folder = epath.Path(directory) / "scann"
    if (folder / "scann_docids.pkl").exists():
        raise ScannError(
            f"{folder} holds scann_docids.pkl; a pickle can run any code and is never "
            "loaded. Run stage build_index again with --overwrite."
        )
    if _is_local(folder):
        searcher = _load_searcher(os.fspath(folder))
    else:
        with tempfile.TemporaryDirectory() as local:
            _copy(folder, epath.Path(local))
            searcher = _load_searcher(local)
    return ScannIndex(searcher, embeddings, parameters)


def _load_searcher(folder: str):
    # Without the shim for old files, which prints and rewrites the folder.
    return scann_ops_pybind.load_searcher(folder, assets_backcompat_shim=False)


def _is_local(path: epath.Path) -> bool:
    return "://" not in os.fspath(path)


def _copy(source: epath.Path, target: epath.Path) -> None:
    for file in source.iterdir():
        file.copy(target / file.name, overwrite=True)
