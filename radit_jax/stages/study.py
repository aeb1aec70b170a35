"""Beside the pipeline: what teaches a query tower, measured on the dev questions.

`launch.study` trains the arms, each in a branch of the workdir; this reads them.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import Float, Int

from radit_jax import artifacts
from radit_jax.artifacts import Artifact, Draft
from radit_jax.config import Config
from radit_jax.evaluation import arms as arms_lib
from radit_jax.evaluation import metrics, right_chunks, study_page, study_results
from radit_jax.evaluation.arms import Arm
from radit_jax.evaluation.metrics import Scores
from radit_jax.models import pretrained
from radit_jax.models.dual_encoder import Tower
from radit_jax.retrieval.embedder import Embedder
from radit_jax.retrieval.exact_index import ExactIndex
from radit_jax.stages import inputs
from radit_jax.training.metrics import read_metrics
from radit_jax.types import Instruction
from radit_jax.workdir import Workdir

_Trained = Sequence[tuple[Arm, Artifact]]

DEPTH = 10  # chunks of a ranking
BASE = "base"  # among the arms: the tower before training


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> Artifact:
    """Measures whatever arms there are.

    Writes `results.json` (recall in percent, MRR from 0 to 1, differences to the base
    tower with paired 95 % intervals), `table.md` and `study.html`. Every arm searches
    the whole corpus, exactly; one that trained the passage tower too ranks the base
    tower's candidates anew, as no embeddings of the corpus by it are there.

    Args:
      config: `evaluation`, and the encoder.
      workdir: holds stages 1 to 4, and the arms.
      overwrite: has no effect: what other arms left is always made anew.

    Raises:
      ArtifactError: no arm is trained.
    """
    arms = _trained(workdir)
    if not arms:
        raise artifacts.ArtifactError(
            f"{workdir.study.parent} holds no trained arm; run `python -m "
            "launch.study` with this config and workdir."
        )
    _rank(config, workdir, arms)
    answers = _answers(workdir)
    with artifacts.writing(
        workdir.study,
        "study",
        config.section("evaluation"),
        {name: a.sha256 for name, a in _inputs(workdir, arms, answers).items()},
        overwrite=True,  # it only reads, and takes seconds
    ) as draft:
        if draft is not None and artifacts.is_main_process():
            _write(config, workdir, arms, answers, draft)
    return artifacts.load(workdir.study, "study")


def best_arm(workdir: Workdir) -> str | None:
    """The arm whose tower has the best MRR on the validation questions.

    Never chosen on dev, which would flatter it. Controls are no methods, and a query
    tower that learned with its passage tower does not fit the index.
    """
    scores = {
        arm.name: trained.counts.get("validation_mrr") or 0.0
        for arm, trained in _trained(workdir)
        if not arm.is_control and not _has_passage_tower(trained)
    }
    return max(scores, key=scores.get) if scores else None


def _trained(workdir: Workdir) -> _Trained:
    found = (
        (arm, artifacts.find(workdir.study_arm(arm.name).query_tower))
        for arm in arms_lib.ARMS
    )
    return [(arm, trained) for arm, trained in found if trained]


def _has_passage_tower(trained: Artifact) -> bool:
    return (trained.path / "passage_model").exists()


def _inputs(
    workdir: Workdir, arms: _Trained, answers: Artifact | None
) -> dict[str, Artifact]:
    named = {arm.name: trained for arm, trained in arms}
    for name in (BASE, *(arm.name for arm, _ in arms)):
        ranking = artifacts.load(workdir.study_arm(name).ranking, "study")
        named[f"{name} ranking"] = ranking
    return named | ({"answers": answers} if answers else {})


def _rank(config: Config, workdir: Workdir, arms: _Trained) -> None:
    """Writes the ranking of each tower that has none yet."""
    embedded = inputs.checked_embeddings(config, workdir)
    hashes = {
        "embeddings": embedded.sha256,
        "retrieved": inputs.retrieved(workdir, "base").sha256,
    }
    towers = {BASE: inputs.query_tower_hash(config, workdir, "base")}
    towers |= {arm.name: trained.sha256 for arm, trained in arms}
    ranker = None
    for name, tower in towers.items():
        with artifacts.writing(
            workdir.study_arm(name).ranking,
            "study",
            {"encoder": inputs.query_settings(config), "depth": DEPTH},
            hashes | {"query_tower": tower},
            overwrite=True,  # no one else's: only this stage reads it
        ) as draft:
            if draft is not None:
                ranker = ranker or _Ranker(config, workdir)
                ids = ranker.rank(name)
                draft.write_lines("dev.jsonl", [{"chunk_ids": r} for r in ids.tolist()])
                draft.counts["questions"] = len(ids)


class _Ranker:
    """Exact search with one query tower after another, by one compiled program."""

    def __init__(self, config: Config, workdir: Workdir):
        self._config, self._workdir = config, workdir
        asked, _, _ = _judged(workdir)
        self._queries = [one.query for one in asked]
        self._embedder = Embedder(inputs.query_tower(config, workdir, "base"))
        embedded = artifacts.load(workdir.embeddings, "embed_corpus")
        self._index = ExactIndex(inputs.embeddings_of(embedded))

    def rank(self, name: str) -> Int[np.ndarray, "b k"]:
        """The best chunks of each dev question, by the tower of this name."""
        logging.info("study: %s ranks for %d questions", name, len(self._queries))
        branch = self._workdir.study_arm(name)
        trained = None if name == BASE else artifacts.find(branch.query_tower)
        tower = inputs.query_tower(self._config, branch, "tuned" if trained else "base")
        self._embedder.replace_encoder(tower.encoder)
        rows = self._embedder.embed(self._queries, self._config.retrieve.batch_size)
        if trained and _has_passage_tower(trained):
            passage = pretrained.load_tower(
                trained.path / "passage_model", **inputs.passage_settings(self._config)
            )
            return self._rerank(rows, passage)
        depth = min(DEPTH, self._index.num_chunks)
        return self._index.search(rows, depth)[0]

    def _rerank(
        self, rows: Float[np.ndarray, "b e"], passage: Tower
    ) -> Int[np.ndarray, "b k"]:
        """The base tower's chunks in the order of another passage tower's scores."""
        ids = _read_ranking(self._workdir, BASE)
        distinct, places = np.unique(ids, return_inverse=True)
        chunks = inputs.chunk_store(self._workdir).get_many(distinct)
        embedded = Embedder(passage).embed(
            [chunk.passage for chunk in chunks], self._config.embed.batch_size
        )
        scores = np.einsum("be,bke->bk", rows, embedded[places.reshape(ids.shape)])
        order = np.argsort(-scores, axis=1, kind="stable")
        return np.take_along_axis(ids, order, axis=1)


def _read_ranking(workdir: Workdir, name: str) -> Int[np.ndarray, "b k"]:
    ranking = artifacts.load(workdir.study_arm(name).ranking, "study")
    lines = artifacts.read_lines(ranking.path / "dev.jsonl")
    return np.array([line["chunk_ids"] for line in lines])


def _judged(workdir: Workdir) -> tuple[list[Instruction], right_chunks.Judge, str]:
    """The dev questions, how it is judged what they should find, and its name."""
    found = inputs.read_retrieved(workdir, "base", "dev")
    return right_chunks.choose_judge([item.instruction for item in found])


def _write(
    config: Config,
    workdir: Workdir,
    arms: _Trained,
    answers: Artifact | None,
    draft: Draft,
) -> None:
    store = inputs.chunk_store(workdir)
    asked, judge, judged_by = _judged(workdir)
    right = right_chunks.RightChunks(asked, judge, store)
    resamples = config.evaluation.num_bootstrap, config.evaluation.seed
    base = right.scores(_read_ranking(workdir, BASE), DEPTH)
    rows = [
        _arm_row(arm, trained)
        | study_results.compare(
            right.scores(_read_ranking(workdir, arm.name), DEPTH), base, *resamples
        )
        for arm, trained in arms
    ]
    results = {
        "num_questions": len(asked),
        "judged_by": judged_by,
        "num_chunks": len(store),
        "uniform_entropy": math.log(config.scoring.num_chunks),
        "base": study_results.intervals(base, *resamples),
        "arms": rows,
        "answers": _answer_row(config, workdir, answers),
    }
    draft.write_json("results.json", results)
    with draft.file("table.md") as path:
        path.write_text(study_results.render_markdown(results))
    with draft.file("study.html") as path:
        study_page.write_page(path, results, _settings(config))
    draft.counts |= {"arms": len(rows), "questions": len(asked)}


def _arm_row(arm: Arm, trained: Artifact) -> dict[str, Any]:
    counts, records = trained.counts, read_metrics(trained.path / "metrics")
    validated = [r["validation_mrr"] for r in records if "validation_mrr" in r]
    return {
        "name": arm.name,
        "what": arm.what,
        "is_control": arm.is_control,
        "searched": "candidates" if _has_passage_tower(trained) else "corpus",
        "kept_step": counts["best_step"],
        "validation_mrr_before": counts["validation_mrr_before"],
        "validation_mrr": counts["validation_mrr"],
        "validation_mrr_at_last_step": validated[-1] if validated else None,
        "seconds": trained.manifest["seconds"],
        "diagnostics": study_results.diagnostics(records),
    }


def _answers(workdir: Workdir) -> Artifact | None:
    """The answers with the best arm, if they are there."""
    best = best_arm(workdir)
    return artifacts.find(workdir.study_arm(best).predictions("base")) if best else None


def _answer_row(
    config: Config, workdir: Workdir, answers: Artifact | None
) -> dict[str, Any] | None:
    if answers is None:
        return None
    scores = {
        name: metrics.score_predictions(lines)
        for name, lines in _lines_by_retriever(answers)
    }
    resamples = config.evaluation.num_bootstrap, config.evaluation.seed
    before: Scores = {name: np.array(v) for name, v in scores["base"].items()}
    after: Scores = {name: np.array(v) for name, v in scores["tuned"].items()}
    return {
        "arm": best_arm(workdir),
        "num_questions": len(before["em"]),
        "num_chunks": answers.manifest["config"]["predict"]["num_chunks"],
        "base": study_results.intervals(before, *resamples),
    } | study_results.compare(after, before, *resamples)


def _lines_by_retriever(answers: Artifact) -> Iterator[tuple[str, list[dict]]]:
    files: Sequence[str] = answers.counts["shards"]
    lines = [line for f in files for line in artifacts.read_lines(answers.path / f)]
    for name in ("base", "tuned"):
        yield name, [line for line in lines if line["retriever"] == name]


def _settings(config: Config) -> dict[str, Any]:
    """What the arms share."""
    training = config.retriever_training
    return {
        "encoder": config.encoder.query_path,
        "language model": config.lm.path,
        "scored questions": f"up to {config.scoring.max_questions or 'all'} a split",
        "chunks a question": config.scoring.num_chunks,
        "training": f"{training.num_steps} steps of {training.batch_size} queries",
        "peak learning rate": training.peak_learning_rate,
        "share of corpus queries": round(training.corpus_weight, 4),
    }
