"""Our numbers beside the paper's: one table's cells, means and differences.

All in percent. The published numbers have no intervals, so a difference has the width
of ours alone.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from radit_jax.config import EvaluationConfig
from radit_jax.evaluation import metrics, paper_tables
from radit_jax.evaluation.benchmarks.job import Job
from radit_jax.evaluation.benchmarks.tasks import BENCHMARKS
from radit_jax.evaluation.metrics import Interval
from radit_jax.evaluation.paper_tables import Line, PaperTable

_PAPER_CHUNKS = 10  # k (paper §1)
_RESAMPLES_AT_ONCE = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """A line's number on one task, or why there is none."""

    job: Job
    marks: Mapping[str, Any] | None = None  # of `benchmarks.marks`
    missing: str = ""  # what it takes to fill it


Cells = Mapping[tuple[int, str], Cell]  # by the line's place, and the task


def beside(
    table: PaperTable, cells: Cells, settings: EvaluationConfig, setup: Sequence[str]
) -> dict[str, Any]:
    """What `results.json` holds, and `paper_markdown` draws.

    Args:
      table: of the paper.
      cells: of its lines that have a run.
      settings: of the intervals.
      setup: what differs from the paper's, a sentence each.
    """
    return {
        "table": table.number,
        "number_is_known": table.number in paper_tables.KNOWN_NUMBERS,
        "title": table.published.title,
        "source": table.published.source,
        "note": table.note,
        "setup": list(setup),
        "lines": [
            _line(table, place, line, cells, settings)
            for place, line in enumerate(table.lines)
        ],
        "differences": _differences(table, cells, settings),
    }


def _line(
    table: PaperTable,
    place: int,
    line: Line,
    cells: Cells,
    settings: EvaluationConfig,
) -> dict[str, Any]:
    tasks = paper_tables.line_tasks(table.published, line.row)
    found = [
        _cell(table, line, task, cells.get((place, task)), settings) for task in tasks
    ]
    run = line.run and dataclasses.asdict(line.run)
    return {
        "system": line.row.system,
        "shots": line.row.shots,
        "run": run,
        "cells": found,
        "mean": _mean(table, line, place, cells, settings),
    }


def _cell(
    table: PaperTable,
    line: Line,
    task: str,
    cell: Cell | None,
    settings: EvaluationConfig,
) -> dict[str, Any]:
    benchmark, published = BENCHMARKS[task], line.row.scores.get(task)
    fields: dict[str, Any] = {
        "task": task,
        "title": benchmark.title,
        "metric": benchmark.metric,
        "published": published,
    }
    marks = cell.marks if cell else None
    if cell is None or marks is None:
        missing = cell.missing if cell else line.why_not
        return fields | {"ours": None, "difference": None, "missing": missing}
    ours = metrics.interval(marks["values"], settings.num_bootstrap, settings.seed)
    return fields | {
        "ours": ours,
        "difference": _minus(ours, published),
        "num_items": marks["num_items"],
        "split": cell.job.split,
        "num_chunks": cell.job.run.num_chunks,
        "notes": _notes(table, line, cell),
        "others": marks["others"],
        "kilt": marks["kilt"],
        "missing": "",
    }


def _notes(table: PaperTable, line: Line, cell: Cell) -> list[str]:
    """What differs in this cell from the paper's."""
    notes, marks, run = [], cell.marks or {}, cell.job.run
    if cell.job.split != table.published.split:
        notes.append(f"{cell.job.split}, not {table.published.split}")
    is_own = line.run is not None and line.run.num_chunks == run.num_chunks
    if run.num_chunks not in (0, _PAPER_CHUNKS) and not is_own:
        notes.append(f"k = {run.num_chunks}")
    notes += [f"{num} {what} cut" for what, num in marks["cut"].items() if num]
    return notes


def _minus(ours: Interval, published: float | None) -> float | None:
    return None if published is None else ours["value"] - published


def _mean(
    table: PaperTable,
    line: Line,
    place: int,
    cells: Cells,
    settings: EvaluationConfig,
) -> dict[str, Any]:
    """Over the tasks that are filled; the published one over the same, if known."""
    tasks = paper_tables.line_tasks(table.published, line.row)
    filled = [t for t in tasks if (c := cells.get((place, t))) and c.marks]
    whole = None if math.isnan(line.row.mean) else line.row.mean
    published = whole if len(filled) in (0, len(tasks)) else None
    if filled and published is None and line.row.scores:
        published = sum(line.row.scores[t] for t in filled) / len(filled)
    counts = {"num_filled": len(filled), "num_tasks": len(tasks)}
    if not filled:
        return counts | {"ours": None, "published": published, "difference": None}
    values = [cells[place, task].marks["values"] for task in filled]
    ours = mean_interval(values, settings.num_bootstrap, settings.seed)
    difference = _minus(ours, published)
    return counts | {"ours": ours, "published": published, "difference": difference}


def mean_interval(
    values: Sequence[Sequence[float]], num_resamples: int, seed: int
) -> Interval:
    """The mean of the tasks' means; questions are drawn again within their task.

    Args:
      values: of each task, a score a question.
      num_resamples: how often they are drawn again.
      seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    means = np.zeros(num_resamples)
    for some in map(np.asarray, values):
        for start in range(0, num_resamples, _RESAMPLES_AT_ONCE):
            part = means[start : start + _RESAMPLES_AT_ONCE]
            part += some[rng.integers(0, len(some), (len(part), len(some)))].mean(1)
    low, high = np.percentile(means / len(values), [2.5, 97.5])
    value = np.mean([np.mean(some) for some in values])
    return {"value": float(value), "low": float(low), "high": float(high)}


def _differences(
    table: PaperTable, cells: Cells, settings: EvaluationConfig
) -> list[dict[str, Any]]:
    """Of every two lines with equally many shots: the later minus the earlier."""
    found = []
    places = range(len(table.lines))
    for earlier, later in itertools.combinations(places, 2):
        first, second = table.lines[earlier].row, table.lines[later].row
        if first.shots != second.shots:
            continue
        by_task = {}
        for task in table.published.tasks:
            pair = [cells.get((place, task)) for place in (later, earlier)]
            marks = [cell.marks for cell in pair if cell and cell.marks]
            if len(marks) == 2 and marks[0]["items"] == marks[1]["items"]:
                by_task[task] = metrics.paired_difference(
                    marks[0]["values"],
                    marks[1]["values"],
                    settings.num_bootstrap,
                    settings.seed,
                )
        if by_task:
            what = f"{second.system} minus {first.system}"
            found.append({"what": what, "shots": first.shots, "tasks": by_task})
    return found
