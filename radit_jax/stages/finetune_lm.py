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
from radit_jax.config import Config, ConfigError, LMTrainingConfig
from radit_jax.evaluation import lm_quality
from radit_jax.evaluation.answer_quality import AnswerQuality
from radit_jax.evaluation.benchmarks import shots
from radit_jax.evaluation.lm_quality import LMQuality
from radit_jax.instruct.batches import RowBatches
from radit_jax.instruct.rows import RowCounts, RowStore
from radit_jax.models import huggingface, lora, peft
from radit_jax.models.decoder import Decoder
from radit_jax.ops import likelihood
from radit_jax.stages import inputs
from radit_jax.text.tokenizer import LMTokenizer
from radit_jax.training import lm_speed, mesh, optimizer, state, train_step
from radit_jax.training import run as training_run
from radit_jax.training.lm_loss import NextTokenLoss
from radit_jax.workdir import Workdir

_NUM_WORDS, _LEAST_BYTES = 32_000, 16e9  # of LLaMA, and of the smallest accelerator


def run(
    config: Config, workdir: Workdir, overwrite: bool = False, profile_steps: int = 0
) -> Artifact:
    """Tunes the base LM on `examples(config.lm_training.examples)`.

    The 64-shot stage goes on from the LM that was tuned on "ra_it" (paper §3).

    Writes the step that validates best: `model/`, a Hugging Face directory, or with
    LoRA `adapter/`, which PEFT opens; `metrics.jsonl` and TensorBoard scalars. A
    killed run resumes at its last checkpoint, with the result of an unbroken one.

    Args:
      config: `lm_training` above all.
      workdir: where the examples are.
      overwrite: see `artifacts.writing`.
      profile_steps: that are traced, for TensorBoard.

    Raises:
      loop.NonFiniteLossError: the loss is NaN or infinite.
      preemption.PreemptedError: SIGTERM came; all is saved.
    """
    path, made_of = output(config, workdir), identity(config, workdir)
    with artifacts.writing(path, "finetune_lm", *made_of, overwrite) as draft:
        if draft is not None:
            draft.temporary = training_run.TEMPORARY
            _finetune(config, workdir, draft, profile_steps)
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
    if config.lm_training.validation_questions:
        hashes["retrieved"] = inputs.retrieved(workdir, "base").sha256
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


def _check_adapter(config: Config) -> None:
    """Refuses adapters of an LM that is tuned itself: later stages have the base's.

    Raises:
      ConfigError: with the remedy.
    """
    settings, start = config.lm_training, _starts_from(config)
    if settings.lora_rank and settings.lora_save == "adapter" and start != "base":
        raise ConfigError(
            f"--config.lm_training.examples={settings.examples} goes on from the tuned "
            f"LM {start!r}, and adapters can only be kept beside the base LM; set "
            "--config.lm_training.lora_save=merged."
        )


def _finetune(
    config: Config, workdir: Workdir, draft: Draft, profile_steps: int
) -> None:
    settings, examples = config.lm_training, _examples(config, workdir)
    devices = mesh.make_mesh(settings.fsdp, settings.tensor)
    batch_rows = _batch_rows(settings, devices)
    batches = RowBatches(
        _store(examples, "train"),
        batch_rows,
        settings.seed,
        mesh.local_rows(devices, batch_rows),
    )
    _check_adapter(config)
    start = _starts_from(config)
    decoder, tokenizer = inputs.load_lm(config, workdir, start, devices, learns=True)
    mesh.check_divides(nnx.state(decoder), devices)
    learner = _Learner.of(decoder, settings, devices)
    optimiser = make_optimizer(settings)
    quality = _quality(config, workdir, examples, learner, tokenizer, devices)
    chosen_by = lm_quality.LOSS if quality is None else quality.chosen_by
    result = training_run.train(
        _plan(settings, draft, chosen_by, profile_steps),
        make_step(config, learner.graphdef, optimiser, devices, learner.frozen),
        state.init_state(
            learner.params,
            optimiser.transformation,
            devices,
            settings.seed,
            uses_up=True,
        ),
        batches,
        None if quality is None else quality.scores,
        devices,
        lm_speed.speedometer(decoder.config, bool(settings.lora_rank)),
    )
    batches.close()
    params = _whole(result.params, devices) if settings.lora_rank else result.params
    _save(config, workdir, draft, decoder, tokenizer, params)
    draft.counts |= {
        "steps": result.num_steps,
        "best_step": result.step,
        f"{chosen_by}_before": result.score_before,
        chosen_by: result.score,
        "examples_an_epoch": examples.counts["train"]["examples"],
        "parameters_that_learn": sum(x.size for x in jax.tree.leaves(result.params)),
    }
    logging.info("finetune_lm: %s", draft.counts)


