"""Stage 3: embeddings → index with its recall against exact search; words → BM25."""

from absl import logging

from radit_jax import artifacts
from radit_jax.artifacts import Artifact
from radit_jax.config import Config
from radit_jax.retrieval import bm25_index, index
from radit_jax.stages import inputs
from radit_jax.workdir import Workdir


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> Artifact:
    """Builds the index that `config.index.kind` names and measures its recall.

    Where `config.retrieve.kind` says so, a BM25 index beside it, or alone.

    Raises:
      ValueError: the recall is under `config.index.target_recall`.
    """
    if config.retrieve.kind != "dense":
        words = _build_bm25(config, workdir, overwrite)
        if config.retrieve.kind == "bm25":
            return words  # which needs no embeddings
    embedded = artifacts.load(workdir.embeddings, "embed_corpus")
    with artifacts.writing(
        workdir.index,
        "build_index",
        config.section("index"),
        {"embeddings": embedded.sha256},
        overwrite,
    ) as draft:
        if draft is not None:
            matrix = inputs.embeddings_of(embedded)
            report = index.build(matrix, config.index, draft)
            draft.counts |= {"chunks": matrix.num_rows} | report
            logging.info("build_index: %s", report)
    return artifacts.load(workdir.index, "build_index")


def _build_bm25(config: Config, workdir: Workdir, overwrite: bool) -> Artifact:
    chunks = artifacts.load(workdir.chunks, "chunk_corpus")
    settings = {"k1": config.retrieve.bm25_k1, "b": config.retrieve.bm25_b}
    with artifacts.writing(
        workdir.bm25, "build_index", settings, {"chunks": chunks.sha256}, overwrite
    ) as draft:
        if draft is not None and artifacts.is_main_process():
            passages = (chunk.passage for chunk in inputs.chunk_store(workdir))
            with draft.file("index") as folder:
                built = bm25_index.build(passages, **settings)
                folder.mkdir()
                built.save(folder)
            draft.counts |= {"kind": "bm25", "chunks": built.num_chunks}
    return artifacts.load(workdir.bm25, "build_index")
