"""Beside the pipeline: scores of benchmarks → a table of the paper with ours beside."""

from collections.abc import Mapping
from typing import Any

from etils import epath

from radit_jax import artifacts
from radit_jax.artifacts import Artifact
from radit_jax.config import Config
from radit_jax.corpus.json_lines import CorpusError
from radit_jax.evaluation import beside_paper, paper_markdown
from radit_jax.evaluation.benchmarks import files, shots
from radit_jax.evaluation.benchmarks.job import Job
from radit_jax.evaluation.benchmarks.tasks import BENCHMARKS, UNVERIFIED_SCORES
from radit_jax.evaluation.beside_paper import Cell
from radit_jax.evaluation.paper_tables import PaperTable
from radit_jax.workdir import Workdir

STAGE = "paper_table"


def run(
    config: Config,
    workdir: Workdir,
    table: PaperTable,
    scores: Mapping[Job, Mapping[str, Any]],
    reasons: Mapping[Job, str],
) -> Artifact:
    """Writes `results.json` and `table.md`.

    Args:
      config: of the set-up.
      workdir: of the scores.
      table: of the paper.
      scores: of the jobs that are done, as `scores.json` holds them.
      reasons: why each other job of the table is not.
    """
    cells = {
        (place, job.task): Cell(job, scores.get(job), reasons.get(job, ""))
        for place, job in table.jobs(config.benchmarks)
    }
    done = {str(cell.job.path(epath.Path())): cell.job for cell in cells.values()}
    hashes = {
        name: artifacts.load(job.path(workdir.path), "evaluate_benchmarks").sha256
        for name, job in done.items()
        if job in scores
    }
    told = {f"{place} {task}": cell.missing for (place, task), cell in cells.items()}
    sentences = setup(config, workdir, table)
    kept = config.section("evaluation") | {"missing": told, "setup": sentences}
    path = workdir.path / "benchmarks" / "tables" / f"table-{table.number}"
    # It only reads, and takes seconds: a newer input makes it anew.
    with artifacts.writing(path, STAGE, kept, hashes, overwrite=True) as draft:
        if draft is not None and artifacts.is_main_process():
            found = beside_paper.beside(table, cells, config.evaluation, sentences)
            draft.write_json("results.json", found)
            with draft.file("table.md") as file:
                file.write_text(paper_markdown.render(found))
            draft.counts |= {"cells": len(cells), "filled": len(hashes)}
    return artifacts.load(path, STAGE)


def missing(config: Config, workdir: Workdir, job: Job) -> str:
    """What it takes to do a job that can't be done; "": nothing.

    Files are looked for, not read: bad ones are told when they are.
    """
    settings = config.benchmarks
    if settings.names and job.task not in settings.names:
        return f"--config.benchmarks.names={settings.names} leaves it out."
    if job.run.num_shots not in settings.shots:
        return f"--config.benchmarks.shots={settings.shots} leaves it out."
    for split in (job.split, *(("train",) if job.run.num_shots else ())):
        try:
            files.find(job.benchmark, split, settings.folder)
        except CorpusError as error:
            return f"no files of {error}"
    return _missing_lm(workdir, job.run.lm) or _missing_chunks(config, workdir, job)


def _missing_lm(workdir: Workdir, name: str) -> str:
    path = workdir.lm(name)
    if name == "base" or artifacts.find(path):
        return ""
    if name == shots.LM:
        return (
            f"no LM in {path}: run `python -m launch.build_shot_examples` and `python "
            "-m launch.finetune_lm`, both with a config of configs/ra_it_64shot.py."
        )
    return (
        f"no tuned LM in {path}: run `python -m launch.finetune_lm "
        f"--config.lm_training.examples={name}`."
    )


def _missing_chunks(config: Config, workdir: Workdir, job: Job) -> str:
    retrieve, run = config.retrieve, job.run
    if run.retriever == "none":
        return ""
    indexes = {"dense": [workdir.index], "bm25": [workdir.bm25]}
    indexes["hybrid"] = [workdir.index, workdir.bm25]
    for path in indexes[retrieve.kind]:
        if not artifacts.find(path):
            return f"no index in {path}: run `python -m launch.build_index`."
    if run.num_chunks > retrieve.num_chunks:
        return (
            f"k = {run.num_chunks}, but only {retrieve.num_chunks} chunks are "
            "retrieved: raise --config.retrieve.num_chunks."
        )
    return _missing_tower(config, workdir) if run.retriever == "tuned" else ""


def _missing_tower(config: Config, workdir: Workdir) -> str:
    tuned = artifacts.find(workdir.query_tower)
    if config.retrieve.kind == "bm25":
        return "--config.retrieve.kind=bm25 has no query tower that could be tuned."
    if tuned is None:
        return (
            f"no tuned query tower in {workdir.query_tower}: run `python -m "
            "launch.finetune_retriever`."
        )
    if tuned.manifest["config"]["retriever_training"]["train"] != "query":
        return (
            f"{workdir.query_tower} was tuned together with its passage tower, by "
            "which the corpus is not embedded: tune it with "
            "--config.retriever_training.train=query."
        )
    return ""


def setup(config: Config, workdir: Workdir, table: PaperTable) -> list[str]:
    """What differs from the paper's set-up, a sentence each."""
    settings = config.benchmarks
    sentences = [f"The LM is {_name(config.lm.path)}, in place of LLaMA 65B."]
    runs = [line.run for line in table.lines if line.run]
    sentences += [
        _tuning(workdir, name)
        for name in dict.fromkeys(run.lm for run in runs)
        if name != "base" and artifacts.find(workdir.lm(name))
    ]
    if any(run.retriever != "none" for run in runs):
        sentences += _retrieval(config, workdir)
    if settings.max_items:
        sentences.append(
            f"Of each set at most {settings.max_items:,} questions are asked, drawn "
            f"with seed {settings.seed}."
        )
    sentences.append(
        f"Demonstrations and question have {config.lm.max_tokens:,} tokens at most."
    )
    unverified = [
        BENCHMARKS[name].title
        for name in table.published.tasks
        if name in UNVERIFIED_SCORES
    ]
    if unverified:
        sentences.append(
            f"By which score answers are compared is from memory, unverified, in "
            f"{', '.join(unverified)}."
        )
    return sentences


def _tuning(workdir: Workdir, name: str) -> str:
    made = artifacts.load(workdir.lm(name), "finetune_lm").manifest["config"]
    steps = made.get("lm_training", {}).get("num_steps")
    if name != shots.LM:
        return f"The LM {name} was fine-tuned for {steps} steps (paper: 300 to 500)."
    learned = artifacts.load(workdir.examples(name), "build_shot_examples")
    sets = [f"{one['questions']} of {one['set']}" for one in learned.counts["sets"]]
    return (
        f"The LM {name} is {shots.STARTS_FROM} after {steps} more steps (paper: 100), "
        f"which learned {', '.join(sets)} (paper: 64 of each of nine tasks)."
    )


def _retrieval(config: Config, workdir: Workdir) -> list[str]:
    chunks = artifacts.find(workdir.chunks)
    number = f"{chunks.counts['chunks']:,}" if chunks else "no"
    words = {"dense": "", "bm25": "BM25", "hybrid": " and BM25, fused by their ranks"}
    encoder = _name(config.encoder.query_path) if config.retrieve.kind != "bm25" else ""
    return [
        f"The corpus is {_name(config.corpus.documents)}, {number} chunks, in place of "
        "399,000,000.",
        f"The retriever is {encoder}{words[config.retrieve.kind]}, in place of "
        "DRAGON+.",
    ]


def _name(path: str) -> str:
    return epath.Path(path).name
