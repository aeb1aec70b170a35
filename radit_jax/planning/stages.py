"""Which steps a stage consists of, and the mesh that it makes."""

from collections.abc import Callable
from typing import Any

from jax.sharding import Mesh

from radit_jax.config import Config, ConfigError
from radit_jax.planning import (
    embed_corpus,
    finetune_lm,
    finetune_retriever,
    predict,
    program,
    score_chunks,
)
from radit_jax.planning import topology as topologies
from radit_jax.planning.program import Step

# (config, mesh, chunks of the corpus) -> steps by name
STEPS: dict[str, Callable[[Config, Mesh, int], dict[str, Step]]] = {
    "embed_corpus": lambda config, mesh, num_chunks: {
        "encode": embed_corpus.step(config, mesh, num_chunks)
    },
    "finetune_lm": lambda config, mesh, _: {"update": finetune_lm.step(config, mesh)},
    "score_chunks": lambda config, mesh, _: {"score": score_chunks.step(config, mesh)},
    "finetune_retriever": lambda config, mesh, _: {
        "update": finetune_retriever.step(config, mesh)
    },
    "predict": lambda config, mesh, _: predict.steps(config, mesh),
}


def plan(
    config: Config, stage: str, topology: str, num_chunks: int = 0
) -> dict[str, Any]:
    """Compiles a stage's steps for a slice.

    Args:
      config: of the run.
      stage: one of `STEPS`.
      topology: e.g. "v5p:4x4x4".
      num_chunks: of the corpus; for `embed_corpus`.

    Returns:
      A JSON object: see `program.plan` for each step.

    Raises:
      ConfigError: an unknown slice, a mesh that does not divide it, a model without
        known shapes, or a step that does not fit.
    """
    chip, devices = topologies.chip_of(topology), topologies.devices(topology)
    mesh = program.make_mesh(devices, *_mesh_sizes(config, stage))
    steps = STEPS[stage](config, mesh, num_chunks)
    plans = {name: program.plan(step, mesh, chip) for name, step in steps.items()}
    refused = [name for name, one in plans.items() if not one["fits"]]
    if refused:
        raise ConfigError("\n".join(_refusal(n, plans[n], steps[n]) for n in refused))
    return {
        "stage": stage,
        "topology": topology,
        "chips": len(devices),
        "mesh": {name: int(size) for name, size in mesh.shape.items()},
        "steps": plans,
    }


def _mesh_sizes(config: Config, stage: str) -> tuple[int, int]:
    """fsdp and tensor."""
    if stage == "finetune_lm":
        return config.lm_training.fsdp, config.lm_training.tensor
    return 1, config.lm.tensor if stage in ("score_chunks", "predict") else 1


def _refusal(name: str, found: dict[str, Any], step: Step) -> str:
    return (
        f"{name} takes {found['peak_bytes'] / 1e9:.1f} GB a chip "
        f"({found['argument_bytes'] / 1e9:.1f} of arguments, "
        f"{found['temporary_bytes'] / 1e9:.1f} of temporaries), but a chip has "
        f"{found['chip_bytes'] / 1e9:.0f} GB. {step.remedy}"
    )
