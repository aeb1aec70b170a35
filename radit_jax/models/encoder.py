"""A BERT-family text encoder: DRAGON+, Contriever, E5 and MiniLM are its configs."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from radit_jax.models import layers


@dataclasses.dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Everything that fixes an encoder's shapes and its maths."""

    vocab_size: int
    num_layers: int
    width: int
    num_heads: int
    mlp_width: int
    num_types: int = 2  # token types; every token is of type 0 here
    norm_epsilon: float = 1e-12
    max_positions: int = 512
    exact_gelu: bool = True  # False: the tanh approximation
    compute_dtype: str = "float32"  # of matrix products' inputs
    remat: bool = False  # recompute layer activations in the backward pass


class EncoderLayer(nnx.Module):
    """Attention and feed-forward, each followed by add-and-norm (post-norm)."""

    def __init__(self, config: EncoderConfig, rngs: nnx.Rngs):
        embed, mlp = ("embed", config.width), ("mlp", config.mlp_width)
        heads = ("heads", config.num_heads)
        head = ("head", config.width // config.num_heads)

        def projection(ins: layers.Sizes, outs: layers.Sizes) -> layers.Projection:
            return layers.Projection(
                config.num_layers,
                ins,
                outs,
                bias=True,
                dtype=config.compute_dtype,
                rngs=rngs,
            )

        def norm() -> layers.LayerNorm:
            return layers.LayerNorm(
                config.width, config.norm_epsilon, rngs, config.num_layers
            )

        self.query = projection((embed,), (heads, head))
        self.key = projection((embed,), (heads, head))
        self.value = projection((embed,), (heads, head))
        self.output = projection((heads, head), (embed,))
        self.attention_norm = norm()
        self.up = projection((embed,), (mlp,))
        self.down = projection((mlp,), (embed,))
        self.mlp_norm = norm()
        self.exact_gelu = config.exact_gelu
        self.dtype = config.compute_dtype

    def __call__(
        self, x: Float[Array, "b p d"], mask: Bool[Array, "b 1 p"]
    ) -> Float[Array, "b p d"]:
        """One layer."""
        heads = (self.query(x), self.key(x), self.value(x))
        x = self.attention_norm(x + self.output(_attend(*heads, mask, self.dtype)))
        wide = jax.nn.gelu(self.up(x), approximate=not self.exact_gelu)
        return self.mlp_norm(x + self.down(wide))


class Encoder(nnx.Module):
    """Texts in, one vector a token out; `pool` makes it one vector a text."""

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs):
        self.config = config
        embed = ("embed", config.width)
        self.token_embedding = layers.parameter(
            rngs, (("vocab", config.vocab_size), embed)
        )
        self.position_embedding = layers.parameter(
            rngs, ((None, config.max_positions), embed)
        )
        self.type_embedding = layers.parameter(rngs, ((None, config.num_types), embed))
        self.embedding_norm = layers.LayerNorm(config.width, config.norm_epsilon, rngs)
        self.layers = EncoderLayer(config, rngs)

    def __call__(
        self, ids: Int[Array, "b p"], mask: Bool[Array, "b p"]
    ) -> Float[Array, "b p d"]:
        """Hidden states of the last layer, float32.

        Raises:
          ValueError: if the texts are longer than the position table.
        """
        num_tokens = ids.shape[1]
        if num_tokens > self.config.max_positions:
            raise ValueError(
                f"{num_tokens} tokens exceed this encoder's {self.config.max_positions}"
                " positions; lower the tower's max_tokens."
            )
        constant = self.position_embedding[...][:num_tokens] + self.type_embedding[:1]
        x = self.embedding_norm(self.token_embedding[...][ids] + constant[None])
        graphdef, stack = nnx.split(self.layers)

        def body(x, params):
            return nnx.merge(graphdef, params)(x, mask[:, None]), None

        x, _ = jax.lax.scan(layers.maybe_remat(body, self.config.remat), x, stack)
        return x


def _attend(
    query_bphc: Float[Array, "b p h c"],
    key_bphc: Float[Array, "b p h c"],
    value_bphc: Float[Array, "b p h c"],
    mask: Bool[Array, "b 1 p"],
    dtype: str,
) -> Float[Array, "b p h c"]:
    """softmax(q·k / √c) v of every token over the real ones.

    The heads go before the tokens first: two plain batched matrix products take a
    quarter of the time that `layers.attend` takes on a CPU, and as long elsewhere.
    """
    scaled = query_bphc * query_bphc.shape[-1] ** -0.5
    query, key, value = (x.swapaxes(1, 2) for x in (scaled, key_bphc, value_bphc))
    scores = layers.einsum("bhpc,bhsc->bhps", query, key, dtype)
    scores = jnp.where(mask[:, None], scores, layers._MASKED)
    top = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    weights = jnp.exp(scores - top)
    mixed = layers.einsum("bhps,bhsc->bhpc", weights, value, dtype)
    return (mixed / jnp.sum(weights, axis=-1, keepdims=True)).swapaxes(1, 2)


def pool(
    hidden: Float[Array, "b p d"],
    mask: Bool[Array, "b p"],
    pooling: str,
    normalize: bool,
) -> Float[Array, "b d"]:
    """One vector a text.

    Args:
      hidden: of `Encoder`.
      mask: True at real tokens.
      pooling: "cls", the first token's vector, or "mean", over real tokens.
      normalize: divide by the L2 norm.

    Raises:
      ValueError: for another pooling.
    """
    if pooling not in _POOLINGS:
        raise ValueError(f"pooling is {pooling!r}; choose one of {sorted(_POOLINGS)}.")
    vector = _POOLINGS[pooling](hidden, mask)
    if not normalize:
        return vector
    square = jnp.sum(jnp.square(vector), axis=-1, keepdims=True)
    # The floor is torch's; under the root, so that a zero vector has a gradient.
    return vector * jax.lax.rsqrt(jnp.maximum(square, 1e-24))


def _mean(hidden: Float[Array, "b p d"], mask: Bool[Array, "b p"]):
    weights = mask[..., None].astype(hidden.dtype)
    count = jnp.maximum(jnp.sum(weights, axis=1), 1.0)
    return jnp.sum(hidden * weights, axis=1) / count


_POOLINGS: dict[str, Callable] = {"cls": lambda hidden, _: hidden[:, 0], "mean": _mean}
