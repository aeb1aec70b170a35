"""Stage 8: retrieved chunks, LM scores, query tower → tuned query tower (Eq. 4, 5).

Only the query tower learns: the passages are rows of the frozen embeddings, the LM
scores are those that `score_chunks` wrote once.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import nnx
from jax.sharding import Mesh
from safetensors import numpy as safetensors

from radit_jax import artifacts, fingerprint
from radit_jax.artifacts import Artifact, Draft
from radit_jax.config import Config, ConfigError
from radit_jax.evaluation import metrics
from radit_jax.instruct import mixture
from radit_jax.instruct.batches import MixedBatches
from radit_jax.models import huggingface
from radit_jax.models.dual_encoder import Tower
from radit_jax.ops import likelihood, losses
from radit_jax.retrieval import exact_index
from radit_jax.retrieval.embeddings import Embeddings
from radit_jax.stages import inputs
from radit_jax.training import mesh, optimizer, state, train_step
from radit_jax.training import run as training_run
from radit_jax.types import Retrieved
from radit_jax.workdir import Workdir


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> Artifact:
    """Tunes the query tower; writes `model/` (Hugging Face), metrics and scalars.

    The checkpoint with the best MRR over the validation questions is kept; where no
    validation question names its positive documents, the last step is.
    """
    retrieved = inputs.retrieved(workdir, "base")
    lm = config.retriever_training.lm
    scores = artifacts.load(
        workdir.scores(lm), "score_chunks", f"--config.scoring.lm={lm}"
    )
    embedded = artifacts.load(workdir.embeddings, "embed_corpus")
    if scores.manifest["inputs"]["retrieved"] != retrieved.sha256:
        raise artifacts.ArtifactError(
            f"{scores.path} scores another retrieval than {retrieved.path} holds; run "
            "`python -m launch.score_chunks --overwrite` first."
        )
    with artifacts.writing(
        workdir.query_tower,
        "finetune_retriever",
        config.section("retriever_training")
        | {"encoder": inputs.query_settings(config)}
        | {"temperature": config.encoder.temperature},
        {
            "retrieved": retrieved.sha256,
            "scores": scores.sha256,
            "embeddings": embedded.sha256,
            "query_tower": fingerprint.hash_files(config.encoder.query_path),
        },
        overwrite,
    ) as draft:
        if draft is not None:
            _finetune(config, workdir, draft)
    training_run.clean(workdir.query_tower)
    return artifacts.load(workdir.query_tower, "finetune_retriever")


def _finetune(config: Config, workdir: Workdir, draft: Draft) -> None:
    settings = config.retriever_training
    devices = mesh.make_mesh()
    tower = inputs.query_tower(config, workdir, "base")
    matrix = inputs.embeddings_of(artifacts.load(workdir.embeddings, "embed_corpus"))
    batches = Batches(config, workdir, matrix, tower, devices)
    optimiser = optimizer.make_optimizer(
        peak=settings.peak_learning_rate,
        end=0.0,
        warmup=settings.warmup_steps,
        num_steps=settings.num_steps,
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
    )
    graphdef, params = nnx.split(tower.encoder)
    loss_fn = functools.partial(lsr_loss, config, tower, graphdef)
    plan = training_run.Plan(
        folder=draft.path,
        label="finetune_retriever",
        num_steps=settings.num_steps,
        checkpoint_every=settings.checkpoint_every,
        validate_every=settings.validate_every,
        validation_name="validation_mrr",
        larger_is_better=True,
    )
    result = training_run.train(
        plan,
        train_step.make_train_step(loss_fn, optimiser, mesh=devices),
        state.init_state(params, optimiser.transformation, devices, settings.seed),
        batches,
        _validation(config, workdir, matrix, tower, graphdef),
        devices,
    )
    nnx.update(tower.encoder, result.params)
    if artifacts.is_main_process():
        with draft.file("model") as folder:
            huggingface.save_encoder(tower.encoder, folder, tower.tokenizer)
    draft.counts |= {
        "sets": [portion.to_record() for portion in batches.portions],
        "steps": settings.num_steps,
        "best_step": result.step,
        "validation_mrr_before": result.score_before,
        "validation_mrr": result.score,
    }
    logging.info("finetune_retriever: %s", draft.counts)


def lsr_loss(config: Config, tower: Tower, graphdef, params, batch):
    """Eq. 5 over one batch: (summed loss, queries, sums of diagnostics)."""
    query = tower.embed(graphdef, params, batch["query_ids"], batch["query_mask"])
    scores = jnp.einsum(
        "be,bke->bk", query, batch["passages"], precision=jax.lax.Precision.HIGHEST
    )
    mask = jnp.ones(scores.shape, bool)
    temperatures = {
        "lm_temperature": config.retriever_training.lm_temperature,
        "retriever_temperature": config.encoder.temperature,
    }
    loss = losses.lsr_loss(
        scores,
        batch["lm_scores"],
        mask,
        direction=config.retriever_training.direction,
        **temperatures,
    )
    log_p_r, log_p_lsr = losses.lsr_distributions(
        scores, batch["lm_scores"], mask, **temperatures
    )
    num_queries = scores.shape[0]
    sums = {
        "entropy_p_r": jnp.sum(-jnp.exp(log_p_r) * log_p_r),
        "entropy_p_lsr": jnp.sum(-jnp.exp(log_p_lsr) * log_p_lsr),
        "agreement": jnp.sum(
            jnp.argmax(log_p_r, axis=-1) == jnp.argmax(log_p_lsr, axis=-1)
        ),
    }
    return loss * num_queries, num_queries, sums


class Batches:
    """Mixed batches of queries with their frozen passages and LM scores."""

    def __init__(
        self,
        config: Config,
        workdir: Workdir,
        matrix: Embeddings,
        tower: Tower,
        devices: Mesh,
    ):
        """Reads the retrieved questions and their scores; checks that they match."""
        settings = config.retriever_training
        items = [load_scored(config, workdir, split) for split in ("train", "corpus")]
        sizes = [len(found) for found, _ in items]
        self.portions = mixture.retriever_portions(
            mixture.sizes_by_set(items[0][0]),
            sizes[1],
            settings.corpus_weight,
            settings.num_steps * settings.batch_size,
        )
        self._rows = MixedBatches(
            sizes,
            (1 - settings.corpus_weight, settings.corpus_weight),
            settings.batch_size,
            settings.seed,
        )
        self.num_rows = settings.batch_size
        self._places = mesh.local_rows(devices, self.num_rows)
        found = [item for part, _ in items for item in part]
        self._lm_scores = np.concatenate([scores for _, scores in items if len(scores)])
        num_chunks = self._lm_scores.shape[1]
        self._chunk_ids = np.asarray([item.chunk_ids[:num_chunks] for item in found])
        self._matrix = matrix
        self._ids, self._mask = tower.tokenize([i.instruction.query for i in found])

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        """Query tokens `[b q]`, passages `[b k e]`, LM scores `[b k]`.

        Those of the rows that this process' devices hold.
        """
        rows = next(self._rows)[self._places]
        chunk_ids = self._chunk_ids[rows]
        passages = self._matrix.rows(chunk_ids.reshape(-1))
        return {
            "query_ids": self._ids[rows],
            "query_mask": self._mask[rows],
            "passages": passages.reshape(*chunk_ids.shape, -1),
            "lm_scores": self._lm_scores[rows],
        }

    def get_state(self) -> dict:
        """The position in the mixture."""
        return self._rows.get_state()

    def set_state(self, state: dict) -> None:
        """Goes on from that position."""
        self._rows.set_state(state)


def load_scored(
    config: Config, workdir: Workdir, split: str
) -> tuple[list[Retrieved], np.ndarray]:
    """A split's scored questions and their LM scores `[b k]`, in the config's form.

    Questions that `score_chunks` left out, being too long, are left out here too.

    Raises:
      ConfigError: a score is not finite.
    """
    lm = config.retriever_training.lm
    scores = artifacts.load(workdir.scores(lm), "score_chunks")
    files = [f for f in scores.counts["shards"] if f.startswith(f"{split}-")]
    if not files:
        return [], np.empty((0, 0), np.float32)
    shards = [safetensors.load((scores.path / file).read_bytes()) for file in files]
    num_tokens = np.concatenate([shard["num_tokens"] for shard in shards])
    if not num_tokens.any():
        return [], np.empty((0, 0), np.float32)
    found = inputs.retriever_questions(config, workdir, split)[: len(num_tokens)]
    flat = np.concatenate([shard["token_log_likelihood"] for shard in shards])
    lengths = num_tokens.reshape(-1)
    padded = np.zeros((len(lengths), lengths.max()), np.float32)
    mask = np.arange(lengths.max())[None] < lengths[:, None]
    padded[mask] = flat
    form = config.retriever_training.score
    values = np.asarray(likelihood.sequence_score(padded, mask, form))
    is_scored = num_tokens.all(axis=1)
    values = values.reshape(num_tokens.shape)[is_scored]
    found = [item for item, kept in zip(found, is_scored, strict=True) if kept]
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values).all(axis=1)))
        raise ConfigError(
            f"the LM score of question {found[row].instruction.id!r} is "
            f"{values[row]}; the LM in {config.lm.path} gives no finite likelihoods. "
            "Check it with --config.lm.compute_dtype=float32."
        )
    return found, values


def _validation(config: Config, workdir: Workdir, matrix: Embeddings, tower, graphdef):
    """MRR over the validation questions by exact search, or None without positives."""
    retrieved = inputs.retriever_questions(config, workdir, "validation")
    found = [item.instruction for item in retrieved]
    found = [instruction for instruction in found if instruction.positives]
    if not found:
        logging.warning(
            "finetune_retriever: no validation question names its `positives`, so "
            "the last step is kept rather than the best."
        )
        return None
    documents = [chunk.document_id for chunk in inputs.chunk_store(workdir)]
    exact = exact_index.ExactIndex(matrix)
    tokens = tower.tokenize([instruction.query for instruction in found])
    ids, mask = map(jnp.asarray, tokens)
    embed = jax.jit(lambda params: tower.embed(graphdef, params, ids, mask))
    depth = len(retrieved[0].chunk_ids)
    positives = [instruction.positives for instruction in found]

    def validate(params) -> float:
        rows, _ = exact.search(np.asarray(embed(params)), depth)
        ranked = [[documents[row] for row in question] for question in rows]
        return float(metrics.retrieval_scores(ranked, positives, [depth])["mrr"].mean())

    return validate
