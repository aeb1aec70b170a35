"""Beside the pipeline: benchmark items, query tower, index → each item's top chunks."""

import itertools
from collections.abc import Iterable

from radit_jax import artifacts
from radit_jax.artifacts import Draft
from radit_jax.config import Config
from radit_jax.evaluation.benchmarks.item import Item
from radit_jax.evaluation.benchmarks.job import Job, Reader
from radit_jax.progress import Progress
from radit_jax.retrieval.retriever import Retriever
from radit_jax.stages import inputs
from radit_jax.workdir import Workdir

STAGE = "retrieve_benchmarks"


def run(
    config: Config,
    workdir: Workdir,
    jobs: Iterable[Job],
    reader: Reader,
    overwrite: bool = False,
) -> None:
    """Retrieves `config.retrieve.num_chunks` chunks for the items of each job.

    Jobs of one task, split and query tower share an artifact, which holds `found.jsonl`
    with a line an item: `id`, `query`, `chunk_ids` and `scores`, best chunk first.

    Args:
      config: its sections `retrieve`, `encoder` and `benchmarks` say how.
      workdir: of the index.
      jobs: those that are closed book are passed over.
      reader: of the items.
      overwrite: see `artifacts.writing`.
    """
    wanted = {j.retrieved_path(workdir.path): j for j in jobs}
    opened: dict[str, Retriever] = {}  # one at a time: towers come one after another
    for path, job in sorted(wanted.items(), key=lambda pair: pair[1].run.retriever):
        tower = job.run.retriever
        if tower == "none":
            continue
        with artifacts.writing(
            path, STAGE, *_identity(config, workdir, job, reader), overwrite
        ) as draft:
            if draft is None:
                continue
            if tower not in opened:
                opened.clear()
                opened[tower] = inputs.retriever(config, workdir, tower)
            _retrieve(config, job, reader.items(job), opened[tower], draft)


def _identity(config: Config, workdir: Workdir, job: Job, reader: Reader):
    retrieve = config.section("retrieve")["retrieve"]
    for other in ("query_tower", "splits", "batch_size"):
        del retrieve[other]
    settings = config.benchmarks
    sample = {"max_items": settings.max_items, "seed": settings.seed}
    kept = {"retrieve": retrieve, "encoder": inputs.query_settings(config)}
    tower = inputs.query_tower_hash(config, workdir, job.run.retriever)
    hashes = {"query_tower": tower, "items": reader.hashes(job)["items"]}
    return kept | {"sample": sample}, hashes | inputs.index_hashes(config, workdir)


def _retrieve(
    config: Config, job: Job, items: list[Item], retriever: Retriever, draft: Draft
) -> None:
    queries = [job.benchmark.query(item) for item in items]
    batches = retriever.retrieve_batches(
        queries, config.retrieve.num_chunks, None, config.retrieve.batch_size
    )
    label = f"retrieve {job.run.retriever} {job.task}"
    progress, records = Progress(len(items), "questions", label), []
    pairs = itertools.chain.from_iterable(zip(*some, strict=True) for some in batches)
    for item, query, (ids, scores) in zip(items, queries, pairs, strict=True):
        found = {"chunk_ids": ids.tolist(), "scores": scores.tolist()}
        records.append({"id": item.id, "query": query} | found)
        progress.update()
    draft.write_lines("found.jsonl", records)
    draft.counts |= {"questions": len(items)}
