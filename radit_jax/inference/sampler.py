"""Sampler: answers to prompts, and scores of given answers, from the same caches.

An answer ends at eos or where its text holds a stop string. Both count as an end when
decoding; a given answer is scored as the tokens that are given, so whoever
compares answers that ended differently gives each its eos, the end that fine-tuning
teaches.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Int

from radit_jax.inference import cached_steps
from radit_jax.inference.answer_rows import AnswerRows
from radit_jax.inference.batch import LOOK_EVERY, Batch, Limits, Steps
from radit_jax.inference.cached_forward import Prefix, Prompts
from radit_jax.inference.choosing import Sampling
from radit_jax.inference.decoding import Decoding
from radit_jax.inference.placement import PlacedDecoder, Tokens, batch_rows
from radit_jax.inference.streams import Layout
from radit_jax.models.decoder import Decoder

_MAX_PREFIXES = 8  # kept: one a task, and shorter ones of its longest questions


@dataclasses.dataclass(frozen=True)
class Prefilled:
    """A batch of prompts in the cache, which lives for this batch alone."""

    prompts: Prompts
    present: Bool[np.ndarray, "b"]  # False: the row only fills the batch
    num_tokens: tuple[int, ...]  # of the rows that are present, prefix included


class Sampler:
    """Decoding, and scoring of given answers, on caches of their prompts.

    Args:
      decoder: the language model.
      eos_id: ends an answer.
      mesh: devices to spread parameters and batches over; None: the default device.
    """

    def __init__(self, decoder: Decoder, *, eos_id: int, mesh: Mesh | None = None):
        self.eos_id = eos_id
        self._placed = PlacedDecoder(decoder, mesh)
        self._num_devices = 1  # that a batch is spread over
        if mesh is not None:
            self._num_devices = mesh.shape["data"] * mesh.shape["fsdp"]
        self._prefixes: dict[tuple[int, ...], Prefix] = {}
        self._advance: dict[Sampling, Callable] = {}
        self._prefill = self._placed.compile(cached_steps.prefill)
        self._begin = self._placed.compile(cached_steps.begin)
        self._rescore = self._placed.compile(cached_steps.rescore)
        self._select = jax.jit(cached_steps.select)

    def set_params(self, params: Any) -> None:
        """Others, placed as the first were: what is compiled and no cache is kept."""
        self._placed.set_params(params)
        self._prefixes.clear()

    def batch_rows(self, num: int, batch_size: int) -> int:
        """Rows of a batch for so many prompts, of `batch_size` at most."""
        return batch_rows(num, batch_size, self._num_devices)

    def prefill(
        self, prompts: Sequence[Tokens], num_rows: int = 0, prefix: Tokens = ()
    ) -> Prefilled:
        """Runs the prompts once and keeps their keys and values.

        Args:
          prompts: token ids, at least one each.
          num_rows: rows of the batch; more than prompts: the rest is filled up, so
            that a last, smaller batch compiles nothing. 0: as many as prompts.
          prefix: tokens before every prompt, such as demonstrations. They are read
            once for all batches that have the same.

        Raises:
          ValueError: an empty prompt, one too long, or more prompts than rows.
        """
        num_rows = num_rows or len(prompts)
        self._check_prompts(prompts, num_rows, len(prefix))
        read = self._read(prompts, num_rows, self._read_prefix(tuple(prefix)))
        present = np.arange(num_rows) < len(prompts)
        num_tokens = tuple(len(prefix) + len(prompt) for prompt in prompts)
        return Prefilled(read, present, num_tokens)

    def decode(
        self,
        prefilled: Prefilled,
        decoding: Decoding,
        log_p_r: Float[np.ndarray, "q k"] | None = None,
        seeds: Sequence[int] | None = None,
        watch: Callable[[np.ndarray, np.ndarray], None] | None = None,
    ) -> tuple[Int[np.ndarray, "b m"], Int[np.ndarray, "b"]]:
        """Answers; rows that have finished do not keep the others company.

        Args:
          prefilled: the prompts; still good afterwards.
          decoding: how; its texts are cut at the stop strings, these tokens are not.
          log_p_r: None: each row decodes by itself. Else rows q·k ... q·k + k-1 are
            the chunks of question q, -inf where it has fewer, and advance together
            on the next-token distribution mixed by log p_R (`ops.mix_tokens`).
          seeds: of each prompt's draws, under 2³²; a question's first counts.
            None: the sampling's seed everywhere.
          watch: called after every token with what is returned, so far. What it
            raises ends the decoding.

        Returns:
          tokens: the most that are allowed a row, eos after the end.
          num_tokens: how many of them are the answer. A stop token counts, for it
            may hold text before its stop string; eos does not.

        Raises:
          ValueError: a prompt too long for as many new tokens, or stop strings of
            another model's tokens.
        """
        limit, sampling = decoding.max_tokens, decoding.sampling
        for i, num_tokens in enumerate(prefilled.num_tokens):
            what = f"prompt {i} with its answer"
            self._placed.check_positions(num_tokens + limit, what)
        padded = np.full(len(prefilled.present), sampling.seed, np.uint32)
        if seeds is not None:
            padded[: len(seeds)] = seeds
        batch = Batch(
            self._steps(sampling),
            prefilled.prompts,
            prefilled.present,
            log_p_r,
            padded,
            self._limits(decoding, is_watched=watch is not None),
        )
        num = len(prefilled.num_tokens)
        while batch.has_work:
            batch.advance()
            if watch is not None:
                watch(batch.tokens[:num], batch.num_tokens[:num])
            batch.retire()
        return batch.tokens[:num], batch.num_tokens[:num]

    def rescore(
        self, prefilled: Prefilled, answers: Sequence[Sequence[Tokens]]
    ) -> list[Float[np.ndarray, "_a"]]:
        """log p(answer | prompt), all rows' answers in one forward over the cache.

        Args:
          prefilled: the prompts; still good afterwards.
          answers: for each prompt any number of answers, at least one token each,
            with the eos that shall count.

        Returns:
          For each prompt a summed float32 log-likelihood (nats) an answer.

        Raises:
          ValueError: rows that do not match, an empty answer, or one too long.
        """
        by_token = self.rescore_tokens(prefilled, answers)
        return [
            np.array([scores.sum() for scores in row], np.float32) for row in by_token
        ]

    def rescore_tokens(
        self, prefilled: Prefilled, answers: Sequence[Sequence[Tokens]]
    ) -> list[list[Float[np.ndarray, "_t"]]]:
        """As `rescore`, but a log-likelihood a token."""
        self._check_answers(prefilled, answers)
        if not any(answers):
            return [[] for _ in answers]
        num_rows = len(prefilled.present)
        rows = AnswerRows(answers, num_rows, self._num_streams(num_rows))
        arrays = self._placed.put(rows.arrays)
        found, _ = self._rescore(prompts=prefilled.prompts, **arrays)
        return rows.sort_out(np.asarray(found))

    @property
    def num_traces(self) -> int:
        """Batch shapes compiled so far, over all steps."""
        return self._placed.num_traces

    def _steps(self, sampling: Sampling) -> Steps:
        # The seed is an argument: another one compiles nothing.
        sampling = dataclasses.replace(sampling, seed=0)
        if sampling not in self._advance:
            step = functools.partial(
                cached_steps.advance, sampling=sampling, eos_id=self.eos_id
            )
            self._advance[sampling] = self._placed.compile(step, donate="answers")
        advance = self._advance[sampling]
        return Steps(self._placed.put, self._begin, advance, self._select)

    def _limits(self, decoding: Decoding, is_watched: bool) -> Limits:
        stops, vocab_size = decoding.stops, self._placed.config.vocab_size
        if len(stops.mask) != vocab_size:
            raise ValueError(
                f"the stop mask has {len(stops.mask)} entries, but the model has "
                f"{vocab_size} tokens; build it for this model."
            )
        stop = stops.mask.copy()
        stop[self.eos_id] = True
        ended = stops.ended if stops.may_span_tokens else None
        look_every = LOOK_EVERY if stops.may_span_tokens else decoding.max_tokens
        look_every = 1 if is_watched else look_every
        return Limits(decoding.max_tokens, self.eos_id, stop, ended, look_every)

    def _read_prefix(self, tokens: tuple[int, ...]) -> Prefix | None:
        if not tokens:
            return None
        if tokens not in self._prefixes:
            if len(self._prefixes) == _MAX_PREFIXES:
                del self._prefixes[next(iter(self._prefixes))]
            read = self._read([tokens], 1, None)
            self._prefixes[tokens] = Prefix(read.cache, read.lengths)
        return self._prefixes[tokens]

    def _read(
        self, prompts: Sequence[Tokens], num_rows: int, prefix: Prefix | None
    ) -> Prompts:
        arrays = prompt_arrays(prompts, num_rows, self._num_streams(num_rows))
        _, read = self._prefill(prefix=prefix, **self._placed.put(arrays))
        return read

    def _num_streams(self, num_rows: int) -> int:
        return 1 if num_rows % self._num_devices else self._num_devices

    def _check_prompts(
        self, prompts: Sequence[Tokens], num_rows: int, num_prefix: int
    ) -> None:
        if not prompts or len(prompts) > num_rows:
            raise ValueError(
                f"{len(prompts)} prompts for a batch of {num_rows} rows; give at "
                "least one, and no more than rows."
            )
        for i, prompt in enumerate(prompts):
            if not prompt:
                raise ValueError(f"prompt {i} is empty; start prompts with bos.")
            self._placed.check_positions(num_prefix + len(prompt), f"prompt {i}")

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


def prompt_arrays(
    prompts: Sequence[Tokens], num_rows: int, num_streams: int
) -> dict[str, Any]:
    """A batch of prompts, as `cached_steps.prefill` reads it.

    Args:
      prompts: token ids.
      num_rows: of the batch; at least as many as prompts.
      num_streams: that they are divided among; divides the rows.
    """
    num_tokens = [*map(len, prompts), *[0] * (num_rows - len(prompts))]
    layout = Layout(num_tokens, num_streams)
    return {
        "tokens": layout.streams(prompts),
        "offsets": layout.streams([range(num) for num in num_tokens]),
        "rows": layout.rows,
        "lengths": np.maximum(num_tokens, 1).astype(np.int32),
    }
