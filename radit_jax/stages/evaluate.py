"""Stage 10: predictions, references → `results.json` and `report.html`."""

import dataclasses
import datetime
import json
import platform
from typing import Any

import jax
from etils import epath

import radit_jax
from radit_jax import artifacts, fingerprint
from radit_jax.artifacts import Artifact, Draft
from radit_jax.config import Config
from radit_jax.evaluation import probes, report, shown, systems, table
from radit_jax.evaluation import results as results_lib
from radit_jax.stages import inputs
from radit_jax.training.metrics import read_metrics
from radit_jax.workdir import Workdir


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> Artifact:
    """Scores whatever predictions there are, and prints the table.

    Raises:
      ArtifactError: there are no predictions.
    """
    path, made_of = output(config, workdir), identity(config, workdir)
    # It only reads, and takes seconds: a newer input simply makes it anew.
    with artifacts.writing(path, "evaluate", *made_of, overwrite=True) as draft:
        if draft is not None and artifacts.is_main_process():
            _evaluate(config, workdir, _predicted(workdir), draft)
    print(table.render_table(_results(workdir)))
    print(f"\nReport: {workdir.evaluation / 'report.html'}")
    return artifacts.load(path, "evaluate")


def output(config: Config, workdir: Workdir) -> epath.Path:
    """The folder of what it writes."""
    return workdir.evaluation


def identity(config: Config, workdir: Workdir) -> artifacts.Identity:
    """What that depends on: config sections, and hashes of inputs."""
    answered = [*_predicted(workdir).values(), *_probes(workdir).values()]
    _check_same_retrieval(workdir, answered)
    return (
        config.section("evaluation")
        | {"num_chunks": config.predict.num_chunks}
        | {"lm_temperature": config.retriever_training.resolved(1.0).lm_temperature},
        {name: artifact.sha256 for name, artifact in _all_artifacts(workdir)},
    )


def _predicted(workdir: Workdir) -> dict[str, Artifact]:
    """LM → its predictions, of those there are."""
    predicted = {lm: artifacts.find(workdir.predictions(lm)) for lm in systems.LMS}
    predicted = {lm: found for lm, found in predicted.items() if found}
    if not predicted:
        raise artifacts.ArtifactError(
            f"{workdir.path} holds no predictions; run `python -m launch.predict` "
            "first, or `python -m launch.run_pipeline` for all stages."
        )
    return predicted


def _probes(workdir: Workdir) -> dict[tuple[str, str], Artifact]:
    """(probe, LM) → the artifacts of those that ran."""
    keys = [(probe, lm) for probe in probes.KINDS for lm in systems.LMS]
    found = {(p, lm): artifacts.find(workdir.probe(lm, p)) for p, lm in keys}
    return {key: artifact for key, artifact in found.items() if artifact}


def _check_same_retrieval(workdir: Workdir, predicted: list[Artifact]) -> None:
    """Refuses to put predictions of different retrievals into one table."""
    for artifact in predicted:
        for name in systems.TOWERS:
            found = artifacts.find(workdir.retrieved(name))
            used = artifact.manifest["inputs"].get(name)
            if used and (found is None or used != found.sha256):
                made = artifact.manifest["config"]["predict"]
                flags = [f"--config.predict.lm={made['lm']}"]
                flags += [
                    f"--config.predict.probe={p}" for p in [made.get("probe")] if p
                ]
                raise artifacts.ArtifactError(
                    f"{artifact.path} answers from another retrieval than "
                    f"{workdir.retrieved(name)} holds; run `python -m launch.predict "
                    f"{' '.join(flags)} --overwrite` first, or delete that folder."
                )


def _results(workdir: Workdir) -> dict[str, Any]:
    return json.loads((workdir.evaluation / "results.json").read_text())


