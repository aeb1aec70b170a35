"""Small GGUF files, written with llama.cpp's own Python package."""

import gguf
import numpy as np

from radit_jax.models import tables, weights

ALPHABET = [chr(i) for i in range(33, 127)] + ["Ġ", "Ċ"]
TOKENS = ["<s>", "</s>", *ALPHABET, "he", "ll", "hell", "Ġhell", "12"]
MERGES = ["h e", "l l", "he ll", "Ġ hell", "1 2"]


def interleave(value: np.ndarray, num_heads: int) -> np.ndarray:
    """llama.cpp's order of a head's rows: convert_hf_to_gguf's `permute`."""
    split = value.reshape(num_heads, 2, len(value) // num_heads // 2, *value.shape[1:])
    return split.swapaxes(1, 2).reshape(value.shape)


def hf_tensors(decoder) -> dict[str, np.ndarray]:
    dumped = weights.dump(decoder, tables.DECODER)
    return {name: tensor.read() for name, tensor in dumped}


def gguf_name(hf_name: str, num_layers: int) -> str:
    for row in tables.DECODER:
        if hf_name in row.names("hf", num_layers):
            index = row.names("hf", num_layers).index(hf_name)
            return row.names("gguf", num_layers)[index]
    raise KeyError(hf_name)


def tensors_of(decoder) -> dict[str, np.ndarray]:
    """A decoder's tensors under GGUF's names and in GGUF's order."""
    config = decoder.config
    named = {
        gguf_name(name, config.num_layers): value
        for name, value in hf_tensors(decoder).items()
    }
    heads = {"attn_q": config.num_heads, "attn_k": config.num_kv_heads}
    if config.family != "llama":
        return named
    return {
        name: interleave(value, heads[part]) if part in heads else value
        for name, value in named.items()
        for part in [name.split(".")[-2]]
    }


def fields_of(config) -> dict[str, object]:
    prefix = config.family
    return {
        f"{prefix}.block_count": config.num_layers,
        f"{prefix}.context_length": config.max_positions,
        f"{prefix}.embedding_length": config.width,
        f"{prefix}.feed_forward_length": config.mlp_width,
        f"{prefix}.attention.head_count": config.num_heads,
        f"{prefix}.attention.head_count_kv": config.num_kv_heads,
        f"{prefix}.attention.layer_norm_rms_epsilon": config.norm_epsilon,
        f"{prefix}.attention.key_length": config.head_width,
        f"{prefix}.attention.value_length": config.head_width,
        f"{prefix}.rope.freq_base": config.rope_theta,
        f"{prefix}.rope.dimension_count": config.head_width,
        f"{prefix}.vocab_size": config.vocab_size,
    }


def write(path, architecture, fields, tensors, kind=gguf.GGMLQuantizationType.F32):
    """Writes a file; matrices are stored as `kind`, vectors as float32.

    A tensor that is given as uint8 is taken for data that is quantised already.
    """
    writer = gguf.GGUFWriter(path, architecture)
    for name, value in fields.items():
        add(writer, name, value)
    for name, value in tensors.items():
        if value.dtype == np.uint8 or value.ndim == 1:
            raw = kind if value.dtype == np.uint8 else None
            writer.add_tensor(name, value, raw_dtype=raw)
        else:
            writer.add_tensor(name, gguf.quants.quantize(value, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add(writer, name, value):
    if isinstance(value, list):
        writer.add_array(name, value)
    elif isinstance(value, str):
        writer.add_string(name, value)
    elif isinstance(value, float):
        writer.add_float32(name, value)
    else:
        writer.add_uint32(name, value)


def tokenizer_fields(**changes) -> dict[str, object]:
    fields = {
        "model": "gpt2",
        "pre": "smollm",
        "tokens": TOKENS,
        "token_type": [3, 3] + [1] * (len(TOKENS) - 2),
        "merges": MERGES,
        "bos_token_id": 0,
        "eos_token_id": 1,
    } | changes
    kept = {name: value for name, value in fields.items() if value is not None}
    return {f"tokenizer.ggml.{name}": value for name, value in kept.items()}
