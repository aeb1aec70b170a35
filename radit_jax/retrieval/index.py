"""An index: what finds the chunks with the highest dot products."""

import dataclasses
import json
import time
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from absl import logging
from etils import epath
from jax.experimental import multihost_utils
from jaxtyping import Float

from radit_jax import room
from radit_jax.artifacts import Draft
from radit_jax.config import IndexConfig
from radit_jax.retrieval import ranking, recall
from radit_jax.retrieval.embeddings import Embeddings
from radit_jax.retrieval.exact_index import ExactIndex
from radit_jax.retrieval.ranking import Found

_DESCRIPTION = "index.json"
_REPORT = "report.json"  # in the folder of a part
_Queries = Float[np.ndarray, "b e"] | None


class IndexFileError(ValueError):
    """A saved index that cannot be used."""


@runtime_checkable
class Index(Protocol):
    """What `Retriever` needs of an index."""

    @property
    def num_chunks(self) -> int:
        """`n`."""

    def search(self, queries: Float[np.ndarray, "b e"], k: int) -> Found:
        """The k best chunks of each query.

        Args:
          queries: float32.
          k: chunks.

        Returns:
          Chunk ids, int32, and their dot products, float32, of unrounded rows: best
          first, equal ones by lower id.

        Raises:
          SearchError: k, the queries' width or their numbers do not fit.
        """


def build(
    embeddings: Embeddings, config: IndexConfig, draft: Draft, queries: _Queries = None
) -> dict[str, Any]:
    """Writes the index that `config.kind` names into an artifact.

    ScaNN's parts are each built, tuned and committed whole, so that a killed run
    repeats one at most. In a multi-process job each process builds every so many-th
    part; all must call together.

    Args:
      embeddings: the corpus.
      config: which index, and its recall.
      draft: the artifact in the making; `load` reads its folder.
      queries: float32, to measure recall with; by default rows with noise.

    Returns:
      A report for the manifest: kind, recall against exact search and how it was
      measured; of each of ScaNN's parts its parameters and curve.

    Raises:
      EmbeddingsError: rows are not finite.
      ScannError: the corpus, or a part of it, is too small for ScaNN.
      RecallError: the recall is under `config.target_recall`.
    """
    kind = config.kind
    if kind == "auto":
        kind = "exact" if embeddings.num_rows < config.exact_below else "scann"
    make = _make_exact if kind == "exact" else _make_scann
    report = {"kind": kind} | make(embeddings, config, draft, queries)
    shape = {"num_chunks": embeddings.num_rows, "width": embeddings.width}
    draft.write_json(_DESCRIPTION, shape | report)
    multihost_utils.sync_global_devices(f"index {draft.path}")
    return report


def _make_exact(
    embeddings: Embeddings, config: IndexConfig, draft: Draft, queries: _Queries
) -> dict[str, Any]:
    """Nothing is built: where search is not exact by construction, it is measured."""
    del draft
    settings = {
        "rows_dtype": config.rows_dtype,
        "approximate_recall": config.approximate_recall,
    }
    part = range(embeddings.num_rows)
    if settings == {"rows_dtype": "", "approximate_recall": 1.0}:
        ranking.largest_norm(embeddings, part)  # that all rows are finite
        return {"recall": 1.0, "parameters": settings}
    queries, least, measured = _sample(embeddings, part, config, queries)
    built = ExactIndex(embeddings, jax.devices(), **settings)
    _, scores = built.search(queries, measured["recall_at"])
    reached = recall.share_found(scores, least)
    if reached < config.target_recall:
        raise recall.RecallError(
            f"exact search with {settings} finds {reached:.4f} of the best chunks; the "
            f"target is {config.target_recall}. Raise "
            "--config.index.approximate_recall, give --config.index.rows_dtype='', or "
            "lower --config.index.target_recall."
        )
    return {"recall": reached, "parameters": settings} | measured


def _make_scann(
    embeddings: Embeddings, config: IndexConfig, draft: Draft, queries: _Queries
) -> dict[str, Any]:
    """Builds this process' parts; the report of all."""
    _check_room(embeddings, config, draft)
    names = _part_names(config.num_parts)
    cuts = np.linspace(0, embeddings.num_rows, len(names) + 1).astype(int).tolist()
    for number in range(jax.process_index(), len(names), jax.process_count()):
        if not draft.has(names[number]):
            part = range(cuts[number], cuts[number + 1])
            with draft.file(names[number]) as folder:
                folder.mkdir()
                _make_part(embeddings, part, config, queries, folder)
    multihost_utils.sync_global_devices(f"parts {draft.path}")
    reports = [json.loads((draft.path / n / _REPORT).read_text()) for n in names]
    # A part's share of the best chunks is found at least as surely as its own best.
    reached = min(report["recall"] for report in reports)
    return {"recall": reached, "parts": reports}


