"""Hugging Face model directories, in and out: config.json and safetensors."""

import json
from collections.abc import Iterable
from typing import Any

import jax
from etils import epath
from flax import nnx

from radit_jax.models import family, safetensors_files, shards, tables, weights
from radit_jax.models.decoder import Decoder
from radit_jax.models.encoder import Encoder
from radit_jax.models.shards import Place
from radit_jax.models.weights import CheckpointError, Tensor

_SHARD_BYTES = 5_000_000_000  # transformers' own default

# Present in some files and used by nothing here, each for its reason.
_IGNORED_OF_DECODERS = ("model.layers.*.self_attn.rotary_emb.inv_freq",)  # computed
_IGNORED_OF_ENCODERS = (
    "embeddings.position_ids",  # 0, 1, 2, ...
    "pooler.*",  # the towers pool by themselves
    "cls.*",  # BERT's pre-training heads
)
_ENCODER_PREFIXES = (
    "bert.",
    "question_encoder.bert_model.",  # of DPR, as is the next
    "ctx_encoder.bert_model.",
)


def load_decoder(
    directory: epath.PathLike,
    compute_dtype: str = "float32",
    *,
    remat: bool = False,
    place: Place = shards.on_default_device,
) -> Decoder:
    """Reads a Llama, Mistral or Qwen2 model; parameters become float32.

    Args:
      directory: holds config.json and safetensors.
      compute_dtype: of matrix products' inputs, "float32" or "bfloat16".
      remat: recompute layer activations in the backward pass.
      place: where a parameter of a shape and logical axes lies.

    Raises:
      CheckpointError: for everything that does not fit, together.
    """
    path = epath.Path(directory)
    config = family.read_decoder(
        _read_config(path), str(path), compute_dtype=compute_dtype, remat=remat
    )
    # A tied model's file may hold the table twice; transformers reads it once too.
    tied = ("lm_head.weight",) if config.tied_head else ()
    return weights.fill(
        lambda: Decoder(config, rngs=nnx.Rngs(0)),
        tables.DECODER,
        safetensors_files.read(path),
        kind="hf",
        where=str(path),
        ignored=(*_IGNORED_OF_DECODERS, *tied),
        place=place,
    )


def load_encoder(
    directory: epath.PathLike,
    compute_dtype: str = "float32",
    *,
    remat: bool = False,
    place: Place = shards.on_default_device,
) -> Encoder:
    """Reads a BERT or DPR model, whatever its names' prefix; see `load_decoder`.

    Raises:
      CheckpointError: for everything that does not fit, together.
    """
    path = epath.Path(directory)
    config = family.read_encoder(
        _read_config(path), str(path), compute_dtype=compute_dtype, remat=remat
    )
    tensors = safetensors_files.read(path)
    return weights.fill(
        lambda: Encoder(config, rngs=nnx.Rngs(0)),
        tables.ENCODER,
        {_modern_name(name): tensor for name, tensor in tensors.items()},
        kind="hf",
        where=str(path),
        ignored=_IGNORED_OF_ENCODERS,
        place=place,
    )


def _modern_name(name: str) -> str:
    """Names as transformers writes BertModel's now: Google's has gamma and beta."""
    for prefix in _ENCODER_PREFIXES:
        name = name.removeprefix(prefix)
    name = name.replace("LayerNorm.gamma", "LayerNorm.weight")
    return name.replace("LayerNorm.beta", "LayerNorm.bias")


def _read_config(directory: epath.Path) -> dict[str, Any]:
    path = directory / "config.json"
    if not path.exists():
        raise CheckpointError(
            f"{directory} has no config.json; point at a Hugging Face model directory."
        )
    return json.loads(path.read_text())


def save_decoder(
    decoder: Decoder,
    directory: epath.PathLike,
    tokenizer: Any = None,
    *,
    max_shard_bytes: int = _SHARD_BYTES,
    overwrite: bool = False,
) -> None:
    """Writes float32 safetensors that transformers opens.

    Args:
      decoder: it may be spread over the processes of a job, which must all call
        this; process 0 writes.
      directory: made new; it appears only when complete.
      tokenizer: an `LMTokenizer` to save beside the weights.
      max_shard_bytes: more than this is split over several files.
      overwrite: replace a model that is there already.

    Raises:
      CheckpointError: if the directory exists and may not be replaced.
    """
    raw = family.write_decoder(decoder.config)
    if tokenizer is not None:
        raw |= {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id}
    tensors = weights.dump(decoder, tables.DECODER)
    _save(raw, tensors, directory, tokenizer, max_shard_bytes, overwrite)


def save_encoder(
    encoder: Encoder,
    directory: epath.PathLike,
    tokenizer: Any = None,
    *,
    max_shard_bytes: int = _SHARD_BYTES,
    overwrite: bool = False,
) -> None:
    """Writes float32 safetensors that transformers opens; see `save_decoder`.

    Raises:
      CheckpointError: if the directory exists and may not be replaced.
    """
    raw = family.write_encoder(encoder.config)
    tensors = weights.dump(encoder, tables.ENCODER)
    _save(raw, tensors, directory, tokenizer, max_shard_bytes, overwrite)


def _save(
    raw: dict[str, Any],
    tensors: Iterable[tuple[str, Tensor]],
    directory: epath.PathLike,
    tokenizer: Any,
    max_shard_bytes: int,
    overwrite: bool,
) -> None:
    target = epath.Path(directory)
    partial = target.parent / f"{target.name}.incomplete"
    is_writer = jax.process_index() == 0
    if is_writer:
        _check_free(target, overwrite)
        if partial.exists():
            partial.rmtree()
        partial.mkdir(parents=True)
    safetensors_files.write(partial, tensors, max_shard_bytes)
    if is_writer:
        _finish(raw, partial, target, tokenizer)


def _finish(
    raw: dict[str, Any], partial: epath.Path, target: epath.Path, tokenizer: Any
) -> None:
    if tokenizer is not None:
        tokenizer.save(partial)
    # Last, so that a directory copied half-way is not taken for a model either.
    (partial / "config.json").write_text(json.dumps(raw, indent=2) + "\n")
    if target.exists():
        target.rmtree()
    partial.rename(target)


def _check_free(target: epath.Path, overwrite: bool) -> None:
    """Refuses to replace anything but a model directory, and that only if asked."""
    if not target.exists() or not any(target.iterdir()):
        return
    if not overwrite:
        raise CheckpointError(
            f"{target} exists; choose another directory or pass overwrite=True."
        )
    if not (target / "config.json").exists():
        raise CheckpointError(
            f"{target} exists and is no model directory (it has no config.json), so "
            "it is not replaced; choose another directory."
        )
