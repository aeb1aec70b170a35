"""Beside the pipeline: benchmark items, an LM, their chunks → predictions and scores.

An artifact a system, task and number of demonstrations, with `scores.json` and
`predictions-00000-of-0000n.jsonl`, whose hashes its manifest holds.
"""

import gc
import json
from collections.abc import Iterable, Sequence
from typing import Any

import jax
from absl import logging
from etils import epath

from radit_jax import artifacts, fingerprint
from radit_jax.artifacts import Artifact, ArtifactError, Draft
from radit_jax.config import Config
from radit_jax.evaluation.benchmarks import answering
from radit_jax.evaluation.benchmarks.answering import Prompter
from radit_jax.evaluation.benchmarks.background import Background
from radit_jax.evaluation.benchmarks.item import Item, Record
from radit_jax.evaluation.benchmarks.job import Job, Reader
from radit_jax.evaluation.benchmarks.marks import PredictionsError, marks
from radit_jax.inference.sampler import Sampler
from radit_jax.inference.stops import Stops
from radit_jax.models import pretrained
from radit_jax.progress import Progress
from radit_jax.stages import inputs
from radit_jax.text.templates import PromptError
from radit_jax.text.tokenizer import LMTokenizer
from radit_jax.training import mesh
from radit_jax.workdir import Workdir

STAGE = "evaluate_benchmarks"


def run(
    config: Config,
    workdir: Workdir,
    jobs: Iterable[Job],
    reader: Reader,
    overwrite: bool = False,
) -> dict[Job, str]:
    """Does the jobs that are not done, each LM's together; a killed one resumes.

    Args:
      config: its sections `benchmarks`, `lm` and `evaluation` say how.
      workdir: of the LMs, and of what `retrieve_benchmarks` found.
      jobs: to do.
      reader: of the items.
      overwrite: see `artifacts.writing`.

    Returns:
      The jobs that can't be done with this config, and why: too few items to draw
      demonstrations from, or questions that do not fit the LM's window.

    Raises:
      ArtifactError: finished predictions that were changed since, or those of another
        config.
    """
    refused, lms, root = {}, _LMs(config, workdir), workdir.path
    # An LM's are neighbours; a killed run goes on in the same order.
    ordered = sorted(set(jobs), key=lambda job: (job.run.lm, str(job.path(root))))
    for number, job in enumerate(ordered, start=1):
        path = job.path(root)
        logging.info("[%d/%d] %s", number, len(ordered), path.relative_to(root))
        if not overwrite and (done := artifacts.find(path)):
            _check_unchanged(done)
        try:
            prompter = None
            with artifacts.writing(
                path, STAGE, *_identity(config, workdir, job, reader), overwrite
            ) as draft:
                if draft is not None:
                    prompter = _prompter(config, job, reader, lms)
                    _evaluate(config, workdir, job, reader, prompter, lms, draft)
        except (PromptError, _TooFewError) as error:
            refused[job] = str(error)
            continue
        read(workdir, job)
    return refused


def read(workdir: Workdir, job: Job) -> dict[str, Any]:
    """The scores of a finished job.

    Raises:
      ArtifactError: it is not done, or its files were changed since.
    """
    found = artifacts.load(job.path(workdir.path), STAGE)
    _check_unchanged(found)
    return json.loads((found.path / "scores.json").read_text())


def _check_unchanged(found: Artifact) -> None:
    problems = []
    for name, sha256 in found.counts["files"].items():
        file = found.path / name
        if not file.exists():
            problems.append(f"{name} is gone")
        elif (now := fingerprint.hash_files(file)) != sha256:
            problems.append(f"{name} has the hash {now[:12]}…, not {sha256[:12]}…")
    if problems:
        raise ArtifactError(
            f"{found.path} was changed after it was written: {'; '.join(problems)}. "
            "Bring back what was written, or delete the folder and run again."
        )


def _identity(config: Config, workdir: Workdir, job: Job, reader: Reader):
    settings, way = config.benchmarks, job.run
    kept = {
        "lm": config.section("lm")["lm"],
        "sample": {"max_items": settings.max_items, "seed": settings.seed},
        "shard_size": settings.shard_size,
        "mode": way.mode,
    }
    hashes = {"lm": inputs.lm_hash(config, workdir, way.lm)} | reader.hashes(job)
    if way.retriever != "none":
        kept["temperature"] = config.encoder.temperature
        kept["kilt_pages"] = settings.kilt_pages
        path = job.retrieved_path(workdir.path)
        hashes["retrieved"] = artifacts.load(path, "retrieve_benchmarks").sha256
    return kept, hashes


