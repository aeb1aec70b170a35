"""A LLaMA-family language model: Llama 1 to 3, SmolLM2, Mistral, Qwen2."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from radit_jax.models import axes, layers

_STREAM = ("batch", None, None)  # what splits the residual stream [b l d]


@dataclasses.dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Everything that fixes a decoder's shapes and its maths."""

    vocab_size: int
    num_layers: int
    width: int
    num_heads: int
    num_kv_heads: int
    head_width: int
    mlp_width: int
    rope_theta: float = 10_000.0
    rope_scaling: layers.RopeScaling | None = None
    norm_epsilon: float = 1e-5
    tied_head: bool = False  # the LM head is the embedding table
    attention_bias: bool = False  # of q, k and v: Qwen2
    sliding_window: int | None = None  # tokens that a token sees, itself included
    max_positions: int = 2048
    family: str = "llama"  # "llama", "mistral" or "qwen2": names in HF's files
    compute_dtype: str = "float32"  # of matrix products' inputs
    remat: bool = False  # recompute layer activations in the backward pass

    def __post_init__(self):
        """Refuses head counts that do not group."""
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"{self.num_heads} query heads cannot share {self.num_kv_heads} "
                "key/value heads evenly; num_heads must be a multiple of num_kv_heads."
            )


class Attention(nnx.Module):
    """Causal self-attention with rotary positions and grouped key/value heads."""

    def __init__(self, config: DecoderConfig, rngs: nnx.Rngs):
        embed, head = ("embed", config.width), ("head", config.head_width)
        heads, kv_heads = ("heads", config.num_heads), ("kv_heads", config.num_kv_heads)

        def projection(ins, outs, bias):
            return layers.Projection(
                config.num_layers,
                ins,
                outs,
                bias=bias,
                dtype=config.compute_dtype,
                rngs=rngs,
            )

        bias = config.attention_bias
        self.query = projection((embed,), (heads, head), bias)
        self.key = projection((embed,), (kv_heads, head), bias)
        self.value = projection((embed,), (kv_heads, head), bias)
        self.output = projection((heads, head), (embed,), False)
        self.dtype = config.compute_dtype

    def __call__(self, x, rope, mask):
        """Mixes the values [b l d] of the tokens that `mask` lets each one see."""
        query, key = (
            layers.rotate(self.query(x), rope),
            layers.rotate(self.key(x), rope),
        )
        mixed = layers.attend(query, key, self.value(x), mask, self.dtype)
        return self.output(mixed)


class GatedMLP(nnx.Module):
    """SwiGLU (Shazeer 2020): down(silu(gate(x)) · up(x))."""

    def __init__(self, config: DecoderConfig, rngs: nnx.Rngs):
        embed, mlp = ("embed", config.width), ("mlp", config.mlp_width)
        shared = {"bias": False, "dtype": config.compute_dtype, "rngs": rngs}
        self.gate = layers.Projection(config.num_layers, (embed,), (mlp,), **shared)
        self.up = layers.Projection(config.num_layers, (embed,), (mlp,), **shared)
        self.down = layers.Projection(config.num_layers, (mlp,), (embed,), **shared)

    def __call__(self, x: Float[Array, "b l d"]) -> Float[Array, "b l d"]:
        """Maps each token's vector."""
        return self.down(jax.nn.silu(self.gate(x)) * self.up(x))


class DecoderLayer(nnx.Module):
    """Pre-norm attention and feed-forward, each added to the residual stream."""

    def __init__(self, config: DecoderConfig, rngs: nnx.Rngs):
        width, epsilon, num_layers = (
            config.width,
            config.norm_epsilon,
            config.num_layers,
        )
        self.attention_norm = layers.RMSNorm(width, epsilon, rngs, num_layers)
        self.attention = Attention(config, rngs)
        self.mlp_norm = layers.RMSNorm(width, epsilon, rngs, num_layers)
        self.mlp = GatedMLP(config, rngs)

    def __call__(self, x, rope, mask):
        """One layer; see `Attention` for the arguments."""
        x = x + self.attention(self.attention_norm(x), rope, mask)
        return x + self.mlp(self.mlp_norm(x))


class Decoder(nnx.Module):
    """Tokens in, hidden states out; the head is applied by who needs it.

    Vocabulary logits are large, and wanted at few positions: pass `hidden` at those
    and `head` to `ops.likelihood`, or call `logits`.
    """

    def __init__(self, config: DecoderConfig, *, rngs: nnx.Rngs):
        self.config = config
        vocab, embed = ("vocab", config.vocab_size), ("embed", config.width)
        self.embedding = layers.parameter(rngs, (vocab, embed))
        self.layers = DecoderLayer(config, rngs)
        self.final_norm = layers.RMSNorm(config.width, config.norm_epsilon, rngs)
        untied = not config.tied_head
        self.head_weight = layers.parameter(rngs, (vocab, embed)) if untied else None

    @property
    def head(self) -> Float[Array, "v d"]:
        """The LM head's rows, one a token; the embedding table where tied."""
        tied = self.head_weight is None
        return self.embedding[...] if tied else self.head_weight[...]

    def embed(self, tokens: Int[Array, "b l"]) -> Float[Array, "b l d"]:
        """The embedding rows of `tokens`, float32."""
        return self.embedding[...][tokens].astype(jnp.float32)

    def logits(
        self, hidden: Float[Array, "b t d"], head: Float[Array, "v d"] | None = None
    ) -> Float[Array, "b t v"]:
        """Scores of every vocabulary entry, float32, before the softmax.

        Args:
          hidden: what `__call__` gives.
          head: `head`, where it was cast before; None: as it is.
        """
        head = self.head if head is None else head
        return layers.einsum("btd,vd->btv", hidden, head, self.config.compute_dtype)

    def __call__(
        self,
        tokens: Int[Array, "b l"],
        positions: Int[Array, "b l"],
        mask: Bool[Array, "b l l"],
    ) -> Float[Array, "b l d"]:
        """Reads `tokens`.

        Args:
          tokens: ids.
          positions: of each token in its own text, from 0: the rotary positions.
          mask: which tokens a token may attend to; `ops.masks` builds it. A row of
            False is allowed.

        Returns:
          Hidden states after the final norm, float32.
        """
        config = self.config
        mask = _window(mask, positions, config.sliding_window)
        frequencies = layers.rope_frequencies(
            config.head_width, config.rope_theta, config.rope_scaling
        )
        rope = layers.rope_table(positions, frequencies)
        graphdef, stack = nnx.split(self.layers)

        def body(x, params):
            x = nnx.merge(graphdef, params)(x, rope, mask)
            return axes.constrain(x, *_STREAM), None

        x = axes.constrain(self.embed(tokens), *_STREAM)
        x, _ = jax.lax.scan(layers.maybe_remat(body, config.remat), x, stack)
        return self.final_norm(x)


def _window(mask, positions, window: int | None):
    if window is None or mask.shape[-1] <= window:
        return mask
    distance = positions[:, :, None] - positions[:, None, :]
    return jnp.logical_and(mask, distance < window)
