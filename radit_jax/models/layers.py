"""Building blocks: matrix products, norms, rotary positions and attention.

A block's parameters carry a leading `layers` axis and hold every layer at once; its
`__call__` runs on one layer's slice, as `jax.lax.scan` hands it over. Parameters,
norms and the residual stream are float32; the inputs of matrix products are cast to
`dtype`, and products are accumulated and returned in float32.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from radit_jax.models import axes, cpu_products, narrow

# Finite, so that a row that may attend to nothing (padding) yields a mean, not a NaN.
_MASKED = -1e30

Sizes = tuple[tuple[str | None, int], ...]  # (logical axis, size) of each dimension
Rope = tuple[Float[Array, "b l half"], Float[Array, "b l half"]]  # cosines, sines


@dataclasses.dataclass(frozen=True, slots=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the pre-training context."""

    kind: str  # "linear" or "llama3"
    factor: float
    low_frequency_factor: float = 1.0  # llama3 only, as are the next two
    high_frequency_factor: float = 4.0
    original_max_positions: int = 8192


def parameter(rngs: nnx.Rngs, sizes: Sizes, fill: float | None = None) -> nnx.Param:
    """A float32 parameter that names its logical axes; N(0, 0.02²) unless filled."""
    axes, shape = zip(*sizes, strict=True)
    if fill is not None:
        return nnx.Param(jnp.full(shape, fill, jnp.float32), axes=axes)
    value = 0.02 * jax.random.normal(rngs.params(), shape, jnp.float32)
    return nnx.Param(value, axes=axes)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 3, 4))
def einsum(
    spec: str, x: Array, w: Array, dtype: str, w_axes: tuple[str | None, ...] = ()
) -> Array:
    """`jnp.einsum` of two arrays cast to `dtype`, accumulated in float32.

    Its cotangent is cast to `dtype` too: automatic differentiation would multiply the
    float32 cotangent at float32 speed, whatever the inputs were.

    Args:
      spec: of the product.
      x: the first array.
      w: the second.
      dtype: of the product's inputs.
      w_axes: logical axes of `w`, where it is a parameter: see `axes.gather`.
    """
    return _einsum(spec, x, _cast(w, dtype, w_axes), dtype)


def _einsum(spec: str, x: Array, w: Array, dtype: str) -> Array:
    # float32 means float32: accelerators would otherwise round the inputs.
    precision = jax.lax.Precision.HIGHEST if dtype == "float32" else None
    plain = functools.partial(
        jnp.einsum, spec, precision=precision, preferred_element_type=jnp.float32
    )
    x, w = x.astype(dtype), w.astype(dtype)
    on_cpu = cpu_products.of(spec, x, w)
    if on_cpu is None:
        return plain(x, w)
    return jax.lax.platform_dependent(x, w, cpu=on_cpu, default=plain)


def _cast(w: Array, dtype: str, w_axes: tuple[str | None, ...]) -> Array:
    # Cast first: half as much is gathered.
    return axes.gather(w.astype(dtype), w_axes) if w_axes else w


def _einsum_forward(spec: str, x: Array, w: Array, dtype: str, w_axes):
    # Residuals are kept uncast: a scanned weight is then read again from the stack
    # that it came from, and an input that several products share is kept once.
    return _einsum(spec, x, _cast(w, dtype, w_axes), dtype), (x, w)


def _einsum_backward(spec: str, dtype: str, w_axes, residuals, cotangent: Array):
    x, w = residuals
    inputs, output = spec.split("->")
    x_letters, w_letters = inputs.split(",")
    narrow = _cast(w, dtype, w_axes)
    x_bar = _einsum(f"{output},{w_letters}->{x_letters}", cotangent, narrow, dtype)
    w_bar = _einsum(f"{x_letters},{output}->{w_letters}", x, cotangent, dtype)
    if w_axes:
        w_bar = axes.scatter(w_bar, w_axes)
    return x_bar.astype(x.dtype), w_bar.astype(w.dtype)


einsum.defvjp(_einsum_forward, _einsum_backward)


