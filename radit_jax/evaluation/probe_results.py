"""What the probes found, and what the systems did where the gold passage was found."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from radit_jax.corpus.store import ChunkStore
from radit_jax.evaluation import metrics, probes, systems

Lines = Mapping[str, Sequence[dict]]  # name in the probe → its records
Resamples = tuple[int, int]  # how often, and the seed


def by_gold(
    lines: Mapping[str, Lines], store: ChunkStore, resamples: Resamples
) -> list[dict[str, Any]]:
    """Each system's exact match where it read a gold passage, and where it did not.

    A passage is gold when it is of a document that the question names. Questions
    that name none are left out; systems without a retriever, too.
    """
    rows = []
    for (lm, retriever), name in systems.SYSTEM_NAMES.items():
        records = [r for r in lines.get(lm, {}).get(retriever, ()) if r["positives"]]
        if not records or retriever == "none":
            continue
        scores = np.array(metrics.score_predictions(records)["em"])
        found = np.array([_has_gold(record, store) for record in records])
        row = {"name": name, "lm": lm, "retriever": retriever}
        for key, chosen in (("found", scores[found]), ("missed", scores[~found])):
            row[key] = {"num_questions": len(chosen)}
            if len(chosen):
                row[key]["em"] = metrics.interval(chosen, *resamples)
        rows.append(row)
    return rows


def _has_gold(record: dict, store: ChunkStore) -> bool:
    chunks = store.get_many(record["chunk_ids"])
    return any(chunk.document_id in record["positives"] for chunk in chunks)


def probe_results(
    lines: Mapping[str, Mapping[str, Lines]], resamples: Resamples
) -> dict[str, Any]:
    """Scores of every probe's every name, with intervals, and their differences.

    Args:
      lines: probe → LM → its lines.
      resamples: of the intervals.

    Returns:
      "depth", "concatenate" and "passages": LM → rows of `name`, `em`, `f1`,
      `contains`, `num_questions` and `num_prompt_tokens`, the mean of a question.
      "together": rows of concatenation minus ensemble. "effects": LM → what a right
      and what a random passage change.
    """
    found: dict[str, Any] = {
        probe: {lm: _rows(named, resamples) for lm, named in by_lm.items()}
        for probe, by_lm in lines.items()
    }
    together = [
        {"lm": lm, "name": name} | _difference(by_name[name], other[name], resamples)
        for lm, by_name in lines.get("concatenate", {}).items()
        for other in [lines.get("depth", {}).get(lm, {})]
        for name in by_name
        if name in other and name not in ("k=0", "k=1")  # the same prompt either way
    ]
    effects = {
        lm: {
            name: _difference(by_name[name], by_name["none"], resamples)
            for name in ("right", "random")
        }
        for lm, by_name in lines.get("passages", {}).items()
        if by_name.keys() >= set(probes.PASSAGES)
    }
    return found | {"together": together, "effects": effects}


def _rows(named: Lines, resamples: Resamples) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "num_questions": len(records),
            "num_prompt_tokens": float(
                np.mean([record["num_prompt_tokens"] for record in records])
            ),
            "num_truncated": sum(record["num_truncated"] > 0 for record in records),
        }
        | {
            metric: metrics.interval(values, *resamples)
            for metric, values in metrics.score_predictions(records).items()
        }
        for name, records in named.items()
    ]


def _difference(
    first: Sequence[dict], second: Sequence[dict], resamples: Resamples
) -> dict[str, Any]:
    """First minus second, on the questions that both answered."""
    others = {record["id"]: record for record in second}
    pairs = [(one, others[one["id"]]) for one in first if one["id"] in others]
    if not pairs:
        return {"num_questions": 0}
    scores = [metrics.score_predictions(some) for some in zip(*pairs, strict=True)]
    return {"num_questions": len(pairs)} | {
        metric: metrics.paired_difference(values, scores[1][metric], *resamples)
        for metric, values in scores[0].items()
    }


def cost(
    lines: Mapping[str, Lines], seconds: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Tokens that each system reads and writes for a question, and its LM's seconds.

    Args:
      lines: LM → retriever → records.
      seconds: LM → of its `predict`, for all its retrievers together.
    """
    rows = []
    for (lm, retriever), name in systems.SYSTEM_NAMES.items():
        records = lines.get(lm, {}).get(retriever, ())
        if records:
            rows.append(
                {
                    "name": name,
                    "lm": lm,
                    "retriever": retriever,
                    "num_prompt_tokens": _mean(records, "num_prompt_tokens"),
                    "num_answer_tokens": _mean(records, "num_answer_tokens"),
                    "lm_seconds_per_question": seconds[lm] / len(records),
                    "lm_retrievers": len(lines[lm]),
                }
            )
    return rows


def _mean(records: Sequence[dict], field: str) -> float | None:
    """None where the answers are of a version that did not count."""
    values = [record[field] for record in records if field in record]
    return float(np.mean(values)) if values else None