def _all_artifacts(workdir: Workdir) -> list[tuple[str, Artifact]]:
    """Every finished artifact but the evaluation, in the order of the stages."""
    paths = [workdir.chunks, workdir.embeddings, workdir.index, workdir.bm25]
    paths += [workdir.retrieved("base"), workdir.examples("ra_it")]
    paths += [workdir.examples("it"), workdir.lm("ra_it"), workdir.lm("it")]
    paths += [workdir.scores("base"), workdir.query_tower, workdir.retrieved("tuned")]
    paths += [workdir.predictions(lm) for lm in systems.LMS]
    paths += [found.path for found in _probes(workdir).values()]
    found = [(str(p.relative_to(workdir.path)), artifacts.find(p)) for p in paths]
    return [(name, artifact) for name, artifact in found if artifact]


def _evaluate(
    config: Config, workdir: Workdir, predicted: dict[str, Artifact], draft: Draft
) -> None:
    lines = {lm: read_predictions(artifact) for lm, artifact in predicted.items()}
    store = inputs.chunk_store(workdir)
    retrieved = {
        name: inputs.read_retrieved(workdir, name, "dev")
        for name in systems.TOWERS
        if artifacts.find(workdir.retrieved(name))
    }
    probed: dict[str, dict] = {}
    for (probe, lm), artifact in _probes(workdir).items():
        probed.setdefault(probe, {})[lm] = read_predictions(artifact)
    seconds = {lm: found.manifest["seconds"] for lm, found in predicted.items()}
    results = results_lib.make_results(config, lines, retrieved, store, probed, seconds)
    stages = [*_ran(workdir), *_not_run(config, workdir)]
    results["seconds"] = {s["output"]: s["seconds"] for s in stages if s["seconds"]}
    curves = {
        "lm/ra_it": read_metrics(workdir.lm("ra_it") / "metrics"),
        "lm/it": read_metrics(workdir.lm("it") / "metrics"),
        "retriever": read_metrics(workdir.query_tower / "metrics"),
    }
    asked = shown.questions(config, lines, results, store)
    draft.write_json("results.json", results)
    with draft.file("report.html") as path:
        report.write_report(
            path,
            results,
            {name: curve for name, curve in curves.items() if curve},
            shown.handful(config, asked),
            stages,
            environment(config),
            asked,
        )
    draft.counts |= {"systems": len(results["systems"])}


def _ran(workdir: Workdir) -> list[dict[str, Any]]:
    return [
        {
            "stage": artifact.manifest["stage"],
            "seconds": artifact.manifest["seconds"],
            "counts": _flat(artifact.counts),
            "output": name,
        }
        for name, artifact in _all_artifacts(workdir)
    ]


def _not_run(config: Config, workdir: Workdir) -> list[dict[str, Any]]:
    """The stages whose output is missing, so that the report says so."""
    wanted = [("finetune_lm", workdir.lm(name)) for name in ("ra_it", "it")]
    if config.retrieve.kind != "bm25":
        wanted = [
            ("embed_corpus", workdir.embeddings),
            ("build_index", workdir.index),
            *wanted,
            ("score_chunks", workdir.scores("base")),
            ("finetune_retriever", workdir.query_tower),
            ("retrieve", workdir.retrieved("tuned")),
        ]
    wanted += [("predict", workdir.predictions(lm)) for lm in systems.LMS]
    return [
        {"stage": stage, "seconds": None, "output": str(p.relative_to(workdir.path))}
        for stage, p in wanted
        if artifacts.find(p) is None
    ]


def read_predictions(artifact: Artifact) -> dict[str, list[dict]]:
    """Retriever → its lines, in the order of the dev questions."""
    lines: dict[str, list[dict]] = {}
    for file in artifact.counts["shards"]:
        for record in artifacts.read_lines(artifact.path / file):
            lines.setdefault(record["retriever"], []).append(record)
    return lines


def environment(config: Config) -> dict[str, Any]:
    """What ran, and on what."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "package version": radit_jax.__version__,
        "git commit": fingerprint.git_commit(),
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
