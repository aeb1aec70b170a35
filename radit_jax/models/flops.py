"""Floating-point operations of the models' matrix products, by arithmetic.

A product of [m k] and [k n] takes 2mkn. Attention is counted as causal: half of all
pairs. The backward pass takes twice the forward pass; what is computed a second time
to save memory does not count, as is usual for MFU (PaLM, arXiv 2204.02311, appendix
B).
"""

from radit_jax.models.decoder import DecoderConfig
from radit_jax.models.encoder import EncoderConfig

TRAINING = 3.0  # times the forward pass: forward, and twice as much backward


def decoder_forward(
    config: DecoderConfig, num_tokens: float, num_targets: float, context: float
) -> float:
    """Of reading tokens, and of logits where they are wanted.

    Args:
      config: of the decoder.
      num_tokens: that are read.
      num_targets: positions that meet the LM head.
      context: tokens that a token sees, on average.
    """
    heads, kv_heads = config.num_heads, config.num_kv_heads
    projections = config.width * config.head_width * (2 * heads + 2 * kv_heads)
    mlp = 3 * config.width * config.mlp_width
    attention = 2 * context * heads * config.head_width
    per_token = config.num_layers * 2 * (projections + mlp + attention)
    head = 2 * config.vocab_size * config.width
    return num_tokens * per_token + num_targets * head


def encoder_forward(config: EncoderConfig, num_tokens: float, context: float) -> float:
    """Of encoding tokens, each of which sees `context` tokens of its text."""
    matrices = 4 * config.width**2 + 2 * config.width * config.mlp_width
    attention = 2 * context * config.width
    return num_tokens * config.num_layers * 2 * (matrices + attention)
