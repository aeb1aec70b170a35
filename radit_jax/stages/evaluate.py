"""Stage 10: predictions, references → `results.json` and `report.html`."""

import dataclasses
import datetime
import json
import platform
from typing import Any

import jax
import numpy as np

import radit_jax
from radit_jax import artifacts
from radit_jax.artifacts import Artifact, Draft
from radit_jax.config import Config
from radit_jax.corpus.store import ChunkStore
from radit_jax.evaluation import findings, metrics, report, table
from radit_jax.training.metrics import read_metrics
from radit_jax.types import Retrieved
from radit_jax.workdir import Workdir

_LMS = ("base", "it", "ra_it")
_TOWERS = ("base", "tuned")


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> Artifact:
    """Scores whatever predictions there are, and prints the table.

    Raises:
      ArtifactError: there are no predictions.
    """
    predicted = {lm: artifacts.find(workdir.predictions(lm)) for lm in _LMS}
    predicted = {lm: found for lm, found in predicted.items() if found}
    if not predicted:
        raise artifacts.ArtifactError(
            f"{workdir.path} holds no predictions; run `python -m launch.predict` "
            "first, or `python -m launch.run_pipeline` for all stages."
        )
    found = {name: a.sha256 for name, a in _all_artifacts(workdir)}
    with artifacts.writing(
        workdir.evaluation,
        "evaluate",
        config.section("evaluation") | {"num_chunks": config.predict.num_chunks},
        found,
        # It only reads, and takes seconds: a newer input simply makes it anew.
        overwrite=True,
    ) as draft:
        if draft is not None and artifacts.is_main_process():
            _evaluate(config, workdir, predicted, draft)
    print(table.render_table(_results(workdir)))
    print(f"\nReport: {workdir.evaluation / 'report.html'}")
    return artifacts.load(workdir.evaluation, "evaluate")


def _results(workdir: Workdir) -> dict[str, Any]:
    return json.loads((workdir.evaluation / "results.json").read_text())


def _all_artifacts(workdir: Workdir) -> list[tuple[str, Artifact]]:
    """Every finished artifact but the evaluation, in the order of the stages."""
    paths = [workdir.chunks, workdir.embeddings, workdir.index]
    paths += [workdir.retrieved("base"), workdir.examples("ra_it")]
    paths += [workdir.examples("it"), workdir.lm("ra_it"), workdir.lm("it")]
    paths += [workdir.scores("base"), workdir.query_tower, workdir.retrieved("tuned")]
    paths += [workdir.predictions(lm) for lm in _LMS]
    found = [(str(p.relative_to(workdir.path)), artifacts.find(p)) for p in paths]
    return [(name, artifact) for name, artifact in found if artifact]


def _evaluate(
    config: Config, workdir: Workdir, predicted: dict[str, Artifact], draft: Draft
) -> None:
    lines = {lm: read_predictions(artifact) for lm, artifact in predicted.items()}
    store = ChunkStore(workdir.chunks / "chunks.array_record")
    retrieved = read_retrieved(workdir)
    results = make_results(config, lines, retrieved, store)
    stages = [
        {
            "stage": artifact.manifest["stage"],
            "seconds": artifact.manifest["seconds"],
            "counts": _flat(artifact.counts),
            "output": name,
        }
        for name, artifact in _all_artifacts(workdir)
    ]
    results["seconds"] = {stage["output"]: stage["seconds"] for stage in stages}
    curves = {
        "lm/ra_it": read_metrics(workdir.lm("ra_it") / "metrics"),
        "lm/it": read_metrics(workdir.lm("it") / "metrics"),
        "retriever": read_metrics(workdir.query_tower / "metrics"),
    }
    draft.write_json("results.json", results)
    with draft.file("report.html") as path:
        report.write_report(
            path,
            results,
            {name: curve for name, curve in curves.items() if curve},
            shown_questions(config, lines, results, store),
            stages,
            environment(config),
        )
    draft.counts |= {"systems": len(results["systems"])}


def read_predictions(artifact: Artifact) -> dict[str, list[dict]]:
    """Retriever → its lines, in the order of the dev questions."""
    lines: dict[str, list[dict]] = {}
    for file in artifact.counts["shards"]:
        for record in artifacts.read_lines(artifact.path / file):
            lines.setdefault(record["retriever"], []).append(record)
    return lines


def read_retrieved(workdir: Workdir) -> dict[str, list[Retrieved]]:
    """Query tower → what it found for the dev questions."""
    found = {}
    for name in _TOWERS:
        file = workdir.retrieved(name) / "dev.jsonl"
        if artifacts.find(workdir.retrieved(name)) and file.exists():
            found[name] = [
                Retrieved.from_record(record) for record in artifacts.read_lines(file)
            ]
    return found


