"""Stage 8: retrieved chunks, LM scores, query tower → tuned query tower (Eq. 4, 5).

Only the query tower learns: the passages are rows of the frozen embeddings, the LM
scores are those that `score_chunks` wrote once. (`train=both` is for the paper's
ablation: the passage tower learns too, and the embeddings are no longer its own.)
"""

import dataclasses
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath
from flax import nnx

from radit_jax import artifacts, fingerprint
from radit_jax.artifacts import Artifact, Draft
from radit_jax.config import Config, ConfigError, RetrieverTrainingConfig
from radit_jax.evaluation.tower_quality import TowerQuality
from radit_jax.models import huggingface
from radit_jax.models.dual_encoder import Tower
from radit_jax.retrieval import lm_scores, supervision
from radit_jax.retrieval.embeddings import Embeddings
from radit_jax.retrieval.lsr_batches import Batches, Frozen, Reencoded
from radit_jax.retrieval.lsr_objective import Objective
from radit_jax.retrieval.supervision import Supervised
from radit_jax.stages import inputs
from radit_jax.training import mesh, optimizer, state, train_step
from radit_jax.training import run as training_run
from radit_jax.workdir import Workdir


def run(
    config: Config,
    workdir: Workdir,
    overwrite: bool = False,
    folder: epath.PathLike | None = None,
    profile_steps: int = 0,
) -> Artifact:
    """Tunes the query tower; writes `model/` (Hugging Face), metrics and scalars.

    The checkpoint with the best MRR over the validation questions is kept; where none
    of them can be judged, the last step is. With `train=both` the passage tower is in
    `passage_model/`.

    Args:
      config: `retriever_training` above all.
      workdir: where the scores are.
      overwrite: see `artifacts.writing`.
      folder: of the output; None: the workdir's own. No later stage looks elsewhere.
      profile_steps: that are traced, for TensorBoard.
    """
    folder = output(config, workdir) if folder is None else epath.Path(folder)
    settings = config.retriever_training.resolved(config.encoder.temperature)
    made_of = identity(config, workdir)
    with artifacts.writing(folder, "finetune_retriever", *made_of, overwrite) as draft:
        if draft is not None:
            draft.temporary = training_run.TEMPORARY
            _finetune(config, workdir, settings, draft, profile_steps)
    training_run.clean(folder)
    return artifacts.load(folder, "finetune_retriever")


def output(config: Config, workdir: Workdir) -> epath.Path:
    """The folder of what it writes."""
    return workdir.query_tower


