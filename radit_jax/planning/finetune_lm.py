"""The train step of `stages.finetune_lm`, without weights and without examples."""

from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh

from radit_jax.config import Config, ConfigError
from radit_jax.instruct import packing
from radit_jax.models import flops
from radit_jax.planning import program, shapes
from radit_jax.stages import finetune_lm
from radit_jax.training import state as state_lib


def step(config: Config, mesh: Mesh) -> program.Step:
    """One update on a batch of rows in which every token may be a target.

    So it is with the paper's 10 % of unsupervised text: the target axis is as long as
    that of the fullest row.

    Raises:
      ConfigError: the batch cannot be cut as the config has it.
    """
    settings = config.lm_training
    num_rows, length = settings.batch_rows, config.examples.row_tokens
    _check(settings, mesh)
    decoder = shapes.decoder(config)
    graphdef, params = nnx.split(decoder)
    optimiser = finetune_lm.make_optimizer(settings)
    state = jax.eval_shape(
        lambda params: state_lib.initial(params, optimiser.transformation, 0), params
    )
    num_targets = packing.target_slots(length - 1)
    batch = program.place_rows(
        {
            name: (array.shape, array.dtype)
            for name, array in packing.empty_arrays(length, num_targets).items()
        },
        num_rows,
        mesh,
    )
    forward = flops.decoder_forward(
        decoder.config, num_rows * length, num_rows * num_targets, length / 2
    )
    return program.Step(
        function=finetune_lm.make_step(config, graphdef, optimiser, mesh),
        arguments=(program.place(state, mesh), batch),
        model_flops=flops.TRAINING * forward,
        num_steps=settings.num_steps,
        remedy="Take a larger slice, raise --config.lm_training.fsdp or tensor, or "
        "--config.lm_training.accumulation_steps.",
    )


def _check(settings: Any, mesh: Mesh) -> None:
    parts = mesh.shape["data"] * mesh.shape["fsdp"]
    micro = settings.batch_rows // settings.accumulation_steps
    if settings.batch_rows % settings.accumulation_steps or micro % parts:
        raise ConfigError(
            f"--config.lm_training.batch_rows={settings.batch_rows} in "
            f"accumulation_steps={settings.accumulation_steps} micro-batches does not "
            f"divide over data={mesh.shape['data']} × fsdp={mesh.shape['fsdp']} = "
            f"{parts} parts of the batch; raise batch_rows or tensor "
            f"({mesh.shape['tensor']}), or lower accumulation_steps."
        )
