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
        self, x: Float[Array, "b p d"], mask: Bool[Array, "b #p p"]
    ) -> Float[Array, "b p d"]:
        """One layer."""
        heads = (self.query(x), self.key(x), self.value(x))
        x = self.attention_norm(x + self.output(_attend(*heads, mask, self.dtype)))
        gelu = layers.gelu if self.exact_gelu else jax.nn.gelu
        return self.mlp_norm(x + self.down(gelu(self.up(x))))


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
        self,
        ids: Int[Array, "b p"],
        mask: Bool[Array, "b p"] | Bool[Array, "b p p"],
        positions: Int[Array, "b p"] | None = None,
    ) -> Float[Array, "b p d"]:
        """Hidden states of the last layer, float32.

        Args:
          ids: one text a row, or several one after the other.
          mask: True at real tokens; or [b p p], where each may attend.
          positions: of the tokens in their texts; None: 0, 1, 2, … in each row.

        Raises:
          ValueError: if the texts are longer than the position table.
        """
        places = self._positions(ids.shape[1]) if positions is None else positions
        constant = (
            self.position_embedding[...][places] + self.type_embedding[0][None, None]
        )
        x = self.embedding_norm(self.token_embedding[...][ids] + constant)
        mask = mask[:, None] if mask.ndim == 2 else mask
        graphdef, stack = nnx.split(self.layers)

        def body(x, params):
            return nnx.merge(graphdef, params)(x, mask), None

        x, _ = jax.lax.scan(layers.maybe_remat(body, self.config.remat), x, stack)
        return x

    def _positions(self, num_tokens: int) -> Int[Array, "1 p"]:
        if num_tokens > self.config.max_positions:
            raise ValueError(
                f"{num_tokens} tokens exceed this encoder's {self.config.max_positions}"
                " positions; lower the tower's max_tokens."
            )
        return jnp.arange(num_tokens)[None]


def _attend(
    query_bphc: Float[Array, "b p h c"],
    key_bphc: Float[Array, "b p h c"],
    value_bphc: Float[Array, "b p h c"],
    mask: Bool[Array, "b #p p"],
    dtype: str,
) -> Float[Array, "b p h c"]:
    """softmax(q·k / √c) v of every token over those that it may attend to.

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
    _check(pooling)
    vector = _POOLINGS[pooling](hidden, mask)
    return _unit(vector) if normalize else vector


def pool_packed(
    hidden: Float[Array, "n r p d"],
    segments: Int[Array, "n r p"],
    positions: Int[Array, "n r p"],
    num_texts: int,
    pooling: str,
    normalize: bool,
) -> Float[Array, "n q d"]:
    """As `pool`, of rows that hold several texts each.

    Args:
      hidden: of `Encoder`, n groups of rows; a text is within one row.
      segments: 1, 2, … q, the text that a token is of in its group; 0: of none.
      positions: of the tokens in their texts.
      num_texts: q, of a group.
      pooling: "cls" or "mean".
      normalize: divide by the L2 norm.

    Raises:
      ValueError: for another pooling.
    """
    _check(pooling)
    counts = (segments > 0) & ((pooling == "mean") | (positions == 0))
    numbers = 1 + jnp.arange(num_texts)
    of_text = (segments[:, None] == numbers[None, :, None, None]) & counts[:, None]
    weights = of_text.astype(hidden.dtype)
    total = jnp.einsum(
        "nqrp,nrpd->nqd", weights, hidden, precision=jax.lax.Precision.HIGHEST
    )
    vector = total / jnp.maximum(jnp.sum(weights, axis=(2, 3)), 1.0)[..., None]
    return _unit(vector) if normalize else vector


def _check(pooling: str) -> None:
    if pooling not in _POOLINGS:
        raise ValueError(f"pooling is {pooling!r}; choose one of {sorted(_POOLINGS)}.")


def _unit(vector: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    square = jnp.sum(jnp.square(vector), axis=-1, keepdims=True)
    # The floor is torch's; under the root, so that a zero vector has a gradient.
    return vector * jax.lax.rsqrt(jnp.maximum(square, 1e-24))


def _mean(hidden: Float[Array, "b p d"], mask: Bool[Array, "b p"]):
    weights = mask[..., None].astype(hidden.dtype)
    count = jnp.maximum(jnp.sum(weights, axis=1), 1.0)
    return jnp.sum(hidden * weights, axis=1) / count


_POOLINGS: dict[str, Callable] = {"cls": lambda hidden, _: hidden[:, 0], "mean": _mean}
