"""GGUF files (llama.cpp): weights dequantised to float32, and the tokenizer.

The only file that imports the `gguf` package.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gguf as gguf_package
import numpy as np
from etils import epath
from flax import nnx
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, quants

from radit_jax.models import gguf_tokenizer, layers, shards, tables, weights
from radit_jax.models.decoder import Decoder, DecoderConfig
from radit_jax.models.shards import Place
from radit_jax.models.weights import CheckpointError, Tensor
from radit_jax.text.tokenizer import LMTokenizer

_ARCHITECTURES = ("llama", "qwen2")
_TYPES = (
    *(Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q5_0),
    *(Type.Q5_1, Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K),
)
_FIELDS = {
    "num_layers": "block_count",
    "width": "embedding_length",
    "num_heads": "attention.head_count",
    "mlp_width": "feed_forward_length",
    "norm_epsilon": "attention.layer_norm_rms_epsilon",
    "max_positions": "context_length",
}
# Read below, or without a part in the maths. What is in neither is refused.
_READ = (
    *_FIELDS.values(),
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "rope.freq_base",
    "rope.dimension_count",
    "rope.scaling.type",
    "rope.scaling.factor",
    "vocab_size",
)
_HARMLESS = ("rope.scaling.original_context_length", "rope.scaling.finetuned")
_ROPE_FACTORS = "rope_freqs.weight"


def load_decoder(
    path: epath.PathLike,
    compute_dtype: str = "float32",
    *,
    remat: bool = False,
    place: Place = shards.on_default_device,
) -> Decoder:
    """Reads a Llama-family or Qwen2 model; see `huggingface.load_decoder`.

    Raises:
      CheckpointError: for a damaged file, and for everything that does not fit.
    """
    reader = _open(path)
    stored = {tensor.name: tensor for tensor in reader.tensors}
    config = _config(_metadata(reader), stored, str(path), compute_dtype, remat)
    return weights.fill(
        lambda: Decoder(config, rngs=nnx.Rngs(0)),
        tables.DECODER,
        {name: _tensor(tensor, config) for name, tensor in stored.items()},
        kind="gguf",
        where=str(path),
        ignored=(_ROPE_FACTORS,),  # read by _config
        place=place,
    )


def load_tokenizer(path: epath.PathLike) -> LMTokenizer:
    """The tokenizer that the file carries.

    Raises:
      CheckpointError: for a damaged file, or a tokenizer of another kind.
    """
    return gguf_tokenizer.build(_metadata(_open(path), "tokenizer.ggml."), str(path))


class _Reader(GGUFReader):
    """Reads headers 3 times faster: its many small slices are plain arrays' slices."""

    @property
    def data(self) -> np.ndarray:
        return self._data

    @data.setter
    def data(self, value: np.memmap) -> None:
        self._data = value.view(np.ndarray)


def _open(path: epath.PathLike) -> GGUFReader:
    local = epath.Path(path)
    if not local.exists():
        raise CheckpointError(f"{path} does not exist; check the path.")
    try:
        return _Reader(str(local))
    # What the reader trips over depends on where the file was cut.
    except (ValueError, IndexError, OverflowError, KeyError, OSError) as error:
        raise CheckpointError(
            f"{path} ({local.stat().length} bytes) is no whole GGUF file: {error}. It "
            "may be cut short: copy it again, from and to a local disk."
        ) from error


def _metadata(reader: GGUFReader, prefix: str = "") -> dict[str, Any]:
    # Decoding a vocabulary takes seconds, so it is left out unless asked for.
    return {
        name: field.contents()
        for name, field in reader.fields.items()
        if name.startswith(prefix) and (prefix or "tokenizer.ggml" not in name)
    }


