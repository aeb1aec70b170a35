"""Log-likelihoods of target tokens, without ever holding all vocabulary logits."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, DTypeLike, Float, Int

_WORDS = 4096  # whose gradient is summed over the devices at a time

FORMS = ("mean_log_likelihood", "log_likelihood", "likelihood", "mean_likelihood")


def token_log_likelihood(
    hidden: Float[Array, "b t d"],
    head: Float[Array, "v d"],
    targets: Int[Array, "b t"],
    *,
    mask: Bool[Array, "b t"] | None = None,
    block_tokens: int = 512,
    num_parts: int | None = None,
    scatter: Callable[[Array], Array] | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "b t"]:
    """log softmax(head · hidden)[target] at each target position, in blocks.

    Logits of `b t v` floats would be the largest array of a training step by far (64
    rows of 512 targets over 32,000 words: 4 GB). Here a block of positions at a time
    meets the head, forward and again backward. Masked positions are moved to the end,
    and blocks of them alone are not computed: rows hold very unlike numbers of targets.

    Args:
      hidden: the decoder's output at the positions that predict the targets.
      head: the LM head.
      targets: token ids, each under `v`; anything at masked positions.
      mask: True for the positions that are wanted; None: all.
      block_tokens: positions a block, over the whole batch; at least one a part.
      num_parts: devices that the rows are split over; positions are moved, and blocks
        filled, within a part. None, or no divisor of the rows: each row is a part.
      scatter: splits some words' gradient, [w d], over the devices as the head's is to
        be split; none of them then holds that as a whole. None: each does.
      dtype: of both inputs of the matrix products; sums are float32.

    Returns:
      Nats, float32; 0 or any other number at masked positions.
    """
    batch, num_targets, _ = hidden.shape
    num_parts = num_parts if num_parts and batch % num_parts == 0 else batch
    size = batch * num_targets // num_parts
    block = max(min(block_tokens // num_parts, size), 1)
    padding = max(-(-size // block), 1) * block - size

    def to_parts(x: Array) -> Array:
        x = x.reshape(num_parts, size, *x.shape[2:])
        return jnp.pad(x, ((0, 0), (0, padding), *[(0, 0)] * (x.ndim - 2)))

    hidden, targets = to_parts(hidden), to_parts(targets)
    if mask is None:
        used = jnp.asarray(-(-size // block))
        found = _blockwise(hidden, head, targets, used, block, dtype, scatter)
    else:
        mask = to_parts(mask)
        used = -(-jnp.max(jnp.sum(mask, axis=1)) // block)
        order = jnp.argsort(~mask, axis=1, stable=True)
        moved = _take(hidden, order), _take(targets, order)
        found = _blockwise(moved[0], head, moved[1], used, block, dtype, scatter)
        found = _take(found, jnp.argsort(order, axis=1))
    return found[:, :size].reshape(batch, num_targets)


def block_tokens_of(num_words: int, memory_bytes: float) -> int:
    """Positions of a device's block whose logits take a 32nd of its memory.

    Example: 1,300 for 32,000 words in 16 GB: logits, their exponentials and gradients.

    Args:
      num_words: of the vocabulary that a device has.
      memory_bytes: of the device.
    """
    fitting = memory_bytes / 32 / (3 * 4 * num_words)
    return max(128, int(fitting) // 128 * 128)


def sequence_score(
    token_log_likelihood: Float[Array | np.ndarray, "*b l"],
    mask: Bool[Array | np.ndarray, "*b l"],
    form: str,
) -> Float[Array, "*b"]:
    """One number a sequence, in one of four forms; score_LM of RA-DIT's Eq. 4.

    Example: tokens of probability 0.5 and 0.125 score, in the order of `FORMS`,
    ln(1/16)/2 = -1.386, ln(1/16) = -2.773, 1/16 and 1/4.

    Args:
      token_log_likelihood: nats.
      mask: True for the tokens of the answer.
      form: "log_likelihood", the sum; "mean_log_likelihood", a token's mean (Atlas);
        "likelihood" and "mean_likelihood", exp of these (REPLUG takes the first).

    Returns:
      Float32: nats, or probabilities. A sequence without tokens has mean 0 nats.

    Raises:
      ValueError: for another form.
    """
    if form not in FORMS:
        raise ValueError(f"the score's form is {form!r}; choose one of {FORMS}.")
    log_likelihood = jnp.where(mask, token_log_likelihood.astype(jnp.float32), 0.0)
    score = jnp.sum(log_likelihood, axis=-1)
    if form.startswith("mean_"):
        score /= jnp.maximum(jnp.sum(mask, axis=-1), 1)
    return score if form.endswith("log_likelihood") else jnp.exp(score)


def _take(x: Array, places: Int[Array, "p n"]) -> Array:
    """[p n …] in another order, each part from itself."""
    return jax.vmap(lambda part, some: part[some])(x, places)


def _einsum(spec: str, x: Array, y: Array, dtype: DTypeLike) -> Array:
    # float32 means float32: accelerators would otherwise round the inputs.
    is_float32 = jnp.dtype(dtype) == jnp.float32
    return jnp.einsum(
        spec,
        x.astype(dtype),
        y.astype(dtype),
        precision=jax.lax.Precision.HIGHEST if is_float32 else None,
        preferred_element_type=jnp.float32,
    )


def _logits(
    hidden: Float[Array, "p t d"], head: Float[Array, "v d"], dtype: DTypeLike
) -> Float[Array, "p t v"]:
    return _einsum("ptd,vd->ptv", hidden, head, dtype)


def _is_target(targets: Int[Array, "p t"], num_words: int) -> Bool[Array, "p t v"]:
    # Not a gather: a comparison also runs in place where the head is cut over `v`.
    return targets[..., None] == jnp.arange(num_words)[None, None, :]


def _block(x: Array, i: Int[Array, ""], size: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(x, i * size, size, axis=1)


def _set_block(x: Array, block: Array, i: Int[Array, ""]) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(x, block, i * block.shape[1], axis=1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def _blockwise(
    hidden: Float[Array, "p n d"],
    head: Float[Array, "v d"],
    targets: Int[Array, "p n"],
    used: Int[Array, ""],  # blocks that are computed, the first ones
    size: int,  # of a block
    dtype: DTypeLike,
    scatter: Callable[[Array], Array] | None,
) -> Float[Array, "p n"]:
    return _blockwise_forward(hidden, head, targets, used, size, dtype, scatter)[0]


def _blockwise_forward(hidden, head, targets, used, size, dtype, scatter):
    del scatter

    def step(i, found):
        logits = _logits(_block(hidden, i, size), head, dtype)
        is_target = _is_target(_block(targets, i, size), head.shape[0])
        target_logit = jnp.sum(jnp.where(is_target, logits, 0.0), axis=-1)
        log_normalizer = jax.nn.logsumexp(logits, axis=-1)
        block = target_logit - log_normalizer, log_normalizer
        return tuple(_set_block(x, y, i) for x, y in zip(found, block, strict=True))

    zeros = jnp.zeros(targets.shape, jnp.float32)
    found, log_normalizer = jax.lax.fori_loop(0, used, step, (zeros, zeros))
    return found, (hidden, head, targets, used, log_normalizer)


def _blockwise_backward(size, dtype, scatter, saved, cotangent):
    """∂ log p(target) / ∂ logits = 1[target] - softmax, from recomputed logits."""
    *inputs, used, log_normalizer = saved
    hidden, head, targets = inputs

    def step(i, gradients):
        hidden_gradient, head_gradient = gradients
        here, normalizer = _block(hidden, i, size), _block(log_normalizer, i, size)
        probability = jnp.exp(_logits(here, head, dtype) - normalizer[..., None])
        indicator = _is_target(_block(targets, i, size), head.shape[0])
        gradient = _block(cotangent, i, size)[..., None] * (indicator - probability)
        # In `dtype` like the forward pass: float32 here would halve bfloat16's speed.
        head_gradient = _add_product(head_gradient, gradient, here, dtype, scatter)
        more = _einsum("ptv,vd->ptd", gradient, head, dtype).astype(hidden.dtype)
        return _set_block(hidden_gradient, more, i), head_gradient

    # float32 whatever the head's dtype: a sum over blocks in bfloat16 loses most of
    # the late ones.
    zeros = jnp.zeros(head.shape, jnp.float32)
    zeros = jnp.zeros_like(hidden), zeros if scatter is None else scatter(zeros)
    hidden_gradient, head_gradient = jax.lax.fori_loop(0, used, step, zeros)
    return hidden_gradient, head_gradient.astype(head.dtype), None, None


def _add_product(
    total: Float[Array, "v d"],
    gradient: Float[Array, "p t v"],
    hidden: Float[Array, "p t d"],
    dtype: DTypeLike,
    scatter: Callable[[Array], Array] | None,
) -> Float[Array, "v d"]:
    """Adds a block's part of the head's gradient; scattered some words at a time."""
    product = functools.partial(_einsum, "ptv,ptd->vd", y=hidden, dtype=dtype)
    if scatter is None:
        return total + product(gradient)

    def add(total: Array, first: int | Int[Array, ""], size: int) -> Array:
        words = jax.lax.dynamic_slice_in_dim(gradient, first, size, axis=2)
        more = scatter(product(words))
        more += jax.lax.dynamic_slice_in_dim(total, first, size)
        return jax.lax.dynamic_update_slice_in_dim(total, more, first, axis=0)

    size = min(_WORDS, len(total))
    num, rest = divmod(len(total), size)
    total = jax.lax.fori_loop(0, num, lambda i, t: add(t, i * size, size), total)
    return add(total, num * size, rest) if rest else total


_blockwise.defvjp(_blockwise_forward, _blockwise_backward)
