"""Tokens and floating-point operations of a decoder's training steps."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from radit_jax.models import flops
from radit_jax.models.decoder import DecoderConfig
from radit_jax.training import peaks
from radit_jax.training.speed import Speedometer

_ADAPTERS = 2.0  # times the forward pass: weights that are frozen have no gradient


def count_tokens(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Tokens that are not padding, their share of the batch, and what one sees."""
    useful = (batch["segment_ids"] > 0).astype(jnp.float32)
    tokens = jnp.sum(useful)
    return {
        "tokens": tokens,
        "useful_token_share": jnp.mean(useful),
        "seen_tokens": jnp.sum(useful * (batch["positions"] + 1)) / tokens,
    }


def speedometer(config: DecoderConfig, trains_adapters: bool) -> Speedometer:
    """Times steps whose metrics are those of `NextTokenLoss` and `count_tokens`."""
    passes = _ADAPTERS if trains_adapters else flops.TRAINING

    def of_step(metrics: Mapping[str, float]) -> float:
        return passes * flops.decoder_forward(
            config, metrics["tokens"], metrics["weight"], metrics["seen_tokens"]
        )

    return Speedometer(of_step, peaks.of_all_devices())
