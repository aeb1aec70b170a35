"""Stage 3: embeddings → index with its recall against exact search; words → BM25."""

import dataclasses

from absl import logging
from etils import epath

from radit_jax import artifacts, progress, room
from radit_jax.artifacts import Artifact, Draft
from radit_jax.config import Config
from radit_jax.retrieval import bm25_index, index
from radit_jax.stages import inputs
from radit_jax.workdir import Workdir

_BM25_CHUNK_BYTES = 4096  # in memory: see bm25_index.build


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> Artifact:
    """Builds the index that `config.index.kind` names and measures its recall.

    Where `config.retrieve.kind` says so, a BM25 index beside it, or alone.

    Raises:
      ValueError: the recall is under `config.index.target_recall`.
    """
    if config.retrieve.kind == "hybrid":
        retrieve = dataclasses.replace(config.retrieve, kind="bm25")
        run(dataclasses.replace(config, retrieve=retrieve), workdir, overwrite)
    path, made_of = output(config, workdir), identity(config, workdir)
    with artifacts.writing(path, "build_index", *made_of, overwrite) as draft:
        if draft is not None and config.retrieve.kind != "bm25":
            _build(config, workdir, draft)
        elif draft is not None and artifacts.is_main_process():
            _build_bm25(made_of[0], workdir, draft)
    return artifacts.load(path, "build_index")


def output(config: Config, workdir: Workdir) -> epath.Path:
    """The folder of what it writes; of a hybrid's two, that of the embeddings."""
    return workdir.bm25 if config.retrieve.kind == "bm25" else workdir.index


def identity(config: Config, workdir: Workdir) -> artifacts.Identity:
    """What that depends on: config sections, and hashes of inputs."""
    if config.retrieve.kind == "bm25":  # which needs no embeddings
        chunks = artifacts.load(workdir.chunks, "chunk_corpus")
        settings = {"k1": config.retrieve.bm25_k1, "b": config.retrieve.bm25_b}
        return settings, {"chunks": chunks.sha256}
    embedded = artifacts.load(workdir.embeddings, "embed_corpus")
    return config.section("index"), {"embeddings": embedded.sha256}


def _build(config: Config, workdir: Workdir, draft: Draft) -> None:
    matrix = inputs.embeddings_of(artifacts.load(workdir.embeddings, "embed_corpus"))
    report = index.build(matrix, config.index, draft)
    draft.counts |= {"chunks": matrix.num_rows} | report
    logging.info("build_index: %s", report)


def _build_bm25(settings: dict[str, float], workdir: Workdir, draft: Draft) -> None:
    store = inputs.chunk_store(workdir)
    room.check(draft.path, "build_index", 0, _BM25_CHUNK_BYTES * len(store))
    chunks = progress.counted(store, len(store), "passages", "build_index bm25")
    passages = (chunk.passage for chunk in chunks)
    with draft.file("index") as folder:
        built = bm25_index.build(passages, **settings)
        folder.mkdir()
        built.save(folder)
    draft.counts |= {"kind": "bm25", "chunks": built.num_chunks}
