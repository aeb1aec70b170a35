"""Moving parameters between files and modules, every mismatch reported together."""

import dataclasses
import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from radit_jax.models.tables import Row

_MAX_LISTED = 20

Place = Callable[[np.ndarray, tuple[str | None, ...]], jax.Array]


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


def on_default_device(value: np.ndarray, axes: tuple[str | None, ...]) -> jax.Array:
    """The `Place` of a model that fits one device."""
    del axes
    return jnp.asarray(value)


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
    place: Place = on_default_device,
) -> Any:
    """Builds a module out of a file's tensors, one parameter at a time.

    Args:
      make: builds the module; only its shapes are used.
      rows: the architecture's table.
      tensors: what the file holds, by name.
      kind: which of a row's names these are, "hf" or "gguf".
      where: the file, for errors.
      ignored: patterns of names that may be left unread.
      place: puts an array, given with its logical axes, on its device or devices.

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
    filled = [
        (path, variable.replace(place(_read(variable, row, tensors, kind), axes)))
        for path, (variable, row) in plan.items()
        for axes in [variable.get_metadata("axes")]
    ]
    return nnx.merge(graphdef, nnx.from_flat_state(filled))


def _layer_shape(variable: nnx.Variable, row: Row) -> tuple[int, ...]:
    return variable.shape[1:] if row.stacked else variable.shape


def _num_layers(variable: nnx.Variable, row: Row) -> int:
    return variable.shape[0] if row.stacked else 1


def _check(plan, tensors, kind: str, where: str, ignored: Sequence[str]) -> None:
    problems, expected = [], set()
    for variable, row in plan.values():
        shape = row.file_shape(_layer_shape(variable, row))
        for name in row.names(kind, _num_layers(variable, row)):
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


def _read(variable: nnx.Variable, row: Row, tensors, kind: str) -> np.ndarray:
    shape = _layer_shape(variable, row)
    value = np.empty(variable.shape, np.float32)
    slots = value.reshape(_num_layers(variable, row), *shape)
    names = row.names(kind, len(slots))
    for slot, name in zip(slots, names, strict=True):
        slot[...] = row.from_file(tensors[name].read(), shape)
    return value


def dump(module: nnx.Module, rows: Sequence[Row]) -> Iterator[tuple[str, Tensor]]:
    """A module's parameters under their Hugging Face names, read when asked for."""
    by_path = {row.ours: row for row in rows}
    for path, variable in nnx.to_flat_state(nnx.state(module)):
        row = by_path[".".join(path)]
        shape = row.file_shape(_layer_shape(variable, row))
        value = variable[...] if row.stacked else variable[...][None]
        for layer, name in enumerate(row.names("hf", _num_layers(variable, row))):
            yield name, Tensor(shape, _reader(row, value, layer))


def _reader(row: Row, value: jax.Array, layer: int) -> Callable[[], np.ndarray]:
    return lambda: np.ascontiguousarray(row.to_file(np.asarray(value[layer])))
