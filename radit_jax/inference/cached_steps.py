"""The three compiled steps on a KV cache: prefill, decode, rescore.

Slots of a row's cache, for prompts padded to P slots:

    0 ........ P-1   the prompt; slots from its length on are padding, always masked
    P, P+1, ...      decoding: token t of the answer, at position length + t
    P, P+1, ...      rescoring: the row's given answers one after another, each a
                     segment that sees the prompt and itself, from position length

The two uses of the free slots follow each other.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from radit_jax.models import kv_cache
from radit_jax.models.decoder import Decoder
from radit_jax.ops import ensemble, likelihood, masks


def prefill(
    decoder: Decoder,
    tokens: Int[Array, "b l"],
    lengths: Int[Array, "b"],
    *,
    num_free: int,
) -> tuple[None, tuple[kv_cache.Cache, Float[Array, "b d"]]]:
    """Reads the prompts.

    Returns:
      Kept: the cache of l + `num_free` slots, and the hidden state that follows each
      prompt's last token.
    """
    batch, num_slots = tokens.shape
    cache = kv_cache.empty(decoder.config, batch, num_slots + num_free)
    positions = jnp.broadcast_to(jnp.arange(num_slots)[None], tokens.shape)
    mask = masks.prefix(_in_prompt(lengths, cache.length), num_slots)
    hidden, cache = decoder(tokens, positions, mask, cache, 0)
    last = jnp.take_along_axis(hidden, lengths[:, None, None] - 1, axis=1)
    return None, (cache, last[:, 0])


def decode(
    decoder: Decoder,
    cache: kv_cache.Cache,
    lengths: Int[Array, "b"],
    hidden: Float[Array, "b d"],
    present: Bool[Array, "b"],
    stop: Bool[Array, "v"],
    log_p_r: Float[Array, "q k"] | None,
    *,
    num_free: int,
    max_new_tokens: int,
    eos_id: int,
) -> tuple[tuple[Int[Array, "b m"], Int[Array, "b"]], kv_cache.Cache]:
    """Greedy answers; ends as soon as every row has.

    Returns:
      Tokens, eos after each row's end; their number without eos. Kept: the cache.
    """
    num_prompt_slots = cache.length - num_free
    slots = jnp.arange(cache.length)[None]
    # `masks.prefix` hides the slots after the newest.
    seen = _in_prompt(lengths, cache.length) | (slots >= num_prompt_slots)

    def choose(t, hidden, finished, tokens, num_tokens):
        """Writes token t of the rows that go on."""
        chosen = _pick(decoder.logits(hidden[:, None])[:, 0], log_p_r)
        chosen = jnp.where(finished, eos_id, chosen)
        num_tokens = num_tokens + (~finished & (chosen != eos_id))
        return finished | stop[chosen], tokens.at[:, t].set(chosen), num_tokens

    def advance(state):
        t, finished, tokens, num_tokens, cache = state
        newest = jax.lax.dynamic_slice_in_dim(tokens, t - 1, 1, axis=1)
        slot = num_prompt_slots + t - 1
        hidden, cache = decoder(
            newest,
            (lengths + t - 1)[:, None],
            masks.prefix(seen, 1, slot),
            cache,
            slot,
        )
        return t + 1, *choose(t, hidden[:, 0], finished, tokens, num_tokens), cache

    tokens = jnp.full((len(lengths), max_new_tokens), eos_id, jnp.int32)
    first = choose(0, hidden, ~present, tokens, jnp.zeros_like(lengths))
    _, _, tokens, num_tokens, cache = jax.lax.while_loop(
        lambda state: (state[0] < max_new_tokens) & ~jnp.all(state[1]),
        advance,
        (jnp.int32(1), *first, cache),
    )
    return (tokens, num_tokens), cache


def rescore(
    decoder: Decoder,
    cache: kv_cache.Cache,
    lengths: Int[Array, "b"],
    hidden: Float[Array, "b d"],
    tokens: Int[Array, "b l"],
    offsets: Int[Array, "b l"],
    segment_ids: Int[Array, "b l"],
    sources: Int[Array, "b t"],
    targets: Int[Array, "b t"],
    *,
    num_free: int,
) -> tuple[Float[Array, "b t"], None]:
    """log p of every target token, given answers in one forward over the cache.

    Args:
      decoder: the language model.
      cache: of `prefill`; free slots are cut or added to hold the answers.
      lengths: prompt tokens.
      hidden: after each prompt's last token.
      tokens: a row's answers one after another, without their last tokens.
      offsets: of each token in its answer.
      segment_ids: 1, 2, ... by answer; 0 for padding.
      sources: what predicts each target: 0 is `hidden`, i + 1 is token i.
      targets: all tokens of all answers.
      num_free: free slots of the cache.
    """
    num_tokens, num_prompt_slots = tokens.shape[1], cache.length - num_free
    cache = jax.tree.map(lambda x: _resize(x, num_prompt_slots, num_tokens), cache)
    in_prompt = _in_prompt(lengths, num_prompt_slots)[:, None]
    in_prompt = jnp.repeat(in_prompt, num_tokens, axis=1)
    mask = jnp.concatenate([in_prompt, masks.segment_causal(segment_ids)], axis=-1)
    positions = lengths[:, None] + offsets
    block, _ = decoder(tokens, positions, mask, cache, num_prompt_slots)
    block = jnp.concatenate([hidden[:, None], block], axis=1)
    block = jnp.take_along_axis(block, sources[:, :, None], axis=1)
    dtype = decoder.config.compute_dtype
    return likelihood.token_log_likelihood(
        block, decoder.head, targets, dtype=dtype
    ), None


def _in_prompt(lengths: Int[Array, "b"], num_slots: int) -> Bool[Array, "b s"]:
    return jnp.arange(num_slots)[None] < lengths[:, None]


def _pick(
    logits: Float[Array, "b v"], log_p_r: Float[Array, "q k"] | None
) -> Int[Array, "b"]:
    """The likeliest token of each row, or of each question's mixture for its rows."""
    if log_p_r is None:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    log_probs = jax.nn.log_softmax(logits).reshape(*log_p_r.shape, -1)
    mixed = ensemble.mix_tokens(log_probs, log_p_r)
    chosen = jnp.argmax(mixed, axis=-1).astype(jnp.int32)
    return jnp.repeat(chosen, log_p_r.shape[1])


def _resize(
    x: Float[Array, "layers b s g c"], num_kept: int, num_free: int
) -> Float[Array, "layers b s2 g c"]:
    """Keeps the first slots and puts free ones behind them."""
    return jnp.pad(x[:, :, :num_kept], ((0, 0), (0, 0), (0, num_free), (0, 0), (0, 0)))