class _TooFewError(ValueError):
    """Items to draw demonstrations from."""


class _LMs:
    """Loads LMs, one at a time."""

    def __init__(self, config: Config, workdir: Workdir):
        self._config, self._workdir = config, workdir
        self._loaded: dict[str, tuple[Sampler, LMTokenizer, Stops]] = {}

    def tokenizer(self, name: str) -> LMTokenizer:
        """Of the LM, which need not be loaded."""
        path = inputs.lm_path(self._config, self._workdir, name)
        return pretrained.load_lm_tokenizer(path)

    def load(self, name: str) -> tuple[Sampler, LMTokenizer, Stops]:
        """The LM on all devices, and a line's end; the LM before is dropped."""
        if name not in self._loaded:
            if self._loaded:
                self._loaded.clear()
                gc.collect()
                jax.clear_caches()
            devices = mesh.make_mesh(tensor=self._config.lm.tensor)
            decoder, tokenizer = inputs.load_lm(
                self._config, self._workdir, name, devices
            )
            self._loaded[name] = (
                Sampler(decoder, eos_id=tokenizer.eos_id, mesh=devices),
                tokenizer,
                Stops(tokenizer, decoder.config.vocab_size),
            )
        return self._loaded[name]


def _prompter(config: Config, job: Job, reader: Reader, lms: _LMs) -> Prompter:
    """Checked with all items, before an LM is loaded.

    Raises:
      PromptError: questions that do not fit.
      _TooFewError: items to draw demonstrations from.
    """

    def demonstrations(subject: str) -> list[Item]:
        try:
            return reader.demonstrations(job, subject)
        except ValueError as error:
            raise _TooFewError(f"{job.task}: {error}") from error

    prompter = Prompter(
        lms.tokenizer(job.run.lm), job.benchmark, config.lm.max_tokens, demonstrations
    )
    prompter.check(reader.items(job))
    return prompter


def _evaluate(
    config: Config,
    workdir: Workdir,
    job: Job,
    reader: Reader,
    prompter: Prompter,
    lms: _LMs,
    draft: Draft,
) -> None:
    items, size = reader.items(job), config.benchmarks.shard_size
    starts = range(0, len(items), size)
    names = [
        f"predictions-{i:05d}-of-{len(starts):05d}.jsonl" for i in range(len(starts))
    ]
    done = [name for name in names if draft.has(name)]
    progress = Progress(len(items), "questions", job.task, done=size * len(done))
    background = _background(config, workdir, job)
    for name, start in zip(names, starts, strict=True):
        if draft.has(name):
            continue
        part = items[start : start + size]
        found, fields = background.of(part, start)
        records = answering.answer(
            *lms.load(job.run.lm),
            prompter,
            part,
            found,
            config.benchmarks.batch_size,
            progress,
        )
        draft.write_lines(name, [r | f for r, f in zip(records, fields, strict=True)])
    if artifacts.is_main_process():
        _mark(config, job, items, names, draft)


def _mark(
    config: Config, job: Job, items: Sequence[Item], names: list[str], draft: Draft
) -> None:
    records = [r for name in names for r in _records(draft.path / name)]
    settings = config.evaluation
    found = marks(job, items, records, settings, config.benchmarks.kilt_pages)
    draft.write_json("scores.json", found)
    files = (*names, "scores.json")
    draft.counts |= {
        "questions": len(items),
        "cut": found["cut"],
        "files": {name: fingerprint.hash_files(draft.path / name) for name in files},
    }


def _records(path: epath.Path) -> list[Record]:
    try:
        return artifacts.read_lines(path)
    except json.JSONDecodeError as error:
        raise PredictionsError(
            f"{path} is not what was written ({error}): it was changed by another "
            "program, or by hand. Delete it, and run again."
        ) from error


def _background(config: Config, workdir: Workdir, job: Job) -> Background:
    if job.run.retriever == "none":
        return Background(job.run)
    path = job.retrieved_path(workdir.path)
    found = artifacts.load(path, "retrieve_benchmarks")
    return Background(
        job.run,
        artifacts.read_lines(found.path / "found.jsonl"),
        inputs.chunk_store(workdir),
        config.encoder.temperature,
        config.benchmarks.kilt_pages,
    )
