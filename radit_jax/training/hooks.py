"""What happens between steps: validation, keeping the best, early stop, checkpoints.

A hook has `every` (steps) and is called as `hook(step, state)`, also after the last
step. `fit` calls checkpoints last, so that they hold what the other hooks found.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from absl import logging

from radit_jax.training import state as state_lib
from radit_jax.training.checkpoint import Checkpointer, RestoreError
from radit_jax.training.metrics import MetricWriter


@runtime_checkable
class Batches(Protocol):
    """An endless iterator of host batches that can be put back where it was."""

    num_rows: int  # of the global batch

    def __next__(self) -> Any:
        """This process' rows of the next batch, as `mesh.local_rows` names them.

        A tree of NumPy arrays.
        """

    def get_state(self) -> dict[str, Any]:
        """The position, as JSON can hold it."""

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to a position of `get_state`."""


@dataclasses.dataclass
class BestKeeper:
    """Keeps the parameters with the best score in a folder of their own.

    `score`, `step` and `num_worse` travel in the run's checkpoints: a run that goes
    back forgets what it found later.
    """

    checkpointer: Checkpointer  # another than the run's
    larger_is_better: bool
    patience: int = 0  # offers in a row that may be no better; 0: any number
    score: float | None = None
    step: int | None = None
    num_worse: int = 0  # offers since the best

    def offer(self, step: int, params: Any, score: float) -> bool:
        """Saves the parameters if the score is the best yet; says if it was."""
        if self.score is not None:
            better = score > self.score if self.larger_is_better else score < self.score
            if not better:
                self.num_worse += 1
                return False
        self.checkpointer.save(step, params, {"score": score})
        self.score, self.step, self.num_worse = score, step, 0
        return True

    @property
    def is_exhausted(self) -> bool:
        """Whether `patience` offers in a row were no better."""
        return 0 < self.patience <= self.num_worse

    def restore(self, abstract_params: Any) -> tuple[Any, float]:
        """The best parameters and their score.

        Raises:
          RestoreError: if there are none, or not those that the run remembers.
        """
        found = self.checkpointer.restore_latest(abstract_params)
        step = self.checkpointer.latest_step()
        if found is None or step != self.step:
            raise RestoreError(
                f"{self.checkpointer.path} holds the parameters of step {step}, but "
                f"the best score was found at step {self.step}; bring that folder "
                "back, or remove the run's checkpoints to train again."
            )
        return found[0], found[1]["score"]

    def get_state(self) -> dict[str, Any]:
        """For the run's checkpoint."""
        return {"score": self.score, "step": self.step, "num_worse": self.num_worse}

    def set_state(self, state: dict[str, Any]) -> None:
        """From the run's checkpoint."""
        self.score, self.step = state["score"], state["step"]
        self.num_worse = state["num_worse"]


@dataclasses.dataclass
class ValidationHook:
    """Scores the state, writes the scores, and keeps the best parameters."""

    # By name, such as "validation_loss"; the same on every process.
    evaluate: Callable[[state_lib.TrainState], Mapping[str, float]]
    every: int  # steps
    name: str  # of the score that chooses
    best: BestKeeper | None = None
    metric_writer: MetricWriter | None = None

    def __call__(self, step: int, state: state_lib.TrainState) -> None:
        """Runs one validation.

        Raises:
          ValueError: if the score is not finite, for no order could be made of it.
        """
        scores = {name: float(x) for name, x in self.evaluate(state).items()}
        score = scores[self.name]
        if not math.isfinite(score):
            raise ValueError(
                f"{self.name} is {score} at step {step}; look for an empty validation "
                "set or an overflow before you train on."
            )
        if self.metric_writer is not None:
            self.metric_writer.write(step, scores)
        is_best = self.best is not None and self.best.offer(step, state.params, score)
        told = ", ".join(f"{name} {value:.6g}" for name, value in scores.items())
        logging.info("step %d: %s%s", step, told, ", the best" * is_best)


@dataclasses.dataclass
class CheckpointHook:
    """Saves all that an exact restart needs, and brings it back."""

    checkpointer: Checkpointer
    every: int  # steps
    batches: Batches
    best: BestKeeper | None = None

    def __call__(self, step: int, state: state_lib.TrainState) -> None:
        """Starts to save."""
        best = None
        if self.best is not None:
            # Whole before a checkpoint that remembers it: a killed run needs both.
            self.best.checkpointer.wait()
            best = self.best.get_state()
        data_state = {"batches": self.batches.get_state(), "best": best}
        self.checkpointer.save(step, state, data_state)

    def check(self) -> None:
        """Raises what went wrong with the writes that are under way."""
        self.checkpointer.check()
        if self.best is not None:
            self.best.checkpointer.check()

    def restore(self, state: state_lib.TrainState) -> state_lib.TrainState:
        """The state of the last checkpoint, or the given one if there is none.

        The batches and the best score go back to where they were then.
        """
        found = self.checkpointer.restore_latest(state_lib.abstract(state))
        if found is None:
            return state
        restored, data_state = found
        self.batches.set_state(data_state["batches"])
        if self.best is not None and data_state["best"] is not None:
            self.best.set_state(data_state["best"])
        return restored