class Projection(nnx.Module):
    """An affine map from the `ins` axes to the `outs` axes."""

    def __init__(
        self,
        num_layers: int,
        ins: Sizes,
        outs: Sizes,
        *,
        bias: bool,
        dtype: str,
        rngs: nnx.Rngs,
    ):
        layers = (("layers", num_layers),)
        self.weight = parameter(rngs, (*layers, *ins, *outs))
        self.bias = parameter(rngs, (*layers, *outs), fill=0.0) if bias else None
        in_letters, out_letters = "xyz"[: len(ins)], "uvw"[: len(outs)]
        self.spec = f"bl{in_letters},{in_letters}{out_letters}->bl{out_letters}"
        self.axes = tuple(name for name, _ in (*ins, *outs))
        self.num_layers, self.ins, self.outs = num_layers, ins, outs
        self.dtype = dtype
        self.lora: LowRank | None = None  # models.lora sets it

    def __call__(self, x: Float[Array, "b l *ins"]) -> Float[Array, "b l *outs"]:
        """Maps each token's vector."""
        weight = narrow.unpack(self.weight[...])
        y = einsum(self.spec, x, weight, self.dtype, self.axes)
        y = y if self.lora is None else y + self.lora(x)
        return y if self.bias is None else y + self.bias[...][None, None]


class LowRank(nnx.Module):
    """scale · x A B: what LoRA adds to a projection (Hu et al. 2021).

    B begins at zero, so that nothing is added at first; A is drawn as PEFT draws it,
    uniformly within ±1/√inputs.
    """

    def __init__(self, projection: Projection, rank: int, scale: float, rngs: nnx.Rngs):
        ins, outs = projection.ins, projection.outs
        layers, ranks = ("layers", projection.num_layers), ("rank", rank)
        bound = math.prod(size for _, size in ins) ** -0.5
        axes, shape = zip(layers, *ins, ranks, strict=True)
        drawn = jax.random.uniform(rngs.params(), shape, jnp.float32, -bound, bound)
        self.a = nnx.LoRAParam(drawn, axes=axes)
        axes, shape = zip(layers, ranks, *outs, strict=True)
        self.b = nnx.LoRAParam(jnp.zeros(shape, jnp.float32), axes=axes)
        in_letters, out_letters = "xyz"[: len(ins)], "uvw"[: len(outs)]
        self.a_spec = f"bl{in_letters},{in_letters}r->blr"
        self.b_spec = f"blr,r{out_letters}->bl{out_letters}"
        self.merge_spec = f"n{in_letters}r,nr{out_letters}->n{in_letters}{out_letters}"
        self.scale, self.dtype = scale, projection.dtype

    def __call__(self, x: Float[Array, "b l *ins"]) -> Float[Array, "b l *outs"]:
        """What is added for each token."""
        inner = einsum(self.a_spec, x, self.a[...], self.dtype)
        return self.scale * einsum(self.b_spec, inner, self.b[...], self.dtype)

    def product(self) -> Float[Array, "n *ins_and_outs"]:
        """scale · A B, what a merged weight holds of it, float32."""
        precision = jax.lax.Precision.HIGHEST
        a, b = self.a[...], self.b[...]
        return self.scale * jnp.einsum(self.merge_spec, a, b, precision=precision)


class RMSNorm(nnx.Module):
    """x / rms(x) · scale (Zhang and Sennrich 2019). `num_layers` None: not stacked."""

    def __init__(
        self, width: int, epsilon: float, rngs: nnx.Rngs, num_layers: int | None = None
    ):
        self.scale = parameter(rngs, _stacked(width, num_layers), fill=1.0)
        self.epsilon = epsilon

    def __call__(self, x: Float[Array, "b l d"]) -> Float[Array, "b l d"]:
        """Normalises each token's vector."""
        return _rms_norm(x, self.scale[...], self.epsilon)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _rms_norm(x: Array, scale: Array, epsilon: float) -> Array:
    """x / rms(x) · scale, with the sums of its gradient as products of matrices.

    XLA's CPU backend takes over ten times longer for sums of two arrays' product.
    """
    return _rms_norm_forward(x, scale, epsilon)[0]


def _rms_norm_forward(x: Array, scale: Array, epsilon: float):
    mean_square = jnp.mean(jnp.square(x), axis=-1)
    inverse = jax.lax.rsqrt(mean_square + epsilon)
    return x * inverse[..., None] * scale[None, None], (x, scale, inverse)


def _rms_norm_backward(epsilon: float, saved, cotangent: Array):
    del epsilon
    x, scale, inverse = saved
    product = cotangent * x
    exact = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    along = exact("bld,d->bl", product, scale) * inverse**3 / x.shape[-1]
    x_bar = cotangent * scale[None, None] * inverse[..., None] - x * along[..., None]
    return x_bar, exact("bl,bld->d", inverse, product)


_rms_norm.defvjp(_rms_norm_forward, _rms_norm_backward)


