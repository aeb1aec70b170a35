"""Moving parameters between files and modules, every mismatch reported together."""

import dataclasses
import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from radit_jax.models import shards
from radit_jax.models.shards import Place
from radit_jax.models.tables import Row

_MAX_LISTED = 20


class CheckpointError(ValueError):
    """Model files that can't be read as they are: facts, values and remedies."""


def raise_problems(what: str, problems: Sequence[str]) -> None:
    """Raises all problems at once, the first of them in words.

    Raises:
      CheckpointError: if there is any.
    """
    if not problems:
        return
    shown = [*problems[:_MAX_LISTED]]
    if len(problems) > _MAX_LISTED:
        shown.append(f"... and {len(problems) - _MAX_LISTED} more")
    raise CheckpointError(
        f"{what} has {len(problems)} problem(s):\n"
        + "\n".join(f"  - {problem}" for problem in shown)
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a file, not read yet."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]
    read_rows: Callable[[int, int], np.ndarray] | None = None  # where cheaper

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows of the first axis."""
        if self.read_rows is None or (start, stop) == (0, self.shape[0]):
            return self.read()[start:stop]
        return self.read_rows(start, stop)


def num_bytes(module: nnx.Module) -> int:
    """Of a module's arrays."""
    return sum(array.nbytes for array in jax.tree.leaves(nnx.state(module)))


def fill(
    make: Callable[[], nnx.Module],
    rows: Sequence[Row],
    tensors: Mapping[str, Tensor],
    *,
    kind: str,
    where: str,
    ignored: Sequence[str] = (),
    place: Place = shards.on_default_device,
) -> Any:
    """Builds a module out of a file's tensors, one parameter at a time.

    Args:
      make: builds the module; only its shapes are used.
      rows: the architecture's table.
      tensors: what the file holds, by name.
      kind: which of a row's names these are, "hf" or "gguf".
      where: the file, for errors.
      ignored: patterns of names that may be left unread.
      place: where a parameter of a shape and logical axes lies.

    Raises:
      CheckpointError: for all missing, unexpected and misshaped tensors together.
    """
    graphdef, state = nnx.split(nnx.eval_shape(make))
    by_path = {row.ours: row for row in rows}
    plan = {
        path: (variable, by_path[".".join(path)])
        for path, variable in nnx.to_flat_state(state)
    }
    _check(plan, tensors, kind, where, ignored)
    filled = []
    for path, (variable, row) in plan.items():
        names = row.names(kind, shards.num_layers(variable, row))
        sharding = place(variable.shape, variable.get_metadata("axes"))
        value = shards.assemble(variable, row, [tensors[n] for n in names], sharding)
        filled.append((path, variable.replace(value)))
    return nnx.merge(graphdef, nnx.from_flat_state(filled))


def _check(plan, tensors, kind: str, where: str, ignored: Sequence[str]) -> None:
    problems, expected = [], set()
    for variable, row in plan.values():
        shape = row.file_shape(shards.layer_shape(variable, row))
        for name in row.names(kind, shards.num_layers(variable, row)):
            expected.add(name)
            if name not in tensors:
                problems.append(f"tensor {name} {shape} is missing.")
            elif tuple(tensors[name].shape) != shape:
                problems.append(
                    f"tensor {name} has shape {tuple(tensors[name].shape)}, but the "
                    f"configuration asks for {shape}."
                )
    problems += [
        f"tensor {name} {tuple(tensor.shape)} has no place in this architecture."
        for name, tensor in tensors.items()
        if name not in expected
        and not any(fnmatch.fnmatch(name, pattern) for pattern in ignored)
    ]
    raise_problems(f"{where}: the weights do not match the configuration; it", problems)


def dump(module: nnx.Module, rows: Sequence[Row]) -> Iterator[tuple[str, Tensor]]:
    """A module's parameters under their Hugging Face names, read when asked for.

    To read one that is spread over several processes takes them all: each must read
    every tensor, in this order.
    """
    by_path = {row.ours: row for row in rows}
    for path, variable in nnx.to_flat_state(nnx.state(module)):
        row = by_path[".".join(path)]
        shape = row.file_shape(shards.layer_shape(variable, row))
        num_layers = shards.num_layers(variable, row)
        for layer, name in enumerate(row.names("hf", num_layers)):
            yield name, Tensor(shape, _reader(row, variable[...], layer))


def _reader(row: Row, value: jax.Array, layer: int) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        part = value[layer] if row.stacked else value
        return np.ascontiguousarray(row.to_file(_whole(part)))

    return read


def _whole(array: jax.Array) -> np.ndarray:
    """On this host, however many the array is spread over."""
    if not array.is_fully_addressable and not array.is_fully_replicated:
        everywhere = NamedSharding(array.sharding.mesh, PartitionSpec())
        array = jax.jit(lambda x: x, out_shardings=everywhere)(array)
    return np.asarray(array)
