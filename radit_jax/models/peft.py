"""LoRA adapters in PEFT's own format, which `peft.PeftModel.from_pretrained` opens."""

import json
from collections.abc import Mapping
from typing import Any

import safetensors.numpy
from etils import epath
from flax import nnx

from radit_jax.models import lora, safetensors_files, shards, weights
from radit_jax.models.decoder import DecoderConfig
from radit_jax.models.lora import Adapters
from radit_jax.models.shards import Place
from radit_jax.models.weights import CheckpointError

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# Fields that change the maths, with the values that this package computes.
_VALUES: dict[str, tuple] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "fan_in_fan_out": (False,),
    "use_rslora": (False,),
    "use_dora": (False,),
    "modules_to_save": (None, []),
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
    "layers_to_transform": (None, []),
    "exclude_modules": (None, []),
    "trainable_token_indices": (None, []),
    "lora_bias": (False,),
}


def save(
    adapters: Adapters,
    rank: int,
    alpha: float,
    base: str,
    directory: epath.PathLike,
) -> None:
    """Writes `adapter_config.json` and `adapter_model.safetensors`, float32.

    Args:
      adapters: of `lora.make`, wholly on this process's devices.
      rank: r.
      alpha: of the scale alpha / r.
      base: name or path of the model that they are for.
      directory: made new.
    """
    path = epath.Path(directory)
    path.mkdir(parents=True)
    tensors = weights.dump(adapters, lora.rows(adapters.names))
    arrays = {name: tensor.read() for name, tensor in tensors}
    (path / _WEIGHTS).write_bytes(
        safetensors.numpy.save(arrays, metadata={"format": "pt"})
    )
    raw = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": sorted(adapters.names),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    # Last, so that a directory copied half-way is not taken for an adapter.
    (path / _CONFIG).write_text(json.dumps(raw, indent=2) + "\n")


def load(
    directory: epath.PathLike,
    config: DecoderConfig,
    place: Place = shards.on_default_device,
) -> Adapters:
    """Reads adapters that PEFT or `save` wrote, for a decoder of this config.

    Args:
      directory: holds `adapter_config.json` and `adapter_model.safetensors`.
      config: of the decoder.
      place: where a parameter of a shape and logical axes lies.

    Raises:
      CheckpointError: for everything that does not fit, together.
    """
    path = epath.Path(directory)
    raw = _read_config(path)
    targets = raw["target_modules"]
    rank, alpha = raw["r"], raw["lora_alpha"]
    return weights.fill(
        lambda: lora.make(config, rank, alpha, targets, nnx.Rngs(0)),
        lora.rows(targets),
        safetensors_files.read_file(path / _WEIGHTS),
        kind="hf",
        where=str(path),
        place=place,
    )


def _read_config(path: epath.Path) -> Mapping[str, Any]:
    missing = [n for n in (_CONFIG, _WEIGHTS) if not (path / n).exists()]
    if missing:
        raise CheckpointError(
            f"{path} lacks {missing}; point at a directory that PEFT's "
            "save_pretrained wrote."
        )
    raw = json.loads((path / _CONFIG).read_text())
    problems = [
        f"{name}={raw[name]!r} changes the maths and is not supported; only "
        f"{list(allowed)} are. Merge it in PEFT: merge_and_unload()."
        for name, allowed in _VALUES.items()
        if name in raw and raw[name] not in allowed
    ]
    problems += [
        f"field {name!r} is missing."
        for name in ("r", "lora_alpha", "target_modules")
        if name not in raw
    ]
    targets = raw.get("target_modules", [])
    unknown = [name for name in targets if name not in lora.TARGETS]
    if unknown or isinstance(targets, str):
        known = list(lora.TARGETS)
        problems.append(f"target_modules is {targets!r}; supported here: {known}.")
    weights.raise_problems(f"{path / _CONFIG}", problems)
    return raw
