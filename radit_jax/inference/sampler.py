"""Sampler: greedy answers, and scores of given answers, from one prefilled KV cache.

An answer ends at eos or at any token whose text holds a newline. Both count as an
end when decoding; a given answer is scored as its tokens and then eos, the end that
fine-tuning teaches, so that scores of answers that ended differently compare.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from radit_jax.inference import cached_steps
from radit_jax.inference.placement import PlacedDecoder, Tokens, right_pad, round_up
from radit_jax.models import kv_cache
from radit_jax.models.decoder import Decoder

_PROMPT_MULTIPLE = 64  # tokens; every bucket is a shape to compile
_ANSWERS_MULTIPLE = 32  # tokens


@dataclasses.dataclass(frozen=True)
class Prefilled:
    """A batch of prompts in the cache, which lives for this batch alone."""

    cache: kv_cache.Cache
    lengths: Int[Array, "b"]  # prompt tokens
    hidden: Float[Array, "b d"]  # after the prompt's last token
    present: Bool[Array, "b"]  # False: the row only fills the batch
    num_tokens: tuple[int, ...]  # `lengths` of the rows that are present


class Sampler:
    """Greedy decoding, and scoring of given answers, on a static KV cache.

    Args:
      decoder: the language model.
      eos_id: ends an answer.
      stop_mask: True at every other token that ends an answer (a newline's).
      max_new_tokens: tokens decoded at most, the end included.
      mesh: devices to spread parameters and batches over; None: the default device.

    Raises:
      ValueError: where the mask is not as long as the model's vocabulary.
    """

    def __init__(
        self,
        decoder: Decoder,
        *,
        eos_id: int,
        stop_mask: Bool[np.ndarray, "v"],
        max_new_tokens: int,
        mesh: Mesh | None = None,
    ):
        if len(stop_mask) != decoder.config.vocab_size:
            raise ValueError(
                f"the stop mask has {len(stop_mask)} entries, but the model has "
                f"{decoder.config.vocab_size} tokens; build it for this model."
            )
        self.eos_id = eos_id
        self.max_new_tokens = max_new_tokens
        self._stop = stop_mask | (np.arange(len(stop_mask)) == eos_id)
        self._placed = PlacedDecoder(decoder, mesh)
        # The last decoded token is never read, so it needs no slot.
        slots = {"num_free": max_new_tokens - 1}
        limits = slots | {"max_new_tokens": max_new_tokens, "eos_id": eos_id}
        self._prefill = self._compile(cached_steps.prefill, **slots)
        self._decode = self._compile(cached_steps.decode, donate="cache", **limits)
        self._rescore = self._compile(cached_steps.rescore, **slots)

    def prefill(self, prompts: Sequence[Tokens], num_rows: int = 0) -> Prefilled:
        """Runs the prompts once and keeps their keys and values.

        Args:
          prompts: token ids, at least one each.
          num_rows: rows of the batch; more than prompts: the rest is filled up, so
            that a last, smaller batch compiles nothing. 0: as many as prompts.

        Raises:
          ValueError: an empty prompt, one too long, or more prompts than rows.
        """
        num_rows = num_rows or len(prompts)
        self._check_prompts(prompts, num_rows)
        num_tokens = tuple(len(prompt) for prompt in prompts)
        num_slots = round_up(max(num_tokens), _PROMPT_MULTIPLE)
        tokens, lengths, present = self._placed.put(
            (
                right_pad(prompts, num_rows, num_slots),
                np.array([*num_tokens, *[1] * (num_rows - len(prompts))], np.int32),
                np.arange(num_rows) < len(prompts),
            )
        )
        _, (cache, hidden) = self._prefill(tokens=tokens, lengths=lengths)
        return Prefilled(cache, lengths, hidden, present, num_tokens)

    def decode(
        self, prefilled: Prefilled, log_p_r: Float[np.ndarray, "q k"] | None = None
    ) -> tuple[Int[np.ndarray, "b m"], Int[np.ndarray, "b"], Prefilled]:
        """Greedy answers.

        Args:
          prefilled: used up: its cache is written in place. Go on with the returned.
          log_p_r: None: each row decodes by itself. Else rows q·k ... q·k + k-1 are
            the chunks of question q, -inf where it has fewer, and advance together
            on the next-token distribution mixed by log p_R (`ops.mix_tokens`).

        Returns:
          tokens: `max_new_tokens` a row, eos after the end.
          num_tokens: how many of them are the answer. A stop token counts, for it
            may hold text before its newline; eos does not.
          The prefilled prompts again, for `rescore`.
        """
        (tokens, num_tokens), cache = self._decode(
            cache=prefilled.cache,
            lengths=prefilled.lengths,
            hidden=prefilled.hidden,
            present=prefilled.present,
            stop=self._stop,
            log_p_r=log_p_r,
        )
        tokens, num_tokens = jax.device_get((tokens, num_tokens))
        rows = len(prefilled.num_tokens)
        prefilled = dataclasses.replace(prefilled, cache=cache)
        return tokens[:rows], num_tokens[:rows], prefilled

    def rescore(
        self, prefilled: Prefilled, answers: Sequence[Sequence[Tokens]]
    ) -> list[Float[np.ndarray, "_a"]]:
        """log p(answer | prompt), each row's answers in one forward over its cache.

        Args:
          prefilled: the prompts; still good afterwards.
          answers: for each prompt any number of answers, at least one token each,
            with the eos that shall count.

        Returns:
          For each prompt a summed float32 log-likelihood (nats) an answer.

        Raises:
          ValueError: rows that do not match, an empty answer, or one too long.
        """
        self._check_answers(prefilled, answers)
        if not any(answers):
            return [np.empty(0, np.float32) for _ in answers]
        batch = _lay_out(answers, len(prefilled.lengths))
        log_likelihood, _ = self._rescore(
            cache=prefilled.cache,
            lengths=prefilled.lengths,
            hidden=prefilled.hidden,
            **self._placed.put(batch),
        )
        return [
            _sum_each(row, [len(answer) for answer in given])
            for row, given in zip(np.asarray(log_likelihood), answers, strict=False)
        ]

    @property
    def num_traces(self) -> int:
        """Batch shapes compiled so far, over all three steps."""
        return self._placed.num_traces

    def _compile(self, step, donate: str | None = None, **static):
        return self._placed.compile(functools.partial(step, **static), donate)

    def _check_prompts(self, prompts: Sequence[Tokens], num_rows: int) -> None:
        if not prompts or len(prompts) > num_rows:
            raise ValueError(
                f"{len(prompts)} prompts for a batch of {num_rows} rows; give at "
                "least one, and no more than rows."
            )
        for i, prompt in enumerate(prompts):
            if not prompt:
                raise ValueError(f"prompt {i} is empty; start prompts with bos.")
            num_tokens = len(prompt) + self.max_new_tokens
            self._placed.check_positions(num_tokens, f"prompt {i} with its answer")

    def _check_answers(
        self, prefilled: Prefilled, answers: Sequence[Sequence[Tokens]]
    ) -> None:
        if len(answers) != len(prefilled.num_tokens):
            raise ValueError(
                f"answers for {len(answers)} rows, but {len(prefilled.num_tokens)} "
                "prompts are prefilled; give a list a prompt, empty where none."
            )
        for i, given in enumerate(answers):
            if not all(given):
                raise ValueError(f"row {i} has an empty answer; end answers with eos.")
            longest = max((len(answer) for answer in given), default=0)
            num_tokens = prefilled.num_tokens[i] + longest
            self._placed.check_positions(num_tokens, f"prompt {i} with an answer")


def _lay_out(
    answers: Sequence[Sequence[Tokens]], num_rows: int
) -> dict[str, Int[np.ndarray, "b _"]]:
    """A row's answers one after another; an answer's last token is only a target.

    Example: answers (7, 8, 2) and (9, 2), where 2 is eos, become tokens (7, 8, 9),
    offsets (0, 1, 0), segments (1, 1, 2), sources (0, 1, 2, 0, 3) and targets
    (7, 8, 2, 9, 2).
    """
    fields = ("tokens", "offsets", "segment_ids", "sources", "targets")
    rows: dict[str, list[list[int]]] = {f: [[] for _ in answers] for f in fields}
    for r, given in enumerate(answers):
        for segment, answer in enumerate(given, start=1):
            start, num_fed = len(rows["tokens"][r]), len(answer) - 1
            rows["tokens"][r] += answer[:-1]
            rows["offsets"][r] += range(num_fed)
            rows["segment_ids"][r] += [segment] * num_fed
            rows["sources"][r] += [0, *range(start + 1, start + 1 + num_fed)]
            rows["targets"][r] += answer
    padded = {}
    for field, given in rows.items():
        num_tokens = round_up(max(map(len, given)), _ANSWERS_MULTIPLE)
        padded[field] = right_pad(given, num_rows, num_tokens)
    return padded


def _sum_each(
    log_likelihood: Float[np.ndarray, "t"], num_tokens: Sequence[int]
) -> Float[np.ndarray, "a"]:
    """Sums of consecutive runs: 2 and 1 of (-1, -2, -4) are (-3, -4)."""
    ends = np.cumsum(num_tokens, dtype=np.int64)
    runs = zip(ends - num_tokens, ends, strict=True)
    return np.array([log_likelihood[a:z].sum() for a, z in runs], np.float32)
