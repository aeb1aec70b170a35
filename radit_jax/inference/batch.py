"""A batch that decodes and shrinks."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, UInt32

from radit_jax.inference.cached_forward import Prompts

_MIN_ROWS = 8  # fewer are hardly faster: a step is then the time to read the weights
_MIN_STEPS = 3  # left, for fewer rows to pay for their selection
LOOK_EVERY = 16  # tokens, where a stop string may span several


class Steps(NamedTuple):
    """`cached_steps`, compiled, and what places arrays on their devices."""

    put: Callable
    begin: Callable
    advance: Callable
    select: Callable


class Limits(NamedTuple):
    """Where answers end."""

    max_tokens: int
    eos_id: int
    stop: Bool[np.ndarray, "v"]  # True at tokens that end an answer, eos too
    # Whether an answer so far has its end, of a kind that no single token shows.
    ended: Callable[[list[int]], bool] | None
    look_every: int = LOOK_EVERY  # tokens, where hosts look at the answers so far


class Batch:
    """Rows that decode together; the finished ones are left behind as it shrinks.

    Args:
      steps: compiled.
      prompts: of the rows.
      present: False where a row only fills the batch.
      log_p_r: None, or weights by which groups of rows are mixed.
      seeds: of each row's draws.
      limits: where answers end.
    """

    def __init__(
        self,
        steps: Steps,
        prompts: Prompts,
        present: Bool[np.ndarray, "b"],
        log_p_r: Float[np.ndarray, "q k"] | None,
        seeds: UInt32[np.ndarray, "b"],
        limits: Limits,
    ):
        num_rows = len(present)
        self._steps, self._limits = steps, limits
        self._prompts, self._log_p_r, self._seeds = prompts, log_p_r, seeds
        self.tokens = np.full((num_rows, limits.max_tokens), limits.eos_id, np.int32)
        self.num_tokens = np.zeros(num_rows, np.int32)
        arrays = steps.put({"tokens": self.tokens, "present": present})
        _, self._answers = steps.begin(**arrays)
        self._rows = np.arange(num_rows)  # of the whole batch, that are still in
        self._finished = ~present  # of those
        self._step = 0

    @property
    def has_work(self) -> bool:
        """Whether any row goes on."""
        return self._step < self._limits.max_tokens and not self._finished.all()

    def advance(self) -> None:
        """Decodes, until enough rows have finished for a smaller batch to go on."""
        left = self._limits.max_tokens - self._step
        pays = self._half >= _MIN_ROWS and left >= _MIN_STEPS
        num_steps = min(left, self._limits.look_every)
        shown, self._answers = self._steps.advance(
            answers=self._answers,
            prompts=self._prompts,
            seeds=self._seeds,
            stop=self._limits.stop,
            log_p_r=self._log_p_r,
            until=np.int32(self._step + num_steps),
            few=np.int32(self._half if pays else 0),
        )
        step, tokens, num_tokens, finished = jax.device_get(shown)
        self._step, self._finished = int(step), finished.copy()
        self.tokens[self._rows] = tokens
        self.num_tokens[self._rows] = num_tokens
        if self._limits.ended is not None:
            self._end()

    @property
    def _group(self) -> int:
        """Rows that go on, or end, together."""
        return 1 if self._log_p_r is None else self._log_p_r.shape[1]

    @property
    def _half(self) -> int:
        """Rows of the next smaller batch: a power of two of groups, half or less."""
        num_groups = len(self._rows) // self._group
        return self._group * ((1 << num_groups.bit_length()) // 4)

    def _end(self) -> None:
        """Finishes the rows whose answer holds a stop string of several tokens."""
        for i in np.flatnonzero(~self._finished):
            row = self._rows[i]
            answer = self.tokens[row, : self.num_tokens[row]].tolist()
            self._finished[i] = self._limits.ended(answer)
        self._answers = self._answers._replace(finished=self._steps.put(self._finished))

    def retire(self) -> None:
        """Leaves finished groups of rows behind, where half or more of all can go."""
        group, half = self._group, self._half
        goes_on = np.flatnonzero(~self._finished[::group])
        is_few = len(goes_on) * group <= half
        if not self.has_work or not is_few or half < _MIN_ROWS:
            return
        smallest = -(-_MIN_ROWS // group)
        num = min(half // group, max(smallest, _power_of_two(len(goes_on))))
        others = np.flatnonzero(self._finished[::group])
        groups = np.concatenate([goes_on, others])[:num]
        rows = (groups[:, None] * group + np.arange(group)).ravel()
        state = self._prompts, self._answers
        self._prompts, self._answers = self._steps.select(state, rows)
        self._rows, self._finished = self._rows[rows], self._finished[rows]
        self._seeds = self._seeds[rows]
        if self._log_p_r is not None:
            self._log_p_r = self._log_p_r[groups]


def _power_of_two(number: int) -> int:
    """The least that is not below `number`, at least 1."""
    return 1 << max(0, number - 1).bit_length()
