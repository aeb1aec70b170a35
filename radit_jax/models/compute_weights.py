"""Weights held as they are multiplied: for a model that is read and never trained."""

from flax import nnx

from radit_jax.models import layers, narrow
from radit_jax.models.decoder import Decoder


def round_weights(decoder: Decoder) -> None:
    """Rounds the projections' weights to `compute_dtype`, in place, one at a time.

    Results stay the same bit for bit, since products round their inputs anyway; with
    bfloat16, packed as by `narrow`, the layers take half the memory. Norms, biases and
    the embedding table, whose rows are read unrounded, keep float32.
    """
    dtype = decoder.config.compute_dtype
    for _, module in nnx.iter_modules(decoder):
        if isinstance(module, layers.Projection):
            module.weight.set_value(narrow.pack(module.weight.get_value(), dtype))
