"""LoRA: low-rank adapters of a decoder's projections (Hu et al. 2021).

Only the adapters learn; what they are added to stays as it is. Projections go by the
names that they have in Hugging Face's files, such as `q_proj`, as PEFT has it.
"""

import difflib
from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx

from radit_jax.models import narrow, tables
from radit_jax.models.decoder import Decoder, DecoderConfig
from radit_jax.models.layers import LowRank, Projection
from radit_jax.models.tables import Row

# By the projection's name: its row in the table of weights.
TARGETS: dict[str, Row] = {
    row.hf.split(".")[-2]: row for row in tables.DECODER if row.num_inputs
}


class Adapters(nnx.Module):
    """An adapter for each target, all layers at once."""

    def __init__(self, by_name: dict[str, LowRank]):
        self.names = tuple(by_name)
        for name, adapter in by_name.items():
            setattr(self, name, adapter)

    def items(self) -> list[tuple[str, LowRank]]:
        """Targets with their adapters."""
        return [(name, getattr(self, name)) for name in self.names]


def check_targets(targets: Sequence[str]) -> None:
    """Checks that every target is a projection of the decoder.

    Raises:
      ValueError: with the unknown names, the nearest known ones and all there are.
    """
    unknown = [name for name in targets if name not in TARGETS]
    if unknown or not targets:
        near = [difflib.get_close_matches(name, TARGETS, n=1) for name in unknown]
        hint = f" (meant: {sum(near, [])}?)" if any(near) else ""
        raise ValueError(
            f"LoRA targets {list(targets)} name {unknown or 'nothing'}{hint}; there "
            f"are {list(TARGETS)}. Set --config.lm_training.lora_targets to some."
        )


def make(
    config: DecoderConfig,
    rank: int,
    alpha: float,
    targets: Sequence[str],
    rngs: nnx.Rngs,
) -> Adapters:
    """New adapters, which add nothing yet.

    Args:
      config: of the decoder that they are for.
      rank: r, inner size of each adapter.
      alpha: what an adapter adds is scaled by alpha / rank.
      targets: some of `TARGETS`.
      rngs: of A's draw.

    Raises:
      ValueError: for targets that are none.
    """
    check_targets(targets)
    shapes = nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))
    return Adapters(
        {
            name: LowRank(_projection(shapes, name), rank, alpha / rank, rngs)
            for name in targets
        }
    )


def attach(decoder: Decoder, adapters: Adapters) -> None:
    """Lets the decoder's projections add their adapters; `adapters` is used up."""
    for name, adapter in adapters.items():
        _projection(decoder, name).lora = nnx.data(adapter)  # was None, static


def merge(decoder: Decoder, adapters: Adapters) -> None:
    """Adds the adapters to the decoder's weights: W ← W + alpha/r · A B, in float32."""
    for name, adapter in adapters.items():
        projection = _projection(decoder, name)
        projection.weight[...] = projection.weight[...] + adapter.product()


def adapters_of(decoder: Decoder) -> Adapters:
    """What `attach` was given."""
    found = {name: _projection(decoder, name).lora for name in TARGETS}
    return Adapters({name: one for name, one in found.items() if one is not None})


def frozen(params: Any, dtype: str) -> Any:
    """Parameters that do not learn, their matrices in `dtype`; vectors stay float32.

    Published models are bfloat16, and products cast to `dtype` anyway: at
    `lm.compute_dtype` this halves the memory and rounds nothing that was not. What is
    stacked by layers is packed as by `narrow`.
    """

    def cast(variable: nnx.Variable) -> nnx.Variable:
        axes = variable.get_metadata("axes")
        is_matrix = len([axis for axis in axes if axis != "layers"]) >= 2
        value = variable.get_value()
        if not is_matrix:
            return variable
        # Layers are read one by one.
        value = narrow.pack(value, dtype) if "layers" in axes else value.astype(dtype)
        return variable.replace(value)

    return jax.tree.map(cast, params, is_leaf=lambda x: isinstance(x, nnx.Variable))


def rows(targets: Sequence[str]) -> list[Row]:
    """PEFT's names of the matrices: `…q_proj.lora_A.weight` is A, [r, inputs]."""
    found = []
    for name in targets:
        row = TARGETS[name]
        prefix = f"base_model.model.{row.hf.removesuffix('.weight')}"
        found += [
            Row(f"{name}.a", f"{prefix}.lora_A.weight", num_inputs=row.num_inputs),
            Row(f"{name}.b", f"{prefix}.lora_B.weight", num_inputs=1),
        ]
    return found


def _projection(decoder: Decoder, name: str) -> Projection:
    found = decoder
    for part in TARGETS[name].ours.split(".")[:-1]:
        found = getattr(found, part)
    return found
