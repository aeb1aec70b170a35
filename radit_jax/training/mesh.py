"""Where arrays live: one mesh, and `models.axes`' table of what splits what.

The mesh's axes are of JAX's type Auto: the compiler carries placements from what is
pinned (parameters, batches, the residual stream) to everything between, and puts the
collectives in. Explicit axes would put them into the types, and every reshape,
gather and scan of both towers and the decoder would have to name its output's
placement, for a step in which these three pins suffice.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int

from radit_jax.models import axes as axes_lib

AXES = ("data", "fsdp", "tensor")


def make_mesh(
    fsdp: int = 1, tensor: int = 1, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """Arranges devices; what is left over is data parallel.

    Args:
      fsdp: devices that share one copy of the parameters and optimizer state.
      tensor: devices that share each matrix product.
      devices: None: all of all processes.

    Returns:
      A mesh with the axes `data`, `fsdp`, `tensor`.

    Raises:
      ValueError: if the devices cannot be divided so.
    """
    devices = jax.devices() if devices is None else devices
    num_devices = len(devices)
    if fsdp < 1 or tensor < 1 or num_devices % (fsdp * tensor):
        raise ValueError(
            f"a mesh with fsdp={fsdp} and tensor={tensor} needs a multiple of "
            f"{fsdp * tensor} devices, but there are {num_devices}; choose fsdp and "
            "tensor of at least 1 whose product divides the number of devices."
        )
    shape = (num_devices // (fsdp * tensor), fsdp, tensor)
    types = (AxisType.Auto,) * len(AXES)
    return jax.make_mesh(shape, AXES, axis_types=types, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def param_shardings(tree: Any, mesh: Mesh) -> Any:
    """The sharding of every leaf, read from the parameters' `axes`.

    Works on a model's state and on whatever holds copies of it: Adam's moments keep
    the metadata of their parameters, so one call places a whole `TrainState`.

    Args:
      tree: any tree with `nnx.Variable`s of arrays (or of their shapes) in it.
      mesh: of `make_mesh`.

    Returns:
      The same tree with a `NamedSharding` for each leaf; a leaf that is not in a
      variable, or whose variable has no `axes`, is replicated.

    Raises:
      ValueError: for unknown axis names, or another number of them than dimensions.
    """

    def place(leaf: Any) -> Any:
        if not isinstance(leaf, nnx.Variable):
            return replicated(mesh)
        return leaf.replace(NamedSharding(mesh, partition_spec(leaf, mesh)))

    return jax.tree.map(place, tree, is_leaf=lambda x: isinstance(x, nnx.Variable))


def check_divides(params: Any, mesh: Mesh) -> None:
    """Checks that each mesh axis splits some parameter; says what it leaves whole.

    Raises:
      ValueError: an axis of the mesh divides none of the sizes that it should split.
    """
    sizes: dict[str, set[tuple[str, int]]] = {}
    for leaf in jax.tree.leaves(params, is_leaf=lambda x: isinstance(x, nnx.Variable)):
        names = leaf.get_metadata("axes", None) or ()
        for name, size in zip(names, leaf.get_value().shape, strict=False):
            for axis in axes_lib.RULES.get(name, ()):
                sizes.setdefault(axis, set()).add((name, size))
    for axis, found in sizes.items():
        parts = mesh.shape[axis]
        whole = [f"{name}={size}" for name, size in sorted(found) if size % parts]
        if len(whole) == len(found):
            raise ValueError(
                f"the mesh axis {axis}={parts} divides none of the model's sizes that "
                f"it splits: {', '.join(whole)}; choose {axis} so that it divides them."
            )
        if whole:
            logging.info("the mesh axis %s=%d leaves %s whole.", axis, parts, whole)


def partition_spec(variable: nnx.Variable, mesh: Mesh) -> PartitionSpec:
    """`axes.partition_spec` of one variable; whole where it names no axes."""
    names = variable.get_metadata("axes", None)
    if names is None:
        return PartitionSpec()
    return axes_lib.partition_spec(variable.get_value().shape, names, mesh)


def places(mesh: Mesh) -> Callable[[tuple, tuple], NamedSharding]:
    """Where a parameter of a shape and logical axes lies: `models.shards.Place`."""

    def place(shape: tuple[int, ...], axes: tuple[str | None, ...]) -> NamedSharding:
        return NamedSharding(mesh, axes_lib.partition_spec(shape, axes, mesh))

    return place


def local_rows(
    mesh: Mesh, num_rows: int, devices: Collection[jax.Device] | None = None
) -> Int[np.ndarray, " r"]:
    """The rows of a batch that a process holds, in their order.

    Args:
      mesh: of `make_mesh`.
      num_rows: of the global batch.
      devices: of the process; None: this one's.
    """
    if devices is None:
        devices = set(mesh.local_devices)
    places = batch_sharding(mesh, num_rows).devices_indices_map((num_rows,))
    held = np.zeros(num_rows, bool)
    for device in devices:
        held[places[device][0]] = True
    return np.flatnonzero(held)


def batch_sharding(mesh: Mesh, num_rows: int) -> NamedSharding:
    """The first axis split over `data` and `fsdp`; not at all where it can't be.

    A batch that does not divide is replicated: right, and slower.
    """
    splits = num_splits(mesh, num_rows) > 1
    return NamedSharding(
        mesh, PartitionSpec(("data", "fsdp")) if splits else PartitionSpec()
    )


def num_splits(mesh: Mesh, num_rows: int) -> int:
    """Parts that `batch_sharding` splits a batch into."""
    num_devices = mesh.shape["data"] * mesh.shape["fsdp"]
    return num_devices if num_rows % num_devices == 0 else 1


def put_batch(batch: Any, mesh: Mesh, num_rows: int | None = None) -> Any:
    """Places a batch on the mesh, by `batch_sharding`.

    Args:
      batch: a tree of NumPy arrays `[r ...]`: the rows that `local_rows` names, or
        what else is divided among the processes as they are.
      mesh: of `make_mesh`.
      num_rows: of the global batch; None: this process has them all.

    Returns:
      The same tree of global `jax.Array`s `[b ...]`.
    """

    share = 1 if num_rows is None else num_rows // len(local_rows(mesh, num_rows))

    def place(array: Any) -> jax.Array:
        array = np.asarray(array)
        rows = len(array) * share
        return jax.make_array_from_process_local_data(
            batch_sharding(mesh, rows), array, (rows, *array.shape[1:])
        )

    return jax.tree.map(place, batch)


def put(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """A host array, the same on every process, as one global array."""
    return jax.make_array_from_callback(
        array.shape, sharding, lambda index: array[index]
    )