def _config(
    metadata: Mapping[str, Any],
    stored: Mapping[str, gguf_package.ReaderTensor],
    where: str,
    compute_dtype: str,
    remat: bool,
) -> DecoderConfig:
    architecture = metadata.get("general.architecture")
    prefix = f"{architecture}."
    raw = {
        k.removeprefix(prefix): v for k, v in metadata.items() if k.startswith(prefix)
    }
    problems = _problems(architecture, raw, stored)
    weights.raise_problems(where, problems)
    width, num_heads = raw["embedding_length"], raw["attention.head_count"]
    head_width = raw.get("attention.key_length", width // num_heads)
    theta = float(raw.get("rope.freq_base", 10_000.0))
    return DecoderConfig(
        **{ours: raw[theirs] for ours, theirs in _FIELDS.items()},
        vocab_size=int(stored["token_embd.weight"].shape[1]),
        num_kv_heads=raw.get("attention.head_count_kv", num_heads),
        head_width=head_width,
        rope_theta=theta,
        rope_scaling=_scaling(raw, stored, head_width, theta, where),
        tied_head="output.weight" not in stored,
        attention_bias=architecture == "qwen2",
        family=architecture,
        compute_dtype=compute_dtype,
        remat=remat,
    )


def _problems(architecture: str | None, raw: Mapping[str, Any], stored) -> list[str]:
    if architecture not in _ARCHITECTURES:
        known = list(_ARCHITECTURES)
        return [f"its architecture is {architecture!r}; supported here: {known}."]
    needed = (*_FIELDS.values(),)
    problems = [f"field {name!r} is missing." for name in needed if name not in raw]
    problems += [
        f"field {name!r} ({value!r}) is not known here and may change the maths."
        for name, value in raw.items()
        if name not in (*_READ, *_HARMLESS)
    ]
    problems += [
        f"field {name!r} is {value!r}: layers that differ are not supported."
        for name, value in raw.items()
        if isinstance(value, list)
    ]
    if problems:
        return problems
    width = raw["embedding_length"] // raw["attention.head_count"]
    head_width = raw.get("attention.key_length", width)
    for name in ("rope.dimension_count", "attention.value_length"):
        if raw.get(name, head_width) != head_width:
            problems.append(f"{name} is {raw[name]}, but a head has {head_width} axes.")
    if "token_embd.weight" not in stored:
        problems.append("tensor token_embd.weight is missing.")
    problems += [
        f"tensor {name} is of type {tensor.tensor_type.name}; supported are "
        f"{[kind.name for kind in _TYPES]}."
        for name, tensor in stored.items()
        if tensor.tensor_type not in _TYPES
    ]
    return problems


def _scaling(
    raw: Mapping[str, Any], stored, head_width: int, theta: float, where: str
) -> layers.RopeScaling | None:
    kind = raw.get("rope.scaling.type", "none")
    if _ROPE_FACTORS in stored:
        factors = np.asarray(stored[_ROPE_FACTORS].data, np.float32)
        return _llama3_scaling(factors, head_width, theta, where)
    if kind == "none":
        return None
    if kind == "linear" and "rope.scaling.factor" in raw:
        return layers.RopeScaling("linear", float(raw["rope.scaling.factor"]))
    raise CheckpointError(
        f"{where}: rope.scaling.type is {kind!r}; supported here: 'none', 'linear' "
        "with a factor, and Llama 3's frequency factors."
    )


def _llama3_scaling(
    factors: np.ndarray, head_width: int, theta: float, where: str
) -> layers.RopeScaling:
    """The parameters behind Llama 3's factors: GGUF stores only what they result in."""
    scaling = layers.RopeScaling("llama3", float(factors.max()))
    plain = layers.rope_frequencies(head_width, theta, None)
    ours = plain / layers.rope_frequencies(head_width, theta, scaling)
    if factors.shape != ours.shape or not np.allclose(factors, ours, rtol=1e-4):
        raise CheckpointError(
            f"{where}: {_ROPE_FACTORS} does not follow Llama 3's rope scaling with "
            f"factor {scaling.factor}; load the model's safetensors instead."
        )
    return scaling


def _tensor(tensor: gguf_package.ReaderTensor, config: DecoderConfig) -> Tensor:
    shape = tuple(int(size) for size in reversed(tensor.shape))
    heads = {"attn_q": config.num_heads, "attn_k": config.num_kv_heads}
    name = tensor.name.split(".")
    # llama.cpp reorders the rows of q and k for its own rotary pairing, of this
    # architecture only.
    rotary = config.family == "llama" and len(name) > 2 and name[2] in heads
    num_heads = heads[name[2]] if rotary else None

    def read() -> np.ndarray:
        value = quants.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
        return value if num_heads is None else _half_split(value, num_heads)

    return Tensor(shape, read)


def _half_split(value: np.ndarray, num_heads: int) -> np.ndarray:
    """Rows of each head from pairs (0, 1), (2, 3), ... to pairs (i, i + c/2)."""
    half = math.prod(value.shape[:1]) // num_heads // 2
    paired = value.reshape(num_heads, half, 2, *value.shape[1:])
    return paired.swapaxes(1, 2).reshape(value.shape)
