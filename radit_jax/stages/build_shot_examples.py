"""Beside the pipeline: train questions of the benchmarks → packed LM examples.

What the paper's 64-shot stage learns (§3): `finetune_lm` goes on from the tuned LM
with `--config.lm_training.examples=ra_it_64shot`.
"""

from collections.abc import Iterator

import numpy as np
from absl import logging

from radit_jax import artifacts
from radit_jax.artifacts import Artifact, Draft
from radit_jax.config import Config, ConfigError
from radit_jax.evaluation.benchmarks import shots
from radit_jax.evaluation.benchmarks.item import Item
from radit_jax.evaluation.benchmarks.job import Job, Reader, Run
from radit_jax.instruct import packing, rows, summary
from radit_jax.instruct.rendering import Rendered
from radit_jax.models import pretrained
from radit_jax.stages import inputs
from radit_jax.text.templates import PromptError
from radit_jax.text.tokenizer import LMTokenizer
from radit_jax.workdir import Workdir

STAGE = "build_shot_examples"
_SAMPLES = 3  # of each task


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> Artifact:
    """Draws the same number of train questions of every task, and packs them.

    Each of a question's `config.examples.num_chunks` best chunks, found by the base
    retriever as for all LM fine-tuning, makes an example (Eq. 3). Their order is
    drawn, so that rows mix the tasks. There is no validation split: the last step of
    the fine-tuning is kept.

    Args:
      config: `benchmarks` names folder and tasks, and how many questions of each.
      workdir: of the index.
      overwrite: see `artifacts.writing`.

    Raises:
      ConfigError: tasks that the stage does not have.
      CorpusError: train files are missing, or with the problems in them.
      ValueError: a task has fewer train questions than wanted.
    """
    jobs, reader = _jobs(config), Reader(config.benchmarks)
    reader.check(jobs)
    items = {job: reader.demonstrations(job) for job in jobs}
    path, made_of = workdir.examples(shots.LM), _identity(config, workdir, reader, jobs)
    with artifacts.writing(path, STAGE, *made_of, overwrite) as draft:
        if draft is not None and artifacts.is_main_process():
            _build(config, workdir, items, draft)
    return artifacts.load(path, STAGE)


def _jobs(config: Config) -> list[Job]:
    """The train split of each task, as what its questions are drawn from."""
    settings = config.benchmarks
    unknown = [name for name in settings.names if name not in shots.TASKS]
    if unknown or not settings.folder:
        raise ConfigError(
            f"--config.benchmarks.folder is {settings.folder!r} and .names has "
            f"{unknown} that the 64-shot stage does not learn: name the folder that "
            f"holds the benchmarks, and tasks of {', '.join(shots.TASKS)}; () is all."
        )
    run = Run(shots.LM, "base", settings.train_shots, config.examples.num_chunks)
    return [Job(task, "train", run) for task in settings.names or shots.TASKS]


def _identity(config: Config, workdir: Workdir, reader: Reader, jobs: list[Job]):
    kept = {
        "examples": config.section("examples")["examples"],
        "max_tokens": config.lm.max_tokens,
        "shots": {
            "tasks": [job.task for job in jobs],
            "each": config.benchmarks.train_shots,
            "seed": config.benchmarks.seed,
        },
    }
    hashes = {job.task: reader.hashes(job)["train"] for job in jobs}
    hashes["tokenizer"] = inputs.lm_hash(config, workdir, "base")
    hashes["query_tower"] = inputs.query_tower_hash(config, workdir, "base")
    return kept, hashes | inputs.index_hashes(config, workdir)


def _build(
    config: Config, workdir: Workdir, items: dict[Job, list[Item]], draft: Draft
) -> None:
    tokenizer = pretrained.load_lm_tokenizer(config.lm.path)
    made = list(_examples(config, workdir, items, tokenizer))
    order = np.random.default_rng(config.examples.seed).permutation(len(made))
    packed = {"train": [made[i].example for i in order], "validation": []}
    for split, examples in packed.items():
        with draft.file(f"{split}.array_record") as path:
            written = rows.write_rows(
                path,
                packing.pack(examples, config.examples.row_tokens),
                config.examples.row_tokens,
            )
        draft.counts[split] = {"examples": len(examples), **written.to_record()}
    table = [_counts(job.task, questions, made) for job, questions in items.items()]
    draft.counts["sets"] = table
    shown = [one for job in items for one in _of(job.task, made)[:_SAMPLES]]
    samples = [summary.sample(one.kind, one, tokenizer) for one in shown]
    text = summary.table(table)
    with draft.file("samples.md") as path:
        path.write_text(summary.markdown(samples, {"Tasks": text}))
    logging.info("build_shot_examples:\n%s", text)


def _examples(
    config: Config,
    workdir: Workdir,
    items: dict[Job, list[Item]],
    tokenizer: LMTokenizer,
) -> Iterator[Rendered]:
    retriever = inputs.retriever(config, workdir, "base")
    store = inputs.chunk_store(workdir)
    for job, questions in items.items():
        queries = [job.benchmark.query(item) for item in questions]
        ids, _ = retriever.retrieve(queries, job.run.num_chunks)
        problems = []
        for item, chunk_ids in zip(questions, ids.tolist(), strict=True):
            for chunk in store.get_many(chunk_ids):
                try:
                    yield shots.example(
                        tokenizer, job.benchmark, item, chunk, config.lm.max_tokens
                    )
                except PromptError as error:
                    problems.append(error)
        if problems:
            logging.warning(
                "%d example(s) of %s were left out, being too long without any "
                "Background; the first: %s",
                len(problems),
                job.task,
                problems[0],
            )


def _counts(
    task: str, questions: list[Item], made: list[Rendered]
) -> dict[str, str | int]:
    own = _of(task, made)
    return {
        "set": task,
        "questions": len(questions),
        "examples": len(own),
        "tokens": sum(len(one.example.tokens) for one in own),
        "truncated_backgrounds": sum(one.background_cut for one in own),
    }


def _of(task: str, made: list[Rendered]) -> list[Rendered]:
    return [one for one in made if one.kind == task]
