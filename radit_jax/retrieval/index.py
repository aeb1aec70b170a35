"""An index: what finds the chunks with the highest dot products."""

import json
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from etils import epath
from jaxtyping import Float, Int

from radit_jax.config import IndexConfig
from radit_jax.retrieval.embeddings import Embeddings
from radit_jax.retrieval.exact_index import ExactIndex


class IndexFileError(ValueError):
    """A saved index that cannot be used."""


@runtime_checkable
class Index(Protocol):
    """What `Retriever` needs of an index."""

    @property
    def num_chunks(self) -> int:
        """`n`."""

    def search(
        self, queries: Float[np.ndarray, "b e"], k: int
    ) -> tuple[Int[np.ndarray, "b k"], Float[np.ndarray, "b k"]]:
        """Ids and exact dot products, best first, equal scores by lower id."""

    def save(self, directory: epath.PathLike) -> None:
        """Writes into an existing folder what `load` reads."""


def build(embeddings: Embeddings, config: IndexConfig) -> tuple[Index, dict[str, Any]]:
    """The index that `config.kind` names, and a report on it for the manifest.

    Returns:
      The index, and its kind, parameters and recall against exact search.

    Raises:
      EmbeddingsError: rows are not finite.
      ScannError: the corpus is too small for ScaNN.
      RecallError: ScaNN stays under `config.target_recall`.
    """
    kind = config.kind
    if kind == "auto":
        kind = "exact" if embeddings.num_rows < config.exact_below else "scann"
    exact = ExactIndex(embeddings)
    if kind == "exact":
        return exact, {"kind": kind, "recall": 1.0}
    # Imported here: its wheels are for Linux and macOS, the exact index needs none.
    from radit_jax.retrieval import recall, scann_index

    rng = np.random.default_rng(config.seed)
    num_queries = min(config.recall_queries, embeddings.num_rows)
    ids = np.sort(rng.choice(embeddings.num_rows, num_queries, replace=False))
    built = scann_index.build(embeddings)
    reached = recall.reach_recall(
        built,
        exact,
        embeddings.rows(ids),
        min(config.recall_at, embeddings.num_rows),
        config.target_recall,
    )
    return built, {"kind": kind, "recall": reached, "parameters": built.parameters}


def load(
    directory: epath.PathLike,
    embeddings: Embeddings,
    devices: Sequence[jax.Device] | None = None,
) -> Index:
    """Opens what `Index.save` wrote.

    Args:
      directory: the index' folder.
      embeddings: the corpus that it was built from.
      devices: for an exact index; see there.

    Raises:
      IndexFileError: no index, one of another corpus, or of an unknown kind.
    """
    path = epath.Path(directory) / "index.json"
    if not path.exists():
        raise IndexFileError(f"{path} does not exist; run stage build_index first.")
    description = json.loads(path.read_text())
    found = description["num_chunks"], description["width"]
    if found != (embeddings.num_rows, embeddings.width):
        raise IndexFileError(
            f"{path} indexes {found[0]} embeddings of width {found[1]}, but the corpus "
            f"has {embeddings.num_rows} of width {embeddings.width}; run stage "
            "build_index again with --overwrite."
        )
    if description["kind"] == "exact":
        return ExactIndex(embeddings, devices)
    if description["kind"] == "scann":
        from radit_jax.retrieval import scann_index

        return scann_index.load(directory, embeddings, description["parameters"])
    raise IndexFileError(
        f"{path} is of kind {description['kind']!r}; this version reads 'exact' and "
        "'scann'. Run stage build_index again with --overwrite."
    )
