"""AdamW as the paper's recipe has it: clipping, warm-up, cosine or linear decay."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx


class Optimizer(NamedTuple):
    """A gradient transformation and the learning rate that it follows."""

    transformation: optax.GradientTransformation
    schedule: optax.Schedule  # update 0, 1, ... -> learning rate


def make_optimizer(
    *,
    peak: float,
    end: float,
    warmup: int,
    num_steps: int,
    weight_decay: float,
    clip_norm: float,
    schedule: str = "cosine",
) -> Optimizer:
    """AdamW (β 0.9, 0.95) behind a clip of the gradients' global norm.

    Args:
      peak: highest learning rate.
      end: learning rate of the last update.
      warmup: updates of the linear warm-up; the last of them has the peak rate.
      num_steps: updates in all.
      weight_decay: of the layers' matrices; norms, biases and embeddings have none.
      clip_norm: largest global norm of the gradients.
      schedule: from peak to end: "cosine", or "linear" (the paper's 64-shot stage).

    Raises:
      ValueError: if the warm-up is longer than the run.
    """
    decay = {"cosine": warmup_cosine, "linear": warmup_linear}[schedule]
    rates = decay(peak, end, warmup, num_steps)
    return Optimizer(
        optax.chain(
            clip_by_global_norm(clip_norm),
            optax.adamw(
                rates, b1=0.9, b2=0.95, weight_decay=weight_decay, mask=decay_mask
            ),
        ),
        rates,
    )


def clip_by_global_norm(largest: float) -> optax.GradientTransformation:
    """As optax', but one factor for all: no clipped gradients are written and read."""

    def update(updates: Any, state: Any, params: Any = None):
        del params
        norm = optax.tree.norm(updates)
        scale = jnp.minimum(1.0, largest / jnp.maximum(norm, 1e-30))
        return jax.tree.map(lambda g: g * scale.astype(g.dtype), updates), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def warmup_cosine(
    peak: float, end: float, warmup: int, num_steps: int
) -> optax.Schedule:
    """Update n (from 0) of a linear warm-up and a cosine decay.

    No update is lost at rate zero: with `warmup=4` the rates begin peak · 1/4, 2/4,
    3/4, 4/4, and update `num_steps - 1`, the last, has the rate `end`.

    Raises:
      ValueError: if the warm-up is longer than the run.
    """
    first = _checked_warmup(warmup, num_steps)
    return optax.warmup_cosine_decay_schedule(
        init_value=peak / first,
        peak_value=peak,
        warmup_steps=first - 1,
        decay_steps=max(num_steps - 1, first),
        end_value=end,
    )


def warmup_linear(
    peak: float, end: float, warmup: int, num_steps: int
) -> optax.Schedule:
    """Update n (from 0) of a linear warm-up and a linear decay; see `warmup_cosine`.

    Raises:
      ValueError: if the warm-up is longer than the run.
    """
    first = _checked_warmup(warmup, num_steps)
    falling = max(num_steps - first, 1)
    return optax.schedules.join_schedules(
        [
            optax.linear_schedule(peak / first, peak, first - 1),
            optax.linear_schedule(peak, end, falling),
        ],
        [first - 1],
    )


def _checked_warmup(warmup: int, num_steps: int) -> int:
    """Updates until the peak, of which there is always one."""
    if warmup > num_steps:
        raise ValueError(
            f"warmup_steps={warmup} is more than num_steps={num_steps}, so the peak "
            "learning rate would never be reached; lower warmup_steps or raise "
            "num_steps."
        )
    return max(warmup, 1)


def decay_mask(params: Any) -> Any:
    """True for the parameters that weight decay shrinks.

    These are the matrices within the layers. The stacked layers' axis does not
    count, so a `("layers", "embed")` norm scale is a vector; embeddings are left out
    because the row of a token that a batch lacks would shrink with no gradient to
    answer.
    """

    def decays(path: Any, leaf: Any) -> bool:
        axes = (None,) * jnp.ndim(leaf)
        if isinstance(leaf, nnx.Variable):
            axes = leaf.get_metadata("axes", None) or (None,) * leaf.get_value().ndim
        is_matrix = len([axis for axis in axes if axis != "layers"]) >= 2
        name = jax.tree_util.keystr(path[-1:], simple=True)
        # A bias of attention heads has two axes as well: ("heads", "head").
        return is_matrix and "vocab" not in axes and name != "bias"

    return jax.tree_util.tree_map_with_path(
        decays, params, is_leaf=lambda x: isinstance(x, nnx.Variable)
    )
