"""Which tensor of a file is which parameter: one table per architecture.

Files keep one matrix a layer, as [outputs, inputs]; parameters here are stacked over
layers, as [layers, inputs..., outputs...].
"""

import dataclasses
import fnmatch
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

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
class Row:
    """One parameter's place in our module and in the files; `{layer}` counts from 0."""

    ours: str
    hf: str
    gguf: str = ""
    num_inputs: int = 0  # leading input axes of a matrix; 0: a vector, or a table

    def names(self, kind: str, num_layers: int) -> list[str]:
        """The file's names, one a layer; `kind` is "hf" or "gguf"."""
        name = getattr(self, kind)
        if "{layer}" not in name:
            return [name]
        return [name.format(layer=layer) for layer in range(num_layers)]

    def file_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape in the file of our (one layer's) shape: (d, h, c) -> (h·c, d)."""
        if self.num_inputs:
            ins, outs = shape[: self.num_inputs], shape[self.num_inputs :]
            return (math.prod(outs), math.prod(ins))
        return (math.prod(shape),) if "{layer}" in self.hf else shape

    def from_file(self, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The file's array as our (one layer's) array of `shape`, float32."""
        turned = value.T if self.num_inputs else value
        return turned.reshape(shape).astype(np.float32, copy=False)

    def to_file(self, value: np.ndarray) -> np.ndarray:
        """The inverse of `from_file`."""
        shape = self.file_shape(value.shape)
        return value.reshape(shape[::-1]).T if self.num_inputs else value.reshape(shape)


def _rows(hf_prefix: str, rows: Sequence[tuple]) -> list[Row]:
    """Rows of one layer: (ours, hf, gguf, inputs) without their prefixes."""
    return [
        Row(f"layers.{ours}", f"{hf_prefix}.{{layer}}.{hf}", f"blk.{{layer}}.{gg}", n)
        for ours, hf, gg, n in rows
    ]


DECODER: tuple[Row, ...] = (
    Row("embedding", "model.embed_tokens.weight", "token_embd.weight"),
    Row("final_norm.scale", "model.norm.weight", "output_norm.weight"),
    Row("head_weight", "lm_head.weight", "output.weight"),
    *_rows(
        "model.layers",
        [
            ("attention_norm.scale", "input_layernorm.weight", "attn_norm.weight", 0),
            ("attention.query.weight", "self_attn.q_proj.weight", "attn_q.weight", 1),
            ("attention.query.bias", "self_attn.q_proj.bias", "attn_q.bias", 0),
            ("attention.key.weight", "self_attn.k_proj.weight", "attn_k.weight", 1),
            ("attention.key.bias", "self_attn.k_proj.bias", "attn_k.bias", 0),
            ("attention.value.weight", "self_attn.v_proj.weight", "attn_v.weight", 1),
            ("attention.value.bias", "self_attn.v_proj.bias", "attn_v.bias", 0),
            (
                "attention.output.weight",
                "self_attn.o_proj.weight",
                "attn_output.weight",
                2,
            ),
            ("mlp_norm.scale", "post_attention_layernorm.weight", "ffn_norm.weight", 0),
            ("mlp.gate.weight", "mlp.gate_proj.weight", "ffn_gate.weight", 1),
            ("mlp.up.weight", "mlp.up_proj.weight", "ffn_up.weight", 1),
            ("mlp.down.weight", "mlp.down_proj.weight", "ffn_down.weight", 1),
        ],
    ),
)

ENCODER: tuple[Row, ...] = (
    Row("token_embedding", "embeddings.word_embeddings.weight"),
    Row("position_embedding", "embeddings.position_embeddings.weight"),
    Row("type_embedding", "embeddings.token_type_embeddings.weight"),
    Row("embedding_norm.scale", "embeddings.LayerNorm.weight"),
    Row("embedding_norm.bias", "embeddings.LayerNorm.bias"),
    *_rows(
        "encoder.layer",
        [
            ("query.weight", "attention.self.query.weight", "", 1),
            ("query.bias", "attention.self.query.bias", "", 0),
            ("key.weight", "attention.self.key.weight", "", 1),
            ("key.bias", "attention.self.key.bias", "", 0),
            ("value.weight", "attention.self.value.weight", "", 1),
            ("value.bias", "attention.self.value.bias", "", 0),
            ("output.weight", "attention.output.dense.weight", "", 2),
            ("output.bias", "attention.output.dense.bias", "", 0),
            ("attention_norm.scale", "attention.output.LayerNorm.weight", "", 0),
            ("attention_norm.bias", "attention.output.LayerNorm.bias", "", 0),
            ("up.weight", "intermediate.dense.weight", "", 1),
            ("up.bias", "intermediate.dense.bias", "", 0),
            ("down.weight", "output.dense.weight", "", 1),
            ("down.bias", "output.dense.bias", "", 0),
            ("mlp_norm.scale", "output.LayerNorm.weight", "", 0),
            ("mlp_norm.bias", "output.LayerNorm.bias", "", 0),
        ],
    ),
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
    return variable.shape[1:] if "{layer}" in row.hf else variable.shape


def _num_layers(variable: nnx.Variable, row: Row) -> int:
    return variable.shape[0] if "{layer}" in row.hf else 1


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
        value = variable[...] if "{layer}" in row.hf else variable[...][None]
        for layer, name in enumerate(row.names("hf", _num_layers(variable, row))):
            yield name, Tensor(shape, _reader(row, value, layer))


def _reader(row: Row, value: jax.Array, layer: int) -> Callable[[], np.ndarray]:
    return lambda: np.ascontiguousarray(row.to_file(np.asarray(value[layer])))
