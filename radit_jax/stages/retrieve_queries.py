"""Stage 4 for anyone's questions: a file of them → their chunks, beside no artifact."""

from etils import epath

from radit_jax import artifacts
from radit_jax.config import Config
from radit_jax.progress import Progress
from radit_jax.retrieval import queries, trec
from radit_jax.stages import inputs
from radit_jax.types import Retrieved
from radit_jax.workdir import Workdir


def run(
    config: Config, workdir: Workdir, questions: epath.PathLike, out: epath.PathLike
) -> epath.Path:
    """Writes what is found as JSON lines to `out`, and beside it as a TREC `.run`.

    Args:
      config: `retrieve` says how to search.
      workdir: holds the index.
      questions: see `queries.read_queries`.
      out: a .jsonl file in a folder that exists.

    Returns:
      The run file.

    Raises:
      CorpusError: questions that can't be read.
      ValueError: `out` can't be written to.
    """
    out = epath.Path(out).expanduser()
    if out.suffix != ".jsonl" or not out.parent.exists():
        raise ValueError(
            f"--out={out} must be a .jsonl file in a folder that exists; name another."
        )
    asked = queries.read_queries(questions)
    settings = config.retrieve
    retriever = inputs.retriever(config, workdir, settings.query_tower)
    progress, found = Progress(len(asked), "questions", "retrieve"), []
    for ids, scores in retriever.retrieve_batches(
        [one.question for one in asked],
        settings.num_chunks,
        batch_size=settings.batch_size,
    ):
        for row, values in zip(ids.tolist(), scores.tolist(), strict=True):
            found.append(Retrieved(asked[len(found)], tuple(row), tuple(values)))
        progress.update(len(ids))
    run_file = out.with_suffix(".run")
    if artifacts.is_main_process():
        store = inputs.chunk_store(workdir)
        aside = out.with_name(f"{out.name}.tmp")
        queries.write_found(aside, found, store)
        trec.write_run(run_file, trec.document_rankings(found, store), settings.kind)
        aside.replace(out)
    return run_file
