"""Eq. 3 of the paper as a loss of packed rows: what stage `finetune_lm` minimises."""

import dataclasses
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array

from radit_jax.models import axes, packed_forward
from radit_jax.ops import likelihood, losses

Batch = dict[str, Array]  # of `instruct.packing.Row.arrays`, [b …]

_HEAD = ("vocab", "embed")


@dataclasses.dataclass(frozen=True)  # no slots: JAX refers to it weakly
class NextTokenLoss:
    """(params, batch[, frozen]) → (summed loss, target tokens, {}): a `LossFn`."""

    graphdef: Any  # of the decoder
    remat: str = "none"  # see `packed_forward.read_targets`
    block_tokens: int = 512  # targets that meet the head together on a device

    def __call__(self, params: Any, batch: Batch, frozen: Any = None):
        """−Σ log p(target) over the target tokens, nats, and how many they are."""
        return self.threaded(params, batch, frozen)[0]

    def threaded(self, params: Any, batch: Batch, frozen: Any = None):
        """The same, and the parameters as they were given.

        A sum of gradients that is given back as their cotangent is added to in place:
        see `packed_forward.read_targets`.
        """
        rest = () if frozen is None else (frozen,)
        decoder = nnx.merge(self.graphdef, params, *rest)
        found = packed_forward.read_targets(
            decoder,
            batch["tokens"],
            batch["positions"],
            batch["segment_ids"],
            batch["target_positions"],
            remat=self.remat,
        )
        hidden, head = found.hidden, decoder.head
        is_split = axes.num_parts("embed") > 1
        if is_split:
            # Or it is gathered for all micro-batches at once, and held throughout.
            hidden, head = jax.lax.optimization_barrier((hidden, head))
        # In parts of the vocabulary, which the mesh must then leave whole.
        is_scattered = is_split and axes.num_parts("vocab") == 1
        log_likelihood = likelihood.token_log_likelihood(
            hidden,
            # Gathered once, and not for every block of targets.
            axes.gather(head, _HEAD),
            batch["target_tokens"],
            mask=batch["target_mask"],
            block_tokens=self.block_tokens * axes.num_parts("batch"),
            num_parts=axes.num_parts("batch"),
            scatter=_scatter if is_scattered else None,
            dtype=decoder.config.compute_dtype,
        )
        loss, num_tokens = losses.next_token_loss(log_likelihood, batch["target_mask"])
        after = {**params, "layers": found.params}
        same = jax.tree.unflatten(jax.tree.structure(params), jax.tree.leaves(after))
        return (loss, num_tokens, {}), same


def _scatter(gradient: Array) -> Array:
    return axes.scatter(gradient, _HEAD)