def _batch_rows(settings: LMTrainingConfig, devices: Mesh) -> int:
    """Rows of a batch.

    Raises:
      ConfigError: the hosts cannot share them evenly.
    """
    name = "it_batch_rows" if settings.examples == "it" else "batch_rows"
    num_rows, num_hosts = getattr(settings, name), jax.process_count()
    if num_rows % num_hosts:
        raise ConfigError(
            f"--config.lm_training.{name}={num_rows} is not divisible by the "
            f"{num_hosts} hosts of this job; set it to a multiple of {num_hosts}, at "
            f"best of data × fsdp = {devices.shape['data'] * devices.shape['fsdp']}."
        )
    if mesh.num_splits(devices, num_rows) == 1 < len(devices.devices.flat):
        logging.warning(
            "--config.lm_training.%s=%d cannot be split over data=%d × fsdp=%d, so "
            "that every device computes the whole batch; set it to a multiple.",
            *(name, num_rows, devices.shape["data"], devices.shape["fsdp"]),
        )
    return num_rows


@dataclasses.dataclass(frozen=True, slots=True)
class _Learner:
    """What learns, and what it is added to."""

    graphdef: Any
    params: Any  # that learn
    frozen: Any  # that do not, on the mesh; None: all learn

    @classmethod
    def of(
        cls, decoder: Decoder, settings: LMTrainingConfig, devices: Mesh
    ) -> "_Learner":
        """All of the decoder, or the adapters that this attaches to it."""
        if not settings.lora_rank:
            return cls(*nnx.split(decoder), None)
        adapters = lora.make(
            decoder.config,
            settings.lora_rank,
            settings.lora_alpha,
            settings.lora_targets,
            nnx.Rngs(settings.seed),
        )
        lora.attach(decoder, adapters)
        graphdef, params, rest = nnx.split(decoder, nnx.LoRAParam, ...)
        rest = lora.frozen(rest, decoder.config.compute_dtype)
        return cls(graphdef, params, state.place(rest, devices, uses_up=True))


def _plan(
    settings: LMTrainingConfig, draft: Draft, chosen_by: str, profile_steps: int
) -> training_run.Plan:
    return training_run.Plan(
        folder=draft.path,
        label=f"finetune_lm {settings.examples}",
        num_steps=settings.num_steps,
        checkpoint_every=settings.checkpoint_every,
        validate_every=settings.validate_every,
        validation_name=chosen_by,
        larger_is_better=chosen_by == lm_quality.EXACT_MATCH,
        keep_checkpoints=settings.keep_checkpoints,
        patience=settings.patience,
        profile_steps=profile_steps,
    )


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
    config: Config,
    graphdef: Any,
    optimiser: optimizer.Optimizer,
    devices: Mesh,
    frozen: Any = None,
) -> train_step.StepFn:
    """The compiled update; shapes are enough to lower it, see `planning`.

    Args:
      config: its section `lm_training`.
      graphdef: of the decoder.
      optimiser: of `make_optimizer`.
      devices: of `mesh.make_mesh`.
      frozen: parameters that do not learn; None: all do.
    """
    return train_step.make_train_step(
        make_loss(config, graphdef, devices),
        optimiser,
        config.lm_training.accumulation_steps,
        mesh=devices,
        frozen=frozen,
        count_fn=lm_speed.count_tokens,
    )


def _store(examples: Artifact, split: str) -> RowStore:
    counts = RowCounts.from_record(examples.counts[split])
    return RowStore(examples.path / f"{split}.array_record", counts)


def _quality(
    config: Config,
    workdir: Workdir,
    examples: Artifact,
    learner: _Learner,
    tokenizer: LMTokenizer,
    devices: Mesh,
) -> LMQuality | None:
    """What chooses the step; None where there are no validation rows."""
    settings, rows = config.lm_training, _store(examples, "validation")
    if not len(rows):
        return None
    answers = None
    if settings.validation_questions:
        answers = AnswerQuality(
            config,
            inputs.read_retrieved(workdir, "base", "validation"),
            learner.graphdef,
            tokenizer,
            inputs.chunk_store(workdir),
            devices,
            learner.frozen,
        )
    return LMQuality(
        settings,
        rows,
        _batch_rows(settings, devices),
        make_loss(config, learner.graphdef, devices),
        learner.frozen,
        answers,
        devices,
    )


def _whole(params: Any, devices: Mesh) -> Any:
    """Every array on every device: adapters are small, and one process writes them."""
    return jax.jit(lambda x: x, out_shardings=mesh.replicated(devices))(params)


def _save(
    config: Config,
    workdir: Workdir,
    draft: Draft,
    decoder: Decoder,
    tokenizer: LMTokenizer,
    params: Any,
) -> None:
    """Writes what was learned: a model, or the adapters of one."""
    settings = config.lm_training
    nnx.update(decoder, params)
    if settings.lora_rank:
        adapters = lora.adapters_of(decoder)
        if settings.lora_save == "adapter":
            _save_adapters(config, draft, adapters)
            return
        # Anew, for the frozen weights may have been rounded.
        devices = mesh.make_mesh(settings.fsdp, settings.tensor)
        start = _starts_from(config)
        decoder, _ = inputs.load_lm(config, workdir, start, devices, learns=True)
        lora.merge(decoder, adapters)
    with draft.file("model", together=True) as folder:
        huggingface.save_decoder(decoder, folder, tokenizer)


def _save_adapters(config: Config, draft: Draft, adapters: lora.Adapters) -> None:
    if artifacts.is_main_process():
        settings = config.lm_training
        rank, alpha = settings.lora_rank, settings.lora_alpha
        with draft.file("adapter") as folder:
            peft.save(adapters, rank, alpha, str(config.lm.path), folder)