class LayerNorm(nnx.Module):
    """(x − mean) / deviation · scale + bias. `num_layers` None: not stacked."""

    def __init__(
        self, width: int, epsilon: float, rngs: nnx.Rngs, num_layers: int | None = None
    ):
        sizes = _stacked(width, num_layers)
        self.scale = parameter(rngs, sizes, fill=1.0)
        self.bias = parameter(rngs, sizes, fill=0.0)
        self.epsilon = epsilon

    def __call__(self, x: Float[Array, "b l d"]) -> Float[Array, "b l d"]:
        """Normalises each token's vector."""
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        normal = _rms_norm(centred, self.scale[...], self.epsilon)
        return normal + self.bias[...][None, None]


def _stacked(width: int, num_layers: int | None) -> Sizes:
    return (*(() if num_layers is None else (("layers", num_layers),)), (None, width))


@jax.custom_vjp
def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x Φ(x), exactly (Hendrycks and Gimpel 2016).

    Its gradient is computed from x alone: automatic differentiation would keep what
    erfc is made of as well, which takes longer to write than to compute again.
    """
    return 0.5 * x * _two_phi(x)


def _two_phi(x: Array) -> Array:
    return jax.lax.erfc(-x * np.float32(math.sqrt(0.5)))


def _gelu_backward(x: Array, cotangent: Array) -> tuple[Array]:
    density = jnp.exp(-0.5 * jnp.square(x)) * np.float32(1 / math.sqrt(2 * math.pi))
    return (cotangent * (0.5 * _two_phi(x) + x * density),)


gelu.defvjp(lambda x: (gelu(x), x), _gelu_backward)


def rope_frequencies(
    head_width: int, theta: float, scaling: RopeScaling | None
) -> np.ndarray:
    """Radians per position of each pair of a head's axes, float32 [c/2].

    RoPE (Su et al. 2021): theta^(−2i/c). "linear" divides all by the factor; "llama3"
    only the slow ones, with a smooth passage between (Llama 3.1's `rope_scaling`).
    """
    exponents = np.arange(0, head_width, 2, dtype=np.float32) / head_width
    frequencies = (1.0 / np.float32(theta) ** exponents).astype(np.float32)
    if scaling is None:
        return frequencies
    if scaling.kind == "linear":
        return frequencies / np.float32(scaling.factor)
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    turns = scaling.original_max_positions * frequencies / (2 * math.pi)
    keep = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return (frequencies * (keep + (1 - keep) / scaling.factor)).astype(np.float32)


def rope_table(positions: Int[Array, "b l"], frequencies: np.ndarray) -> Rope:
    """Cosines and sines of every position, computed once for all layers."""
    angles = positions[..., None].astype(jnp.float32) * frequencies[None, None]
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: Float[Array, "b l h c"], rope: Rope) -> Float[Array, "b l h c"]:
    """Turns axes (i, i + c/2) of each head by the position's angle: HF's pairing."""
    cosines, sines = (table[:, :, None] for table in rope)
    first, second = jnp.split(x, 2, axis=-1)
    turned = (first * cosines - second * sines, second * cosines + first * sines)
    return jnp.concatenate(turned, axis=-1)


def attend(
    query_blhc: Float[Array, "b l h c"],
    key_bsgc: Float[Array, "b s g c"],
    value_bsgc: Float[Array, "b s g c"],
    mask: Bool[Array, "b #l s"],
    dtype: str,
) -> Float[Array, "b l h c"]:
    """softmax(q·k / √c) v, with h/g query heads reading each key/value head.

    A query that may attend to no key gets the mean of the values: finite, as are its
    gradients.
    """
    *batch_and_length, num_heads, c = query_blhc.shape
    g = key_bsgc.shape[2]
    scaled = query_blhc * c**-0.5
    grouped = scaled.reshape(*batch_and_length, g, num_heads // g, c)
    scores = einsum("blgrc,bsgc->bglrs", grouped, key_bsgc, dtype)
    scores = jnp.where(mask[:, None, :, None], scores, _MASKED)
    top = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    weights = jnp.exp(scores - top)
    mixed = einsum("bglrs,bsgc->blgrc", weights, value_bsgc, dtype)
    # Dividing after the product touches c numbers a query instead of s, as in flash
    # attention.
    totals = jnp.sum(weights, axis=-1).swapaxes(1, 2)[..., None]
    return (mixed / totals).reshape(query_blhc.shape)


def maybe_remat(body: Callable, remat: bool) -> Callable:
    """A scanned body that recomputes its activations in the backward pass, if asked."""
    # Scan already keeps XLA from merging the two computations.
    return jax.checkpoint(body, prevent_cse=False) if remat else body
