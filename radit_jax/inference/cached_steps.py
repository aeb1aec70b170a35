"""The compiled steps on cached keys and values: prefill, decode, rescore.

A prompt's cache is written once, by `prefill`, and only read afterwards; an answer
that is decoded or scored has slots of its own. So a step copies no cache, answers can
be scored on the cache that they were decoded from, and demonstrations before all
prompts are one row that every row reads (`Prefix`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from radit_jax.inference import cached_forward, choosing
from radit_jax.inference.attention import Cache
from radit_jax.inference.cached_forward import Prefix, Prompts
from radit_jax.inference.choosing import Sampling
from radit_jax.inference.streams import Rows
from radit_jax.models import narrow, span_attention
from radit_jax.models.decoder import Decoder
from radit_jax.ops import likelihood, masks


class Answers(NamedTuple):
    """The answers so far; `advance` goes on from them."""

    step: Int[Array, ""]  # tokens chosen, in the rows that have not ended
    cache: Cache  # [layers b g m-1 c]: of the tokens that were read
    tokens: Int[Array, "b m"]  # eos after the end
    num_tokens: Int[Array, "b"]  # of the answer, without eos
    finished: Bool[Array, "b"]


def prefill(
    decoder: Decoder,
    tokens: Int[Array, "m n"],
    offsets: Int[Array, "m n"],
    rows: Rows,
    lengths: Int[Array, "b"],
    prefix: Prefix | None,
) -> tuple[None, Prompts]:
    """Reads the prompts.

    Args:
      decoder: the language model.
      tokens: the prompts, in streams.
      offsets: of each token in its prompt.
      rows: where the prompts are.
      lengths: of the prompts; 1 where a row only fills the batch.
      prefix: that comes before each prompt.
    """
    config, width = decoder.config, rows.slots.shape[-1]
    places = jnp.arange(width)[None]
    own = masks.causal(width)[None] & cached_forward.near(config, places, places)
    row_positions = cached_forward.starts(prefix, len(lengths))[:, None] + places
    positions = offsets + (0 if prefix is None else prefix.length[:, None])
    past = [] if prefix is None else [prefix.cache]
    by_row = cached_forward.seen_prefix(config, prefix, row_positions)
    by_token = cached_forward.seen_prefix(config, prefix, positions)
    dtype = config.compute_dtype
    spans = span_attention.spans_of(offsets, config.sliding_window)

    def mix(*arrays):
        return jax.lax.platform_dependent(
            *arrays,
            cpu=cached_forward.mix_streams(rows, spans, by_token, dtype),
            default=cached_forward.mix_rows(rows, own, by_row, dtype),
        )

    x, cache = cached_forward.read(decoder, tokens, positions, mix, past)
    last = jnp.take_along_axis(
        rows.slots, lengths.reshape(*rows.slots.shape[:2], 1) - 1, axis=2
    )
    hidden = jax.vmap(lambda stream, slots: stream[slots])(x, last[..., 0])
    hidden = decoder.final_norm(hidden)
    return None, Prompts(cache, lengths, hidden.reshape(-1, hidden.shape[-1]), prefix)


def begin(
    decoder: Decoder, tokens: Int[Array, "b m"], present: Bool[Array, "b"]
) -> tuple[None, Answers]:
    """Answers without any token; rows that are not present have finished.

    Args:
      decoder: the language model.
      tokens: eos everywhere.
      present: False where a row only fills the batch.
    """
    config = decoder.config
    batch, max_tokens = tokens.shape
    # The last token is never read, so it needs no slot.
    slots = batch, config.num_kv_heads, max(1, max_tokens - 1), config.head_width
    shape = config.num_layers, *slots
    empty = jnp.zeros(shape, narrow.stored(config.compute_dtype))
    return None, Answers(
        step=jnp.int32(0),
        cache=Cache(empty, empty),
        tokens=tokens,
        num_tokens=jnp.zeros(batch, jnp.int32),
        finished=~present,
    )


def advance(
    decoder: Decoder,
    answers: Answers,
    prompts: Prompts,
    seeds: UInt32[Array, "b"],
    stop: Bool[Array, "v"],
    log_p_r: Float[Array, "q k"] | None,
    until: Int[Array, ""],
    few: Int[Array, ""],
    *,
    sampling: Sampling,
    eos_id: int,
) -> tuple[tuple[Array, ...], Answers]:
    """Adds tokens to the rows that have not finished.

    Ends after `until` tokens, or as soon as no more than `few` rows go on.

    Returns:
      What hosts look at: step, tokens, num_tokens and finished. Kept: the answers.
    """

    # Once, and not at every token.
    head = decoder.head.astype(decoder.config.compute_dtype)

    def body(state: Answers) -> Answers:
        # The token of the step before was chosen but not read.
        hidden, cache = jax.lax.cond(
            state.step > 0,
            lambda: _read_newest(decoder, prompts, state),
            lambda: (prompts.hidden, state.cache),
        )
        logits = decoder.logits(hidden[:, None], head)[:, 0]
        chosen = choosing.choose(logits, log_p_r, seeds, state.step, sampling)
        chosen = jnp.where(state.finished, eos_id, chosen)
        goes_on = ~state.finished & (chosen != eos_id)
        return Answers(
            step=state.step + 1,
            cache=cache,
            tokens=jax.lax.dynamic_update_slice_in_dim(
                state.tokens, chosen[:, None], state.step, axis=1
            ),
            num_tokens=state.num_tokens + goes_on,
            finished=state.finished | stop[chosen],
        )

    answers = jax.lax.while_loop(
        lambda state: (state.step < until) & (jnp.sum(~state.finished) > few),
        body,
        answers,
    )
    shown = (answers.step, answers.tokens, answers.num_tokens, answers.finished)
    return shown, answers


def _read_newest(
    decoder: Decoder, prompts: Prompts, answers: Answers
) -> tuple[Float[Array, "b d"], Cache]:
    slot = answers.step - 1
    newest = jax.lax.dynamic_slice_in_dim(answers.tokens, slot, 1, axis=1)
    starts = cached_forward.starts(prompts.prefix, len(newest)) + prompts.lengths
    positions = (starts + slot)[:, None]
    places = jnp.arange(answers.cache.num_slots)[None]
    window = cached_forward.window(decoder.config)
    answered = (places < slot) & (slot - places < window)
    past, seen = cached_forward.seen(decoder.config, prompts, positions)
    own, seen = jnp.ones((1, 1, 1), bool), [*seen, answered[:, None]]
    mix = cached_forward.mix_rows(None, own, seen, decoder.config.compute_dtype)
    x, new = cached_forward.read(
        decoder, newest, positions, mix, [*past, answers.cache]
    )
    start = (0, 0, 0, slot, 0)
    cache = Cache(
        *(
            jax.lax.dynamic_update_slice(old, fresh, start)
            for old, fresh in zip(answers.cache, new, strict=True)
        )
    )
    return decoder.final_norm(x)[:, 0], cache


def rescore(
    decoder: Decoder,
    prompts: Prompts,
    tokens: Int[Array, "m n"],
    offsets: Int[Array, "m n"],
    row_of: Int[Array, "m n"],
    rows: Rows,
    ends: Int[Array, "b w"],
    row_offsets: Int[Array, "b w"],
    sources: Int[Array, "m t"],
    targets: Int[Array, "m t"],
) -> tuple[Float[Array, "m t"], None]:
    """log p of every target token, given answers in one forward over the caches.

    Args:
      decoder: the language model.
      prompts: of `prefill`.
      tokens: in streams, row by row the answers as a tree: see `AnswerRows`.
      offsets: of each token in its answer.
      row_of: of each token, its prompt's row in the stream.
      rows: where the tokens are.
      ends: in each row, of each token, where those end that see it; 0 for padding.
      row_offsets: `offsets` in rows.
      sources: what predicts each target: i < r is prompt i of the stream's r, r + i
        is token i.
      targets: all tokens of all answers.
    """
    starts = (
        cached_forward.starts(prompts.prefix, len(prompts.lengths)) + prompts.lengths
    )
    by_stream = starts.reshape(len(tokens), -1)
    positions = jnp.take_along_axis(by_stream, row_of, axis=1) + offsets
    row_positions = starts[:, None] + row_offsets
    own = masks.tree_causal(ends)
    own &= cached_forward.near(decoder.config, row_positions, row_positions)
    past, seen = cached_forward.seen(decoder.config, prompts, row_positions)
    mix = cached_forward.mix_rows(rows, own, seen, decoder.config.compute_dtype)
    x, _ = cached_forward.read(decoder, tokens, positions, mix, past)
    first = prompts.hidden.reshape(len(tokens), -1, x.shape[-1])
    x = jnp.concatenate([first, decoder.final_norm(x)], axis=1)
    x = jax.vmap(lambda stream, places: stream[places])(x, sources)
    dtype = decoder.config.compute_dtype
    return likelihood.token_log_likelihood(x, decoder.head, targets, dtype=dtype), None


def select(state: tuple, rows: Int[Array, "b2"]) -> tuple:
    """Some rows of prompts and answers, for fewer to go on with."""
    prompts, answers = state
    cache, kept = (
        Cache(*(x[:, rows] for x in some.cache)) for some in (prompts, answers)
    )
    prompts = prompts._replace(
        cache=cache, lengths=prompts.lengths[rows], hidden=prompts.hidden[rows]
    )
    fields = ("tokens", "num_tokens", "finished")
    chosen = {name: getattr(answers, name)[rows] for name in fields}
    return prompts, answers._replace(cache=kept, **chosen)
