"""Which tensor of a file is which parameter: one table per architecture.

Files keep one matrix a layer, as [outputs, inputs]; parameters here are stacked over
layers, as [layers, inputs..., outputs...].
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One parameter's place in our module and in the files; `{layer}` counts from 0."""

    ours: str  # path in the module
    hf: str  # name in Hugging Face's files
    gguf: str = ""  # name in GGUF files; encoders are not read from those
    num_inputs: int = 0  # leading input axes of a matrix; 0: a vector, or a table

    @property
    def stacked(self) -> bool:
        """Whether the files hold one tensor a layer."""
        return "{layer}" in self.hf

    def names(self, kind: str, num_layers: int) -> list[str]:
        """The file's names, one a layer; `kind` is "hf" or "gguf"."""
        name = getattr(self, kind)
        if not self.stacked:
            return [name]
        return [name.format(layer=layer) for layer in range(num_layers)]

    def file_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape in the file of our (one layer's) shape: (d, h, c) -> (h·c, d)."""
        if self.num_inputs:
            ins, outs = shape[: self.num_inputs], shape[self.num_inputs :]
            return (math.prod(outs), math.prod(ins))
        return (math.prod(shape),) if self.stacked else shape

    def from_file(self, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The file's array (or some rows of it) as our (one layer's), of `shape`."""
        turned = value.T if self.num_inputs else value
        return turned.reshape(shape)

    def to_file(self, value: np.ndarray) -> np.ndarray:
        """The inverse of `from_file`."""
        shape = self.file_shape(value.shape)
        return value.reshape(shape[::-1]).T if self.num_inputs else value.reshape(shape)


def _rows(hf_prefix: str, rows: Sequence[tuple[str, str, str, int]]) -> list[Row]:
    """Rows of one layer: (ours, hf, gguf, inputs) without their prefixes."""
    return [
        Row(f"layers.{ours}", f"{hf_prefix}.{{layer}}.{hf}", f"blk.{{layer}}.{gg}", n)
        for ours, hf, gg, n in rows
    ]


DECODER: tuple[Row, ...] = (
    Row("embedding", "model.embed_tokens.weight", "token_embd.weight"),
    Row("final_norm.scale", "model.norm.weight", "output_norm.weight"),
    Row("head_weight", "lm_head.weight", "output.weight"),
    *_rows(
        "model.layers",
        [
            ("attention_norm.scale", "input_layernorm.weight", "attn_norm.weight", 0),
            ("attention.query.weight", "self_attn.q_proj.weight", "attn_q.weight", 1),
            ("attention.query.bias", "self_attn.q_proj.bias", "attn_q.bias", 0),
            ("attention.key.weight", "self_attn.k_proj.weight", "attn_k.weight", 1),
            ("attention.key.bias", "self_attn.k_proj.bias", "attn_k.bias", 0),
            ("attention.value.weight", "self_attn.v_proj.weight", "attn_v.weight", 1),
            ("attention.value.bias", "self_attn.v_proj.bias", "attn_v.bias", 0),
            (
                "attention.output.weight",
                "self_attn.o_proj.weight",
                "attn_output.weight",
                2,
            ),
            ("mlp_norm.scale", "post_attention_layernorm.weight", "ffn_norm.weight", 0),
            ("mlp.gate.weight", "mlp.gate_proj.weight", "ffn_gate.weight", 1),
            ("mlp.up.weight", "mlp.up_proj.weight", "ffn_up.weight", 1),
            ("mlp.down.weight", "mlp.down_proj.weight", "ffn_down.weight", 1),
        ],
    ),
)

ENCODER: tuple[Row, ...] = (
    Row("token_embedding", "embeddings.word_embeddings.weight"),
    Row("position_embedding", "embeddings.position_embeddings.weight"),
    Row("type_embedding", "embeddings.token_type_embeddings.weight"),
    Row("embedding_norm.scale", "embeddings.LayerNorm.weight"),
    Row("embedding_norm.bias", "embeddings.LayerNorm.bias"),
    *_rows(
        "encoder.layer",
        [
            ("query.weight", "attention.self.query.weight", "", 1),
            ("query.bias", "attention.self.query.bias", "", 0),
            ("key.weight", "attention.self.key.weight", "", 1),
            ("key.bias", "attention.self.key.bias", "", 0),
            ("value.weight", "attention.self.value.weight", "", 1),
            ("value.bias", "attention.self.value.bias", "", 0),
            ("output.weight", "attention.output.dense.weight", "", 2),
            ("output.bias", "attention.output.dense.bias", "", 0),
            ("attention_norm.scale", "attention.output.LayerNorm.weight", "", 0),
            ("attention_norm.bias", "attention.output.LayerNorm.bias", "", 0),
            ("up.weight", "intermediate.dense.weight", "", 1),
            ("up.bias", "intermediate.dense.bias", "", 0),
            ("down.weight", "output.dense.weight", "", 1),
            ("down.bias", "output.dense.bias", "", 0),
            ("mlp_norm.scale", "output.LayerNorm.weight", "", 0),
            ("mlp_norm.bias", "output.LayerNorm.bias", "", 0),
        ],
    ),
)