def make_results(
    config: Config,
    lines: dict[str, dict[str, list[dict]]],
    retrieved: dict[str, list[Retrieved]],
    store: ChunkStore,
) -> dict[str, Any]:
    """Systems, their paired differences and the retrievers, with 95 % intervals."""
    settings = config.evaluation
    resamples = (settings.num_bootstrap, settings.seed)
    scores = {
        (lm, retriever): metrics.score_predictions(records)
        for lm, by_retriever in lines.items()
        for retriever, records in by_retriever.items()
    }
    known = [key for key in findings.SYSTEM_NAMES if key in scores]
    others = [key for key in scores if key not in findings.SYSTEM_NAMES]
    systems = [
        {
            "name": findings.SYSTEM_NAMES.get(key, " + ".join(key)),
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
        for comparison in findings.COMPARISONS
        if {comparison.with_it, comparison.without_it} <= scores.keys()
    ]
    return {
        "systems": systems,
        "differences": differences,
        "num_questions": len(next(iter(scores.values()))["em"]),
        "num_chunks": config.predict.num_chunks,
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


def shown_questions(
    config: Config, lines: dict, results: dict, store: ChunkStore
) -> list[dict]:
    """A handful of questions in full: first those on which the systems disagree."""
    systems = [(s["name"], s["lm"], s["retriever"]) for s in results["systems"]]
    records = {name: lines[lm][retriever] for name, lm, retriever in systems}
    correct = {
        name: [em > 0 for em in metrics.score_predictions(rows)["em"]]
        for name, rows in records.items()
    }
    outcomes = list(zip(*correct.values(), strict=True))
    generator = np.random.default_rng(config.evaluation.seed)
    order = generator.permutation(len(outcomes)).tolist()
    order.sort(key=lambda row: len(set(outcomes[row])) == 1)
    return [
        {
            "question": next(iter(records.values()))[row]["question"],
            "answers": next(iter(records.values()))[row]["answers"],
            "passages": _passages(config, lines, row, store),
            "systems": [
                {
                    "name": name,
                    "answer": records[name][row]["answer"],
                    "probability": float(np.exp(records[name][row]["log_probability"])),
                    "correct": correct[name][row],
                }
                for name, _, _ in systems
            ],
        }
        for row in order[: config.evaluation.num_shown]
    ]


def _passages(config: Config, lines: dict, row: int, store: ChunkStore) -> list[dict]:
    """The chunks that any retriever found, with both p_R, p_LSR and the answers."""
    records = {
        (lm, retriever): by_retriever[retriever][row]
        for lm, by_retriever in lines.items()
        for retriever in _TOWERS
        if retriever in by_retriever
    }
    chunk_ids = dict.fromkeys(c for r in records.values() for c in r["chunk_ids"])
    p_r = {
        name: dict(zip(r["chunk_ids"], np.exp(r["log_p_r"]).tolist(), strict=True))
        for (_, name), r in records.items()
    }
    p_lsr = {}
    if ("base", "base") in records:
        record = records["base", "base"]
        scores = np.asarray(record["gold_log_likelihood"])
        scaled = (scores - scores.max()) / config.retriever_training.lm_temperature
        weights = np.exp(scaled) / np.exp(scaled).sum()
        p_lsr = dict(zip(record["chunk_ids"], weights.tolist(), strict=True))
    answers: dict[int, dict[str, str]] = {chunk_id: {} for chunk_id in chunk_ids}
    for (lm, _), record in records.items():
        for chunk_id, text in zip(
            record["chunk_ids"], record["chunk_answers"], strict=True
        ):
            answers[chunk_id][lm] = text
    passages = []
    for chunk_id in chunk_ids:
        chunk = store[chunk_id]
        positives = next(iter(records.values()))["positives"]
        passages.append(
            {
                "title": chunk.title,
                "text": chunk.text,
                "document_id": chunk.document_id,
                "is_positive": chunk.document_id in positives,
                "p_r_base": p_r.get("base", {}).get(chunk_id),
                "p_r_tuned": p_r.get("tuned", {}).get(chunk_id),
                "p_lsr": p_lsr.get(chunk_id),
                "answers": answers[chunk_id],
            }
        )
    return passages


def environment(config: Config) -> dict[str, Any]:
    """What ran, and on what."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "package version": radit_jax.__version__,
        "git commit": artifacts.git_commit(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "devices": f"{jax.device_count()} × {jax.devices()[0].device_kind}",
        "machine": platform.platform(),
        "language model": config.lm.path,
        "encoder": config.encoder.query_path,
        "config": dataclasses.asdict(config),
    }


def _flat(counts: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested counts by dotted name; lists, such as file names, by their length."""
    flat: dict[str, Any] = {}
    for key, value in counts.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key} ")
        else:
            flat[prefix + key] = len(value) if isinstance(value, list) else value
    return flat