def _check_room(embeddings: Embeddings, config: IndexConfig, draft: Draft) -> None:
    """ScaNN keeps the rows and codes of 4 bits for 2 of their numbers."""
    kept = 2 if config.rows_dtype == "bfloat16" else 4
    num_values = embeddings.num_rows * embeddings.width
    part_bytes = 4 * num_values / config.num_parts
    # Beside them the float32 rows of the part in work: see `scann_index.build_part`.
    disk_bytes = num_values * (kept + 0.25) + part_bytes
    room.check(draft.path, "build_index", disk_bytes, 2.3 * part_bytes)


def _make_part(
    embeddings: Embeddings,
    part: range,
    config: IndexConfig,
    queries: _Queries,
    folder: epath.Path,
) -> None:
    # Imported here: its wheels are for Linux and macOS, the exact index needs none.
    from radit_jax.retrieval import scann_index

    begin = time.monotonic()
    rows_dtype = config.rows_dtype or "float32"
    built = scann_index.build_part(
        embeddings, part, rows_dtype, config.num_leaves, folder
    )
    build_seconds = time.monotonic() - begin
    queries, least, measured = _sample(embeddings, part, config, queries)
    k = built.parameters["tuned_for"] = measured["recall_at"]
    least = least - ranking.tolerance(queries, built.norm)
    alone = scann_index.ScannIndex([built], embeddings)

    def search(leaves: int, reorder: int) -> Float[np.ndarray, "b k"]:
        built.parameters.update(leaves_to_search=leaves, reorder=reorder)
        return alone.search(queries, k)[1]

    chosen, curve = recall.tune(
        search,
        least,
        built.parameters["num_leaves"],
        len(part),
        k,
        config.target_recall,
    )
    built.parameters.update(
        leaves_to_search=chosen.leaves_to_search, reorder=chosen.reorder
    )
    report = {
        "recall": chosen.recall,
        **measured,
        "parameters": built.parameters,
        "build_seconds": round(build_seconds, 3),
        "curve": [dataclasses.asdict(point) for point in curve],
    }
    logging.info("ScaNN: chunks %d to %d: %s.", part.start, part.stop - 1, chosen)
    (folder / _REPORT).write_text(json.dumps(report, indent=1))
    built.save(folder)


def _sample(
    embeddings: Embeddings, part: range, config: IndexConfig, queries: _Queries
) -> tuple[Float[np.ndarray, "b e"], Float[np.ndarray, " b"], dict[str, Any]]:
    """Queries to measure recall with, their exact k-th scores, and what they are."""
    k, source = min(config.recall_at, len(part)), "given"
    if queries is None:
        source = f"rows with noise of {config.recall_noise} of their length"
        queries = recall.sample_queries(
            embeddings, part, config.recall_queries, config.recall_noise, config.seed
        )
    least = recall.least_scores(embeddings, part, queries, k)
    measured = {"recall_at": k, "num_queries": len(queries), "queries": source}
    return queries, least, measured


def load(
    directory: epath.PathLike,
    embeddings: Embeddings,
    devices: Sequence[jax.Device] | None = None,
) -> Index:
    """Opens what `build` wrote.

    Where ScaNN's parts are several and the processes, too, each process opens its own
    parts only, and all must search together.

    Args:
      directory: the artifact's folder.
      embeddings: the corpus that it was built from.
      devices: for an exact index; see there.

    Raises:
      IndexFileError: no index, one of another corpus, of an unknown kind or not whole.
    """
    path = epath.Path(directory) / _DESCRIPTION
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
        return ExactIndex(embeddings, devices, **description["parameters"])
    if description["kind"] == "scann":
        return _load_scann(path.parent, embeddings, len(description["parts"]))
    raise IndexFileError(
        f"{path} is of kind {description['kind']!r}; this version reads 'exact' and "
        "'scann'. Run stage build_index again with --overwrite."
    )


def _load_scann(directory: epath.Path, embeddings: Embeddings, num_parts: int) -> Index:
    from radit_jax.retrieval import scann_index

    folders = [directory / name for name in _part_names(num_parts)]
    missing = [folder.name for folder in folders if not folder.exists()]
    if missing:
        raise IndexFileError(
            f"{directory} lacks {len(missing)} of {num_parts} parts of its index, the "
            f"first is {missing[0]}; run stage build_index again with --overwrite."
        )
    is_shared = num_parts > 1 and jax.process_count() > 1
    if is_shared:
        folders = folders[jax.process_index() :: jax.process_count()]
    parts = [scann_index.load_part(folder) for folder in folders]
    return scann_index.ScannIndex(parts, embeddings, is_shared)


def _part_names(num_parts: int) -> list[str]:
    return [f"scann-{number:05}-of-{num_parts:05}" for number in range(num_parts)]
