"""A parameter on its devices, out of tensors of a file that are read one at a time.

A stack of layers is a parameter here and a tensor a layer in the file. A host makes
room for the shards that its own devices hold, reads tensor after tensor (of one whose
rows are split, those rows), and cuts out what each shard has of it. So it never holds
more than its shards and one tensor, however large the model is.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from radit_jax.models.tables import Row

# Shape and logical axes of a parameter -> where it lies; None: on the default device.
Place = Callable[
    [tuple[int, ...], tuple[str | None, ...]], jax.sharding.Sharding | None
]
Index = tuple[tuple[int, int], ...]  # start and stop of each dimension


def on_default_device(shape: tuple[int, ...], axes: tuple[str | None, ...]) -> None:
    """The `Place` of a model that fits one device."""
    del shape, axes


def layer_shape(variable: nnx.Variable, row: Row) -> tuple[int, ...]:
    """Of one layer; of the whole parameter where it is not stacked."""
    return variable.shape[1:] if row.stacked else variable.shape


def num_layers(variable: nnx.Variable, row: Row) -> int:
    """Tensors of the file that a parameter is made of."""
    return variable.shape[0] if row.stacked else 1


def assemble(
    variable: nnx.Variable,
    row: Row,
    tensors: Sequence[Any],  # of `weights.Tensor`
    sharding: jax.sharding.Sharding | None,
) -> jax.Array:
    """Reads one parameter, float32.

    Args:
      variable: of the parameter's shape.
      row: its place in the file.
      tensors: a tensor a layer.
      sharding: where it lies; each process reads what its own devices hold.
    """
    shape = variable.shape
    if sharding is None:
        whole = tuple((0, size) for size in shape)
        return jnp.asarray(read_blocks([whole], variable, row, tensors)[whole])
    places = {
        device: bounds(index, shape)
        for device, index in sharding.addressable_devices_indices_map(shape).items()
    }
    blocks = read_blocks(places.values(), variable, row, tensors)
    arrays, used = [], set()
    for device, index in places.items():
        # A device of the CPU may take the memory as it is, and must not share it.
        block = blocks[index].copy() if index in used else blocks[index]
        arrays.append(jax.device_put(block, device))
        used.add(index)
    return jax.make_array_from_single_device_arrays(shape, sharding, arrays)


def bounds(index: tuple[slice, ...], shape: tuple[int, ...]) -> Index:
    """Of a device's part of an array, as JAX names it."""
    return tuple(
        part.indices(size)[:2] for part, size in zip(index, shape, strict=True)
    )


def read_blocks(
    indices: Iterable[Index], variable: nnx.Variable, row: Row, tensors: Sequence[Any]
) -> dict[Index, np.ndarray]:
    """The blocks of a parameter that are wanted, float32, by their index.

    Args:
      indices: a block that is named twice is read once.
      variable: see `assemble`, as are the next.
      row: its place in the file.
      tensors: a tensor a layer, each read once at most.
    """
    blocks = {
        index: np.empty([stop - start for start, stop in index], np.float32)
        for index in dict.fromkeys(indices)
    }
    shape = layer_shape(variable, row)
    for layer, tensor in enumerate(tensors):
        wanted = []  # blocks of this layer, each with its index within the layer
        for index, block in blocks.items():
            if not row.stacked:
                wanted.append((block, index))
            elif index[0][0] <= layer < index[0][1]:
                wanted.append((block[layer - index[0][0]], index[1:]))
        if wanted:
            _cut(wanted, tensor, row, shape)
    return blocks


def _cut(
    wanted: list[tuple[np.ndarray, Index]],
    tensor: Any,
    row: Row,
    shape: tuple[int, ...],
) -> None:
    """Fills blocks of one layer, from the rows of a tensor that they have."""
    # A file's rows run over the first of our output axes, and those after it.
    axis = row.num_inputs
    first = min(index[axis][0] for _, index in wanted)
    last = max(index[axis][1] for _, index in wanted)
    rows = row.file_shape(shape)[0] // shape[axis]
    value = row.from_file(
        tensor.rows(first * rows, last * rows),
        (*shape[:axis], last - first, *shape[axis + 1 :]),
    )
    for block, index in wanted:
        cuts = [slice(*bounds) for bounds in index]
        cuts[axis] = slice(index[axis][0] - first, index[axis][1] - first)
        block[...] = value[tuple(cuts)]
