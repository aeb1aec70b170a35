"""One table from logical axes to mesh axes, of parameters and of activations.

A parameter names its axes once (`nnx.Param(value, axes=("embed", "mlp"))`), and
`training.mesh` places it. Activations are pinned with `constrain`, on the mesh that
the step is traced in (`jax.sharding.use_abstract_mesh`): the compiler, left to
itself, splits them as it splits the parameters that they meet, by width over `fsdp`,
and then moves activations instead of parameters.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import AbstractMesh, Mesh, PartitionSpec
from jaxtyping import Array

# Which mesh axes split a logical axis. What is missing here is not split.
RULES: dict[str, tuple[str, ...]] = {
    "batch": ("data", "fsdp"),  # of activations; the others are of parameters
    "vocab": ("tensor",),
    "embed": ("fsdp",),
    "heads": ("tensor",),
    "kv_heads": ("tensor",),
    "mlp": ("tensor",),
}
UNSPLIT = ("layers", "head", "rank", None)

Names = tuple[str | None, ...]  # of an array's dimensions


def partition_spec(
    shape: Sequence[int], axes: Sequence[str | None], mesh: Mesh | AbstractMesh
) -> PartitionSpec:
    """The rules applied to one array.

    Mesh axes that do not divide their dimension, or that an earlier dimension took,
    are dropped: `axes=("embed", "mlp")` of shape (6, 16) on a 1x4x2 mesh is split as
    `PartitionSpec(None, "tensor")`.

    Raises:
      ValueError: for unknown names, or another number of them than dimensions.
    """
    unknown = [name for name in axes if name not in RULES and name not in UNSPLIT]
    if unknown or len(axes) != len(shape):
        raise ValueError(
            f"an array of shape {shape} has axes={axes}; give one name for each "
            f"dimension, out of {(*RULES, *UNSPLIT)}."
        )
    taken: set[str] = set()
    chosen: list[str | tuple[str, ...] | None] = []
    for name, size in zip(axes, shape, strict=True):
        split = RULES.get(name, ())
        parts = math.prod(mesh.shape[axis] for axis in split)
        free = bool(split) and not taken.intersection(split) and size % parts == 0
        taken.update(split if free else ())
        chosen.append((split if len(split) > 1 else split[0]) if free else None)
    return PartitionSpec(*chosen)


def constrain(x: Array, *axes: str | None) -> Array:
    """Places an activation by the rules; no change where no mesh is set.

    Args:
      x: the activation.
      axes: a name for each dimension; None: not split.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    return jax.lax.with_sharding_constraint(x, partition_spec(x.shape, axes, mesh))


def num_parts(name: str) -> int:
    """Devices that the rules split an axis over, on the mesh that is set."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else math.prod(mesh.shape[axis] for axis in RULES[name])


def of_heads(num_kv_heads: int) -> tuple[Names, Names]:
    """Axes of queries and of keys, as attention splits them.

    Heads are split where those of keys are too, or groups would be torn apart.
    """
    parts = num_parts("kv_heads")
    is_split = parts > 1 and num_kv_heads % parts == 0
    heads, groups = ("heads", "kv_heads") if is_split else (None, None)
    return ("batch", None, heads, None), ("batch", None, groups, None)


def on_each_device(
    function: Callable, inputs: tuple[Names, ...], outputs: Any
) -> Callable:
    """A function of which every device computes its own part, from its own parts.

    For what the compiler cannot split by itself: kernels, and loops over rows.

    Args:
      function: of arrays, to an array or a tuple of them; sizes are its own to read.
      inputs: axes of each argument.
      outputs: axes of the result, or a tuple of them.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return function

    def specs(names: Any, arrays: Any) -> Any:
        if isinstance(arrays, tuple):
            return tuple(map(specs, names, arrays))
        return partition_spec(arrays.shape, names, mesh)

    def mapped(*arrays: Array) -> Any:
        shapes = jax.eval_shape(function, *arrays)
        return jax.shard_map(
            function,
            in_specs=specs(inputs, arrays),
            out_specs=specs(outputs, shapes),
            check_vma=False,
        )(*arrays)

    return mapped


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def gather(x: Array, names: tuple[str | None, ...]) -> Array:
    """A parameter with what `fsdp` splits brought together, for products with it.

    The compiler, left to itself, multiplies by one device's part after the other and
    adds the results up, which moves them through memory as often as there are parts.
    Its gradient is split again, as the parameter is.
    """
    return constrain(x, *_whole(names))


def scatter(x: Array, names: tuple[str | None, ...]) -> Array:
    """The gradient of a gathered parameter, split as the parameter is."""
    return constrain(constrain(x, *_whole(names)), *names)


gather.defvjp(
    lambda x, names: (gather(x, names), None),
    lambda names, _, cotangent: (scatter(cotangent, names),),
)


def _whole(names: tuple[str | None, ...]) -> tuple[str | None, ...]:
    return tuple(None if "fsdp" in RULES.get(name, ()) else name for name in names)
