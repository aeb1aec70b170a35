"""`results.json`: systems, their paired differences and the retrievers."""

from typing import Any

from radit_jax.config import Config
from radit_jax.corpus.store import ChunkStore
from radit_jax.evaluation import metrics, probe_results, systems
from radit_jax.types import Retrieved


def make_results(
    config: Config,
    lines: dict[str, dict[str, list[dict]]],
    retrieved: dict[str, list[Retrieved]],
    store: ChunkStore,
    probed: dict[str, dict[str, dict[str, list[dict]]]],
    seconds: dict[str, float],
) -> dict[str, Any]:
    """Systems, their paired differences and the retrievers, with 95 % intervals.

    Args:
      config: its section `evaluation`.
      lines: LM → retriever → records of `predict`.
      retrieved: query tower → the dev questions, with what it found.
      store: the chunks.
      probed: probe → LM → name in the probe → records.
      seconds: LM → of its `predict`.
    """
    settings = config.evaluation
    resamples = (settings.num_bootstrap, settings.seed)
    scores = {
        (lm, retriever): metrics.score_predictions(records)
        for lm, by_retriever in lines.items()
        for retriever, records in by_retriever.items()
    }
    known = [key for key in systems.SYSTEM_NAMES if key in scores]
    others = [key for key in scores if key not in systems.SYSTEM_NAMES]
    rows = [
        {
            "name": systems.SYSTEM_NAMES.get(key, " + ".join(key)),
            "lm": key[0],
            "retriever": key[1],
        }
        | {
            metric: metrics.interval(values, *resamples)
            for metric, values in scores[key].items()
        }
        for key in known + others
    ]
    differences = [
        {"what": comparison.what}
        | {
            metric: metrics.paired_difference(
                values, scores[comparison.without_it][metric], *resamples
            )
            for metric, values in scores[comparison.with_it].items()
        }
        for comparison in systems.COMPARISONS
        if {comparison.with_it, comparison.without_it} <= scores.keys()
    ]
    return {
        "systems": rows,
        "differences": differences,
        "num_questions": len(next(iter(scores.values()))["em"]),
        "num_chunks": config.predict.num_chunks,
        "gold": probe_results.by_gold(lines, store, resamples),
        "probes": probe_results.probe_results(probed, resamples),
        "cost": probe_results.cost(lines, seconds),
    } | _retriever_results(retrieved, store, resamples)


def _retriever_results(retrieved, store: ChunkStore, resamples) -> dict[str, Any]:
    measured, scores = {}, {}
    for name, found in retrieved.items():
        if not any(item.instruction.positives for item in found):
            continue  # the user's questions do not say where their answers are
        depth = len(found[0].chunk_ids)
        ks = sorted({k for k in (1, 5, depth) if k <= depth})
        ranked = [[store[row].document_id for row in item.chunk_ids] for item in found]
        positives = [item.instruction.positives for item in found]
        measured[name] = metrics.retrieval_metrics(ranked, positives, ks, *resamples)
        scores[name] = metrics.retrieval_scores(ranked, positives, ks)
    results: dict[str, Any] = {"retriever": measured}
    if len(scores) == 2:
        results["retriever_difference"] = {
            metric: metrics.paired_difference(
                values, scores["base"][metric], *resamples
            )
            for metric, values in scores["tuned"].items()
        }
    return results
