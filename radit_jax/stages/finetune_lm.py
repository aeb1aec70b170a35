"""Stage 6: packed examples, base LM → tuned LM (paper §3, Eq. 3)."""

import dataclasses
from typing import Any

import jax
from absl import logging
from etils import epath
from flax import nnx
from jax.sharding import Mesh

from radit_jax import artifacts
from radit_jax.artifacts import Artifact, Draft
from radit_jax.config import Config, LMTrainingConfig
from radit_jax.evaluation.benchmarks import shots
from radit_jax.instruct.batches import RowBatches, in_order
from radit_jax.instruct.rows import RowCounts, RowStore
from radit_jax.models import huggingface
from radit_jax.ops import likelihood
from radit_jax.stages import inputs
from radit_jax.training import mesh, optimizer, state, train_step
from radit_jax.training import run as training_run
from radit_jax.training.lm_loss import NextTokenLoss
from radit_jax.workdir import Workdir

_NUM_WORDS, _LEAST_BYTES = 32_000, 16e9  # of LLaMA, and of the smallest accelerator


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> Artifact:
    """Tunes the base LM on `examples(config.lm_training.examples)`.

    The 64-shot stage goes on from the LM that was tuned on "ra_it" (paper §3).

    Writes `model/`, a Hugging Face directory with the step of the lowest validation
    loss; `metrics.jsonl` and TensorBoard scalars. A killed run resumes at its last
    checkpoint, with the result of an unbroken one.

    Raises:
      loop.NonFiniteLossError: the loss is NaN or infinite.
    """
    path, made_of = output(config, workdir), identity(config, workdir)
    with artifacts.writing(path, "finetune_lm", *made_of, overwrite) as draft:
        if draft is not None:
            draft.temporary = training_run.TEMPORARY
            _finetune(config, workdir, _examples(config, workdir), draft)
    training_run.clean(path)
    return artifacts.load(path, "finetune_lm")


def output(config: Config, workdir: Workdir) -> epath.Path:
    """The folder of what it writes."""
    return workdir.lm(config.lm_training.examples)


def identity(config: Config, workdir: Workdir) -> artifacts.Identity:
    """What that depends on: config sections, and hashes of inputs."""
    hashes = {
        "examples": _examples(config, workdir).sha256,
        "lm": inputs.lm_hash(config, workdir, _starts_from(config)),
    }
    return config.section("lm_training", "lm"), hashes


def _examples(config: Config, workdir: Workdir) -> Artifact:
    name = config.lm_training.examples
    if name == shots.LM:
        return artifacts.load(workdir.examples(name), "build_shot_examples")
    flag = f"--config.examples.kind={name}"
    return artifacts.load(workdir.examples(name), "build_examples", flag)


def _starts_from(config: Config) -> str:
    """The LM that is tuned."""
    return shots.STARTS_FROM if config.lm_training.examples == shots.LM else "base"


def _finetune(
    config: Config, workdir: Workdir, examples: Artifact, draft: Draft
) -> None:
    settings = config.lm_training
    devices = mesh.make_mesh(settings.fsdp, settings.tensor)
    batch_rows = (
        settings.it_batch_rows if settings.examples == "it" else settings.batch_rows
    )
    batches = RowBatches(
        _store(examples, "train"),
        batch_rows,
        settings.seed,
        mesh.local_rows(devices, batch_rows),
    )
    decoder, tokenizer = inputs.load_lm(config, workdir, _starts_from(config), devices)
    graphdef, params = nnx.split(decoder)
    optimiser = make_optimizer(settings)
    loss_fn = make_loss(config, graphdef, devices)
    plan = training_run.Plan(
        folder=draft.path,
        label=f"finetune_lm {settings.examples}",
        num_steps=settings.num_steps,
        checkpoint_every=settings.checkpoint_every,
        validate_every=settings.validate_every,
        validation_name="validation_loss",
        larger_is_better=False,
    )
    result = training_run.train(
        plan,
        make_step(config, graphdef, optimiser, devices),
        state.init_state(
            params, optimiser.transformation, devices, settings.seed, uses_up=True
        ),
        batches,
        _validation(config, examples, loss_fn, batch_rows, devices),
        devices,
    )
    batches.close()
    nnx.update(decoder, result.params)
    with draft.file("model", together=True) as folder:
        huggingface.save_decoder(decoder, folder, tokenizer)
    draft.counts |= {
        "steps": settings.num_steps,
        "best_step": result.step,
        "validation_loss_before": result.score_before,
        "validation_loss": result.score,
        "examples_an_epoch": examples.counts["train"]["examples"],
    }
    logging.info("finetune_lm: %s", draft.counts)


def make_optimizer(settings: LMTrainingConfig) -> optimizer.Optimizer:
    """The optimizer of Eq. 3, as the config has it."""
    return optimizer.make_optimizer(
        peak=settings.peak_learning_rate,
        end=settings.end_learning_rate,
        warmup=settings.warmup_steps,
        num_steps=settings.num_steps,
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
        schedule=settings.schedule,
    )


def make_loss(config: Config, graphdef: Any, devices: Mesh) -> NextTokenLoss:
    """Eq. 3, in blocks of targets that suit the devices.

    Args:
      config: its section `lm_training`.
      graphdef: of the decoder.
      devices: the mesh.
    """
    loss = NextTokenLoss(graphdef, config.lm_training.remat)
    if devices.devices.flat[0].platform == "cpu":
        return loss
    # Each block reads the head, and sends its gradient round all chips.
    block_tokens = likelihood.block_tokens_of(_NUM_WORDS, _LEAST_BYTES)
    return dataclasses.replace(loss, block_tokens=block_tokens)


def make_step(
    config: Config, graphdef: Any, optimiser: optimizer.Optimizer, devices: Mesh
) -> train_step.StepFn:
    """The compiled update; shapes are enough to lower it, see `planning`.

    Args:
      config: its section `lm_training`.
      graphdef: of the decoder.
      optimiser: of `make_optimizer`.
      devices: of `mesh.make_mesh`.
    """
    return train_step.make_train_step(
        make_loss(config, graphdef, devices),
        optimiser,
        config.lm_training.accumulation_steps,
        mesh=devices,
    )


def _store(examples: Artifact, split: str) -> RowStore:
    counts = RowCounts.from_record(examples.counts[split])
    return RowStore(examples.path / f"{split}.array_record", counts)


def _validation(config: Config, examples: Artifact, loss_fn, batch_rows: int, devices):
    """The mean loss a target token over the validation rows."""
    store = _store(examples, "validation")
    if not len(store):
        return None

    @jax.jit
    def step(params, batch):
        with jax.sharding.use_abstract_mesh(devices.abstract_mesh):
            return loss_fn(params, batch)[:2]

    places = mesh.local_rows(devices, batch_rows)

    def validate(params) -> float:
        total = weight = 0.0
        max_rows = config.lm_training.validation_rows
        for local in in_order(store, batch_rows, max_rows, places):
            batch = mesh.put_batch(local, devices, batch_rows)
            loss, num_tokens = step(params, batch)
            total, weight = total + float(loss), weight + float(num_tokens)
        return total / weight

    return validate
