"""Marks: what predictions of a benchmark are worth, as `scores.json` holds it."""

import hashlib
from collections.abc import Sequence
from typing import Any

from radit_jax.config import EvaluationConfig
from radit_jax.evaluation import metrics
from radit_jax.evaluation.benchmarks import scoring
from radit_jax.evaluation.benchmarks.item import Item, Record
from radit_jax.evaluation.benchmarks.job import Job
from radit_jax.evaluation.metrics import Scores


class PredictionsError(ValueError):
    """Predictions that are not what was written."""


def marks(
    job: Job,
    items: Sequence[Item],
    records: Sequence[Record],
    settings: EvaluationConfig,
    kilt_pages: str = "title",
) -> dict[str, Any]:
    """Scores in percent with 95 % intervals, and what was cut.

    Args:
      job: that the predictions are of.
      items: that were asked.
      records: of `answering.answer`, with `pages` where chunks were retrieved.
      settings: of the intervals.
      kilt_pages: what `pages` names: "title" or "wikipedia_id".

    Raises:
      PredictionsError: the records are not of these items.
    """
    _check(job, items, records)
    benchmark = job.benchmark
    if benchmark.kind == "generate":
        answers = [record["answer"] for record in records]
        scores = scoring.answer_scores(benchmark, items, answers)
    else:
        chosen = [record["option"] for record in records]
        scores = scoring.choice_scores(benchmark, items, chosen)
    values = scores[benchmark.metric]
    measured = _with_intervals(scores, settings)
    return {
        "task": job.task,
        "split": job.split,
        "metric": benchmark.metric,
        "num_items": len(items),
        "score": measured.pop(benchmark.metric),
        "others": measured,
        "kilt": _with_intervals(_kilt(job, items, records, kilt_pages), settings),
        "cut": {
            "backgrounds": sum(record["num_cut"] for record in records),
            "demonstrations": sum(record["num_dropped"] for record in records),
        },
        # Two systems' values may be compared item by item where this is the same.
        "items": hashlib.sha256("\n".join(i.id for i in items).encode()).hexdigest(),
        "values": values.tolist(),
    }


def _check(job: Job, items: Sequence[Item], records: Sequence[Record]) -> None:
    wanted = [item.id for item in items]
    found = [record.get("id") for record in records]
    if wanted != found:
        pairs = enumerate(zip(wanted, found, strict=False))
        shorter = min(len(wanted), len(found))
        first = next((i for i, (a, b) in pairs if a != b), shorter)
        raise PredictionsError(
            f"{job.task}, {job.split}: {len(found)} predictions for {len(wanted)} "
            f"questions, which part at number {first}: the predictions were changed "
            "by another program, or by hand. Delete their folder, and run again."
        )


def _kilt(
    job: Job, items: Sequence[Item], records: Sequence[Record], by: str
) -> Scores:
    """KILT's scores, of sets that name evidence, behind a retriever."""
    if job.run.retriever == "none" or not any(item.evidence for item in items):
        return {}
    answers = [record["answer"] for record in records]
    if job.benchmark.kind == "choice":
        answers = [
            scoring.kilt_answer(item, record["option"])
            for item, record in zip(items, records, strict=True)
        ]
    pages = [record["pages"] for record in records]
    return scoring.kilt_scores(items, answers, pages, by)


def _with_intervals(scores: Scores, settings: EvaluationConfig) -> dict[str, Any]:
    return {
        name: metrics.interval(values, settings.num_bootstrap, settings.seed)
        for name, values in scores.items()
    }
