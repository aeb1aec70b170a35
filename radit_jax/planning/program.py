"""One compiled step on one slice: its memory, its work, and its time at best."""

import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from radit_jax.chips import Chip
from radit_jax.config import ConfigError
from radit_jax.planning import hlo, traced
from radit_jax.training import mesh as mesh_lib

_SECONDS_AN_HOUR = 3600


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """What a stage runs over and over."""

    function: Callable  # of `jax.jit`
    arguments: tuple[Any, ...]  # trees of `jax.ShapeDtypeStruct` with shardings
    model_flops: float  # by `models.flops`; all devices together
    num_steps: float  # of the whole stage; 0: not known
    remedy: str  # what to change where it does not fit


def make_mesh(devices: Sequence[jax.Device], fsdp: int, tensor: int) -> Mesh:
    """The stages' mesh, on devices that need not be there.

    Raises:
      ConfigError: fsdp and tensor do not divide the devices.
    """
    try:
        return mesh_lib.make_mesh(fsdp, tensor, devices)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def place(tree: Any, mesh: Mesh) -> Any:
    """Shapes placed as the stages place the arrays: parameters by their axes."""
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        tree,
        mesh_lib.param_shardings(tree, mesh),
    )


def place_rows(shapes: dict[str, tuple], num_rows: int, mesh: Mesh) -> dict[str, Any]:
    """A batch: `{name: (shape without rows, dtype)}`, split over the mesh by row."""
    sharding = mesh_lib.batch_sharding(mesh, num_rows)
    return {
        name: jax.ShapeDtypeStruct((num_rows, *shape), dtype, sharding=sharding)
        for name, (shape, dtype) in shapes.items()
    }


def plan(step: Step, mesh: Mesh, chip: Chip) -> dict[str, Any]:
    """Compiles a step, and says what it needs.

    Returns:
      A JSON object. Bytes are a chip's, as the compiler counts them; FLOPs are all
      chips' together; seconds are bounds from the chip's published figures.

    Raises:
      ConfigError: the compiler finds that the step does not fit.
    """
    begin = time.perf_counter()
    trace = step.function.trace(*step.arguments)
    compiled = _compile(trace.lower(), mesh, chip, step.remedy)
    seconds = time.perf_counter() - begin
    work = _work(step, trace, compiled)
    found = _memory(compiled, chip) | work | _times(work, mesh.size, chip)
    if step.num_steps:
        hours = step.num_steps * found["seconds_a_step"] / _SECONDS_AN_HOUR
        found |= {"steps": step.num_steps, "chip_hours": hours * mesh.size}
    return found | {"compile_seconds": seconds}


def _work(
    step: Step, trace: jax.stages.Traced, compiled: jax.stages.Compiled
) -> dict[str, Any]:
    text = hlo.Program(compiled.as_text())
    return {
        "model_flops": step.model_flops,
        "program_flops": traced.matmul_flops(trace),
        # Loops once, elementwise operations too.
        "xla_flops_a_chip": (compiled.cost_analysis() or {}).get("flops", 0.0),
        "hbm_bytes": text.hbm_bytes(),
        "collectives": _by_kind(text.collectives()),
        "open_loops": text.num_open_loops(),
    }


def _times(work: dict[str, Any], num_chips: int, chip: Chip) -> dict[str, Any]:
    """The roofline: seconds that each resource needs at least."""
    sent = sum(one["bytes"] for one in work["collectives"].values())
    # Loops of unknown length count once, and may hide some of the model's own.
    flops = max(work["program_flops"], work["model_flops"])
    walls = {
        "compute": flops / num_chips / chip.flops_per_second,
        "memory": work["hbm_bytes"] / chip.memory_bytes_per_second,
        "links": sent / chip.link_bytes_per_second,
    }
    bound = max(walls, key=walls.get)
    peak = num_chips * chip.flops_per_second * walls[bound]
    return {f"{name}_seconds": value for name, value in walls.items()} | {
        "bound": bound,
        "seconds_a_step": walls[bound],
        "mfu_at_best": work["model_flops"] / peak,
    }


def _compile(
    lowered: jax.stages.Lowered, mesh: Mesh, chip: Chip, remedy: str
) -> jax.stages.Compiled:
    try:
        return lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise ConfigError(
            f"the step does not fit {mesh.size} chips of {chip.name} as a mesh of "
            f"{dict(mesh.shape)}. The compiler says: {_first_lines(error)}\n{remedy}"
        ) from error


def _first_lines(error: Exception, num_lines: int = 12) -> str:
    return "\n".join(str(error).splitlines()[:num_lines])


def _memory(compiled: jax.stages.Compiled, chip: Chip) -> dict[str, Any]:
    memory = compiled.memory_analysis()
    kept = memory.output_size_in_bytes - memory.alias_size_in_bytes
    peak = memory.argument_size_in_bytes + kept + memory.temp_size_in_bytes
    peak += memory.generated_code_size_in_bytes
    return {
        "argument_bytes": memory.argument_size_in_bytes,
        "output_bytes": kept,  # beyond the donated arguments
        "temporary_bytes": memory.temp_size_in_bytes,
        "code_bytes": memory.generated_code_size_in_bytes,
        "peak_bytes": peak,
        "chip_bytes": chip.memory_bytes,
        "fits": peak <= chip.memory_bytes,
    }


def _by_kind(collectives: list[hlo.Collective]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = defaultdict(lambda: {"times": 0, "bytes": 0.0})
    for one in collectives:
        found[one.kind]["times"] += one.times
        found[one.kind]["bytes"] += one.times * one.bytes_sent
    return dict(sorted(found.items()))
