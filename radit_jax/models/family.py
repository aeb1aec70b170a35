"""Hugging Face's config.json, read into our configs and written from them."""

from collections.abc import Mapping
from typing import Any

from radit_jax.models.decoder import DecoderConfig
from radit_jax.models.encoder import EncoderConfig
from radit_jax.models.layers import RopeScaling
from radit_jax.models.weights import raise_problems

_ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
}
DECODER_TYPES = tuple(_ARCHITECTURES)
ENCODER_TYPES = ("bert", "dpr")

# Fields that change the maths, with the values that this package computes.
_DECODER_VALUES = {
    "hidden_act": ("silu",),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "partial_rotary_factor": (1, 1.0, None),
    "attn_logit_softcapping": (None,),
    "final_logit_softcapping": (None,),
    "logit_scale": (1, 1.0, None),
    "quantization_config": (None,),
    "use_sliding_window": (False, None),
}
_ENCODER_VALUES = {
    "hidden_act": ("gelu", "gelu_new", "gelu_pytorch_tanh"),
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False, None),
    "add_cross_attention": (False, None),
    "quantization_config": (None,),
    "projection_dim": (0, None),  # of DPR: a matrix after the pooling
}
_DECODER_FIELDS = {
    "vocab_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "width": "hidden_size",
    "num_heads": "num_attention_heads",
    "mlp_width": "intermediate_size",
    "norm_epsilon": "rms_norm_eps",
    "max_positions": "max_position_embeddings",
}
_ENCODER_FIELDS = {
    "vocab_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "width": "hidden_size",
    "num_heads": "num_attention_heads",
    "mlp_width": "intermediate_size",
    "norm_epsilon": "layer_norm_eps",
    "max_positions": "max_position_embeddings",
    "num_types": "type_vocab_size",
}
_LLAMA3_FIELDS = {
    "factor": "factor",
    "low_frequency_factor": "low_freq_factor",
    "high_frequency_factor": "high_freq_factor",
    "original_max_positions": "original_max_position_embeddings",
}


def read_decoder(raw: Mapping[str, Any], where: str, **options) -> DecoderConfig:
    """A decoder's config.json as a `DecoderConfig`; `options` are our own fields.

    Raises:
      CheckpointError: for what is missing or would be computed differently here.
    """
    family = raw.get("model_type")
    problems = _type_problems(raw, DECODER_TYPES)
    problems += _problems(raw, _DECODER_FIELDS, _DECODER_VALUES)
    theta, scaling, rope_problems = _read_rope(raw)
    # Mistral's own defaults; the other two follow the number of heads.
    needed = ("num_key_value_heads",) if family == "mistral" else ()
    problems += [f"field {name!r} is missing." for name in needed if name not in raw]
    raise_problems(f"{where}/config.json", problems + rope_problems)
    fields = {ours: raw[theirs] for ours, theirs in _DECODER_FIELDS.items()}
    return DecoderConfig(
        **fields,
        num_kv_heads=raw.get("num_key_value_heads") or raw["num_attention_heads"],
        head_width=raw.get("head_dim")
        or raw["hidden_size"] // raw["num_attention_heads"],
        rope_theta=float(theta),
        rope_scaling=scaling,
        tied_head=bool(raw.get("tie_word_embeddings", False)),
        attention_bias=family == "qwen2",
        # A Mistral config that does not say has a window: transformers' default.
        sliding_window=raw.get("sliding_window", 4096) if family == "mistral" else None,
        family=family,
        **options,
    )


def read_encoder(raw: Mapping[str, Any], where: str, **options) -> EncoderConfig:
    """A BERT or DPR config.json as an `EncoderConfig`; `options` are our own fields.

    Raises:
      CheckpointError: for what is missing or would be computed differently here.
    """
    problems = _type_problems(raw, ENCODER_TYPES)
    problems += _problems(raw, _ENCODER_FIELDS, _ENCODER_VALUES)
    raise_problems(f"{where}/config.json", problems)
    fields = {ours: raw[theirs] for ours, theirs in _ENCODER_FIELDS.items()}
    exact_gelu = raw["hidden_act"] == "gelu"
    return EncoderConfig(**fields, exact_gelu=exact_gelu, **options)


def _type_problems(raw: Mapping[str, Any], supported: tuple[str, ...]) -> list[str]:
    if raw.get("model_type") in supported:
        return []
    return [
        f"model_type is {raw.get('model_type')!r}; supported here: {list(supported)}."
    ]


def _problems(raw, fields: Mapping[str, str], values: Mapping[str, tuple]) -> list[str]:
    missing = [name for name in fields.values() if name not in raw]
    refused = [
        (name, allowed)
        for name, allowed in values.items()
        if name in raw and raw[name] not in allowed
    ]
    missing += ["hidden_act"] if "hidden_act" not in raw else []
    return [f"field {name!r} is missing." for name in missing] + [
        f"{name}={raw[name]!r} changes the maths and is not supported; only "
        f"{list(allowed)} are. Use another model."
        for name, allowed in refused
    ]


def _read_rope(raw: Mapping[str, Any]) -> tuple[float, RopeScaling | None, list[str]]:
    """theta, scaling and problems: of `rope_parameters`, or of the two older fields."""
    rope = dict(raw.get("rope_parameters") or raw.get("rope_scaling") or {})
    theta = rope.get("rope_theta") or raw.get("rope_theta") or 10_000.0
    kind = rope.get("rope_type", rope.get("type", "default"))
    if rope.get("partial_rotary_factor", 1) != 1:
        return theta, None, ["partial_rotary_factor is not 1, the only one supported."]
    if kind == "default":
        return theta, None, []
    names = _LLAMA3_FIELDS if kind == "llama3" else {"factor": "factor"}
    if kind not in ("linear", "llama3"):
        known = "['default', 'linear', 'llama3']"
        return theta, None, [f"rope_type is {kind!r}; supported here: {known}."]
    missing = [theirs for theirs in names.values() if theirs not in rope]
    if missing:
        return theta, None, [f"rope type {kind!r} lacks the fields {missing}."]
    fields = {ours: rope[theirs] for ours, theirs in names.items()}
    return theta, RopeScaling(kind, **fields), []


def write_decoder(config: DecoderConfig) -> dict[str, Any]:
    """The config.json that `read_decoder` reads and transformers opens."""
    raw = {theirs: getattr(config, ours) for ours, theirs in _DECODER_FIELDS.items()}
    raw |= {
        "architectures": [_ARCHITECTURES[config.family]],
        "model_type": config.family,
        "hidden_act": "silu",
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_width,
        # Written the older way, which every transformers since 4.x reads.
        "rope_theta": config.rope_theta,
        "rope_scaling": _write_rope(config.rope_scaling),
        "tie_word_embeddings": config.tied_head,
        "torch_dtype": "float32",
    }
    if config.family == "mistral":
        raw["sliding_window"] = config.sliding_window
    return raw


def _write_rope(scaling: RopeScaling | None) -> dict[str, Any] | None:
    if scaling is None:
        return None
    names = _LLAMA3_FIELDS if scaling.kind == "llama3" else {"factor": "factor"}
    fields = {theirs: getattr(scaling, ours) for ours, theirs in names.items()}
    return {"rope_type": scaling.kind, **fields}


def write_encoder(config: EncoderConfig) -> dict[str, Any]:
    """The config.json that `read_encoder` reads and transformers opens."""
    raw = {theirs: getattr(config, ours) for ours, theirs in _ENCODER_FIELDS.items()}
    return raw | {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_act": "gelu" if config.exact_gelu else "gelu_new",
        "pad_token_id": 0,
        "torch_dtype": "float32",
    }