def identity(config: Config, workdir: Workdir) -> artifacts.Identity:
    """What that depends on: config sections, and hashes of inputs."""
    settings = config.retriever_training.resolved(config.encoder.temperature)
    retrieved = inputs.retrieved(workdir, "base")
    flag = f"--config.scoring.lm={settings.lm}"
    scores = artifacts.load(workdir.scores(settings.lm), "score_chunks", flag)
    embedded = artifacts.load(workdir.embeddings, "embed_corpus")
    if scores.manifest["inputs"]["retrieved"] != retrieved.sha256:
        raise artifacts.ArtifactError(
            f"{scores.path} scores another retrieval than {retrieved.path} holds; run "
            "`python -m launch.score_chunks --overwrite` first."
        )
    towers = {"query_tower": fingerprint.hash_files(config.encoder.query_path)}
    if settings.train == "both":
        passage = fingerprint.hash_files(config.encoder.passage_path)
        towers["passage_tower"] = passage
    return (
        {"retriever_training": dataclasses.asdict(settings)}
        | {"encoder": inputs.query_settings(config)},
        {
            "retrieved": retrieved.sha256,
            "scores": scores.sha256,
            "embeddings": embedded.sha256,
            **towers,
        },
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Towers:
    """What learns, and the embeddings that passages are, or once were, read from."""

    query: Tower
    passage: Tower | None  # where it learns too
    matrix: Embeddings

    def learning(self) -> dict[str, Tower]:
        """By the names that their parameters go by."""
        passage = {} if self.passage is None else {"passage": self.passage}
        return {"query": self.query} | passage


def _open_towers(config: Config, workdir: Workdir) -> _Towers:
    query = inputs.query_tower(config, workdir, "base")
    matrix = inputs.embeddings_of(artifacts.load(workdir.embeddings, "embed_corpus"))
    if matrix.width != query.width:
        raise ConfigError(
            f"the query tower in {config.encoder.query_path} embeds in {query.width} "
            f"numbers, but the embeddings in {workdir.embeddings} have {matrix.width}. "
            "Set --config.encoder.query_path to the tower that goes with "
            f"{config.encoder.passage_path}, or embed the corpus again."
        )
    is_both = config.retriever_training.train == "both"
    return _Towers(query, inputs.passage_tower(config) if is_both else None, matrix)


def _finetune(
    config: Config,
    workdir: Workdir,
    settings: RetrieverTrainingConfig,
    draft: Draft,
    profile_steps: int,
) -> None:
    towers, devices = _open_towers(config, workdir), mesh.make_mesh()
    parts = [supervised(config, workdir, split) for split in ("train", "corpus")]
    draft.counts |= supervision.counts(*parts, settings)
    optimiser = make_optimizer(settings)
    passages_of = Frozen(towers.matrix)
    if towers.passage is not None:
        passages_of = Reencoded(towers.passage, inputs.chunk_store(workdir))
    graphs, params = {}, {}
    for name, tower in towers.learning().items():
        graphs[name], params[name] = nnx.split(tower.encoder)
    objective = Objective(
        settings, towers.query, graphs["query"], towers.passage, graphs.get("passage")
    )
    quality = TowerQuality(
        inputs.retriever_questions(config, workdir, "validation"),
        *(towers.query, graphs["query"], towers.matrix),
        inputs.chunk_store(workdir),
        devices,
    )
    plan = training_run.Plan(
        folder=draft.path,
        label="finetune_retriever",
        num_steps=settings.num_steps,
        checkpoint_every=settings.checkpoint_every,
        validate_every=settings.validate_every,
        validation_name="validation_mrr",
        larger_is_better=True,
        profile_steps=profile_steps,
    )
    result = training_run.train(
        plan,
        train_step.make_train_step(objective, optimiser, mesh=devices),
        state.init_state(params, optimiser.transformation, devices, settings.seed),
        Batches(parts, settings, towers.query, passages_of, devices),
        (lambda now: {"validation_mrr": quality.mrr(now["query"])})
        if quality.is_known
        else None,
        devices,
    )
    draft.counts |= {
        "best_step": result.step,
        "validation_mrr_before": result.score_before,
        "validation_mrr": result.score,
    }
    # As host arrays: those of one device are no input to a program of many processes.
    base = jax.tree.map(np.asarray, params["query"])
    draft.counts |= quality.report(base, result.params["query"], result.step)
    _save(draft, towers, result.params)
    logging.info("finetune_retriever: %s", draft.counts)


def make_optimizer(settings: RetrieverTrainingConfig) -> optimizer.Optimizer:
    """The paper's, with the config's numbers."""
    return optimizer.make_optimizer(
        peak=settings.peak_learning_rate,
        end=0.0,
        warmup=settings.warmup_steps,
        num_steps=settings.num_steps,
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
    )


def _save(draft: Draft, towers: _Towers, params: dict[str, Any]) -> None:
    for name, tower in towers.learning().items():
        nnx.update(tower.encoder, params[name])
        file = "model" if name == "query" else "passage_model"
        with draft.file(file, together=True) as folder:
            huggingface.save_encoder(tower.encoder, folder, tower.tokenizer)
    if towers.passage is not None:
        logging.warning(
            "finetune_retriever: train=both changed the passage tower, so embeddings "
            "and index are stale: what is found with this query tower and them means "
            "little, validation included. Embed anew in another workdir: `python -m "
            "launch.embed_corpus --config.encoder.passage_path=%s`.",
            draft.path / "passage_model",
        )


def supervised(config: Config, workdir: Workdir, split: str) -> Supervised:
    """A split's questions with the scores of their chunks, by the config's teacher.

    Raises:
      ConfigError: a score is not finite.
    """
    settings = config.retriever_training.resolved(config.encoder.temperature)
    scored = artifacts.load(workdir.scores(settings.lm), "score_chunks")
    files = [f for f in scored.counts["shards"] if f.startswith(f"{split}-")]
    scores = lm_scores.read(
        [scored.path / file for file in files],
        scored.counts["chunks_a_question"],
        settings.score,
        keeps_tokens=settings.loss == "emdr2",
    )
    found = inputs.retriever_questions(config, workdir, split) if files else []
    return supervision.supervise(found, scores, settings, inputs.chunk_store(workdir))
