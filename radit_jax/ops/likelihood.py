"""Log-likelihoods of target tokens, without ever holding all vocabulary logits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, DTypeLike, Float, Int

FORMS = ("mean_log_likelihood", "log_likelihood", "likelihood", "mean_likelihood")


def token_log_likelihood(
    hidden: Float[Array, "b t d"],
    head: Float[Array, "v d"],
    targets: Int[Array, "b t"],
    *,
    block_tokens: int = 512,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "b t"]:
    """log softmax(head · hidden)[target] at each target position, in blocks.

    Logits of `b t v` floats would be the largest array of a training step by far (64
    rows of 512 targets over 32,000 words: 4 GB). Here a block of positions at a time
    meets the head, forward and again backward; blocks cut `t`, never `b`, so that a
    batch sharded over devices stays so.

    Args:
      hidden: the decoder's output at the positions that predict the targets.
      head: the LM head.
      targets: token ids, each under `v`; anything at masked positions.
      block_tokens: positions a block, over the whole batch; at least one a row.
      dtype: of both inputs of the matrix products; sums are float32.

    Returns:
      Nats, float32.
    """
    batch, num_targets, _ = hidden.shape
    num_blocks = -(-num_targets * batch // max(block_tokens, batch)) or 1
    block = -(-num_targets // num_blocks) or 1
    padding = num_blocks * block - num_targets
    hidden = jnp.pad(hidden, ((0, 0), (0, padding), (0, 0)))
    targets = jnp.pad(targets, ((0, 0), (0, padding)))
    blocks = _blockwise(
        _to_blocks(hidden, num_blocks), head, _to_blocks(targets, num_blocks), dtype
    )
    return _from_blocks(blocks)[:, :num_targets]


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


def _to_blocks(x: Array, num_blocks: int) -> Array:
    """[b (m t) …] to [m b t …]: `lax.scan` runs over the leading axis."""
    batch, num_targets, *rest = x.shape
    x = x.reshape(batch, num_blocks, num_targets // num_blocks, *rest)
    return jnp.moveaxis(x, 1, 0)


def _from_blocks(x: Array) -> Array:
    num_blocks, batch, block, *rest = x.shape
    return jnp.moveaxis(x, 0, 1).reshape(batch, num_blocks * block, *rest)


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
    hidden: Float[Array, "b t d"], head: Float[Array, "v d"], dtype: DTypeLike
) -> Float[Array, "b t v"]:
    return _einsum("btd,vd->btv", hidden, head, dtype)


def _is_target(targets: Int[Array, "b t"], num_words: int) -> Bool[Array, "b t v"]:
    # Not a gather: a comparison also runs in place where the head is cut over `v`.
    return targets[..., None] == jnp.arange(num_words)[None, None, :]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _blockwise(
    hidden: Float[Array, "m b t d"],
    head: Float[Array, "v d"],
    targets: Int[Array, "m b t"],
    dtype: DTypeLike,
) -> Float[Array, "m b t"]:
    return _blockwise_forward(hidden, head, targets, dtype)[0]


def _blockwise_forward(hidden, head, targets, dtype):
    def step(_, block):
        hidden, targets = block
        logits = _logits(hidden, head, dtype)
        target_logit = jnp.sum(
            jnp.where(_is_target(targets, head.shape[0]), logits, 0.0), axis=-1
        )
        return None, (target_logit, jax.nn.logsumexp(logits, axis=-1))

    _, (target_logit, log_normalizer) = jax.lax.scan(step, None, (hidden, targets))
    return target_logit - log_normalizer, (hidden, head, targets, log_normalizer)


def _blockwise_backward(dtype, saved, cotangent):
    """∂ log p(target) / ∂ logits = 1[target] - softmax, from recomputed logits."""
    hidden, head, targets, log_normalizer = saved

    def step(head_gradient, block):
        hidden, targets, log_normalizer, cotangent = block
        probability = jnp.exp(_logits(hidden, head, dtype) - log_normalizer[..., None])
        indicator = _is_target(targets, head.shape[0]).astype(jnp.float32)
        gradient = cotangent[..., None] * (indicator - probability)
        # In `dtype` like the forward pass: float32 here would halve bfloat16's speed.
        head_gradient += _einsum("btv,btd->vd", gradient, hidden, dtype)
        hidden_gradient = _einsum("btv,vd->btd", gradient, head, dtype)
        return head_gradient, hidden_gradient.astype(hidden.dtype)

    blocks = (hidden, targets, log_normalizer, cotangent)
    # float32 whatever the head's dtype: a sum over blocks in bfloat16 loses most of
    # the late ones.
    zeros = jnp.zeros(head.shape, jnp.float32)
    head_gradient, hidden_gradient = jax.lax.scan(step, zeros, blocks)
    return hidden_gradient, head_gradient.astype(head.dtype), None


_blockwise.defvjp(_blockwise_forward, _blockwise_backward)
