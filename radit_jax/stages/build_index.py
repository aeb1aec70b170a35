"""Stage 3: embeddings → index, with its recall against exact search."""

from absl import logging

from radit_jax import artifacts
from radit_jax.artifacts import Artifact
from radit_jax.config import Config
from radit_jax.retrieval import index
from radit_jax.stages import inputs
from radit_jax.workdir import Workdir


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> Artifact:
    """Builds the index that `config.index.kind` names and measures its recall.

    Raises:
      ValueError: the recall is under `config.index.target_recall`.
    """
    embedded = artifacts.load(workdir.embeddings, "embed_corpus")
    with artifacts.writing(
        workdir.index,
        "build_index",
        config.section("index"),
        {"embeddings": embedded.sha256},
        overwrite,
    ) as draft:
        if draft is not None and artifacts.is_main_process():
            matrix = inputs.embeddings_of(embedded)
            with draft.file("index") as folder:
                built, report = index.build(matrix, config.index)
                folder.mkdir()
                built.save(folder)
            draft.counts |= {"chunks": matrix.num_rows} | report
            logging.info("build_index: %s", report)
    return artifacts.load(workdir.index, "build_index")
