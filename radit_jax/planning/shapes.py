"""Models by their shapes alone: no weight is read or made."""

import dataclasses
import json

from etils import epath
from flax import nnx

from radit_jax.config import Config, ConfigError
from radit_jax.models import compute_weights, family
from radit_jax.models.decoder import Decoder, DecoderConfig
from radit_jax.models.encoder import Encoder, EncoderConfig

# LLaMA: Touvron et al., arXiv 2302.13971, table 2; the feed-forward widths and the
# norms' epsilon are those of its checkpoints (Hugging Face's huggyllama/llama-*).
_LLAMA = {
    name: DecoderConfig(
        vocab_size=32_000,
        num_layers=num_layers,
        width=width,
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_width=128,
        mlp_width=mlp_width,
        norm_epsilon=epsilon,
    )
    for name, num_layers, width, num_heads, mlp_width, epsilon in (
        ("llama-7b", 32, 4096, 32, 11_008, 1e-6),
        ("llama-13b", 40, 5120, 40, 13_824, 1e-6),
        ("llama-30b", 60, 6656, 52, 17_920, 1e-6),
        ("llama-65b", 80, 8192, 64, 22_016, 1e-5),
    )
}
# BERT-base (Devlin et al., arXiv 1810.04805, §3), which DRAGON+'s towers are.
_BERT_BASE = EncoderConfig(
    vocab_size=30_522, num_layers=12, width=768, num_heads=12, mlp_width=3072
)
_ENCODERS = {
    "bert-base-uncased": _BERT_BASE,
    "dragon-plus-query-encoder": _BERT_BASE,
    "dragon-plus-context-encoder": _BERT_BASE,
}


def decoder(config: Config, is_rounded: bool = False) -> Decoder:
    """The config's LM, with shapes in the place of arrays.

    Its shapes are read from `config.json` in `config.lm.path`, or are known by the
    last part of that path.

    Args:
      config: its section `lm`.
      is_rounded: as by `compute_weights.round_weights`.

    Raises:
      ConfigError: neither is there.
    """
    options = {"compute_dtype": config.lm.compute_dtype}
    raw = _config_json(config.lm.path)
    if raw is None:
        shape = _known(config.lm.path, _LLAMA, "--config.lm.path")
        shape = dataclasses.replace(shape, **options)
    else:
        shape = family.read_decoder(raw, config.lm.path, **options)

    def make() -> Decoder:
        made = Decoder(shape, rngs=nnx.Rngs(0))
        if is_rounded:
            compute_weights.round_weights(made)
        return made

    return nnx.eval_shape(make)


def encoder(config: Config, path: str) -> Encoder:
    """A tower's encoder; see `decoder`.

    Args:
      config: its section `encoder` says how it computes.
      path: of the query or of the passage tower.

    Raises:
      ConfigError: the path has no config.json, and its name is unknown.
    """
    options = {"compute_dtype": config.encoder.compute_dtype}
    raw = _config_json(path)
    if raw is None:
        shape = _known(path, _ENCODERS, "--config.encoder.query_path or passage_path")
        shape = dataclasses.replace(shape, **options)
    else:
        shape = family.read_encoder(raw, path, **options)
    return nnx.eval_shape(lambda: Encoder(shape, rngs=nnx.Rngs(0)))


def _config_json(path: str) -> dict | None:
    file = epath.Path(path).expanduser() / "config.json"
    return json.loads(file.read_text()) if file.exists() else None


def _known(path: str, table: dict, flag: str):
    name = epath.Path(path).name.lower()
    if name not in table:
        raise ConfigError(
            f"{flag}={path!r} has no config.json, and no model is known by the name "
            f"{name!r}; copy the model's config.json there (the weights are not "
            f"needed), or name the folder as one of {sorted(table)}."
        )
    return table[name]
