"""The training loop: restore, then step after step, then hooks."""

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from absl import logging
from jax.sharding import Mesh

from radit_jax import progress as progress_lib
from radit_jax.training import mesh as mesh_lib
from radit_jax.training import state as state_lib
from radit_jax.training.checkpoint import SaveError
from radit_jax.training.hooks import Batches, CheckpointHook
from radit_jax.training.metrics import MetricWriter
from radit_jax.training.preemption import PreemptedError, Watch
from radit_jax.training.profiling import Trace
from radit_jax.training.speed import Speedometer
from radit_jax.training.train_step import StepFn


class NonFiniteLossError(RuntimeError):
    """The loss or its gradient is NaN or infinite; nothing was saved since."""


class LostProcessError(RuntimeError):
    """Another process of the job has ended; this one cannot go on alone."""


def fit(
    step_fn: StepFn,
    state: state_lib.TrainState,
    batches: Batches,
    hooks: Sequence[Any],
    num_steps: int,
    *,
    mesh: Mesh,
    metric_writer: MetricWriter | None = None,
    label: str = "training",
    watch: Watch | None = None,
    speed: Speedometer | None = None,
    trace: Trace | None = None,
) -> state_lib.TrainState:
    """Trains to `num_steps` updates, from the last checkpoint if there is one.

    Step n is dispatched before the metrics of step n-1 are fetched, so the host
    prepares a batch while the devices work. Before a hook sees a state, the loss and
    the gradient that led to it are known to be finite. A hook whose `best` is
    exhausted ends the run early.

    Args:
      step_fn: of `make_train_step`; it donates the state.
      state: of step 0, for shapes, placement and a new run's values; used up.
      batches: an iterator of host batches, each of them this process' rows.
      hooks: of `training.hooks`; at most one `CheckpointHook`.
      num_steps: updates in all, those before a restart included.
      mesh: where the state lives.
      metric_writer: of every step's metrics.
      label: of the progress lines.
      watch: says when to save and end; None: never.
      speed: times the steps.
      trace: of a few steps.

    Raises:
      LostProcessError: another process of the job has ended.
      NonFiniteLossError: with the step, the metrics and the last good checkpoint.
      PreemptedError: `watch` said so; all that was done is saved.
      SaveError: a checkpoint, of this step or the last, could not be written.
      ValueError: if the batches end early or the checkpoint is past `num_steps`.
    """
    hooks = sorted(hooks, key=lambda hook: isinstance(hook, CheckpointHook))
    checkpoint = hooks[-1] if hooks and isinstance(hooks[-1], CheckpointHook) else None
    if checkpoint is not None:
        state = checkpoint.restore(state)
    first = int(jax.device_get(state.step))
    _check_not_past(first, num_steps)
    progress = progress_lib.Progress(num_steps, "steps", label, done=first)
    reports = _Reports(metric_writer, checkpoint, progress, speed or Speedometer())
    watch, trace = watch or Watch(), trace or Trace("", 0)

    last = first if _is_exhausted(hooks, first) else num_steps
    with _started(metric_writer, first, trace), _lost_processes_told(checkpoint):
        for step in range(first + 1, last + 1):
            local = reports.timed(_next, batches, step, num_steps)
            batch = mesh_lib.put_batch(local, mesh, batches.num_rows)
            with jax.transfer_guard("disallow"), trace.step(step):
                state, metrics = step_fn(state, batch)
            reports.add(step, metrics)
            due = [h for h in hooks if step % h.every == 0 or step == num_steps]
            is_asked = watch.is_due(step) and step < num_steps
            if due or is_asked or step == num_steps or trace.is_over():
                reports.flush()
            else:
                reports.flush(keep=1)
            if trace.is_over():
                trace.close()
            reports.run_hooks(due, step, state)
            is_exhausted = _is_exhausted(hooks, step)
            if (is_asked or is_exhausted) and checkpoint not in (None, *due):
                checkpoint(step, state)
            if is_exhausted:
                break
            if is_asked:
                raise _preempted(checkpoint, step)
    return state


class _Reports:
    """Metrics that are under way, and what is said of them when they come."""

    def __init__(
        self,
        metric_writer: MetricWriter | None,
        checkpoint: CheckpointHook | None,
        progress: progress_lib.Progress,
        speed: Speedometer,
    ):
        self._writer, self._checkpoint = metric_writer, checkpoint
        self._progress, self._speed = progress, speed
        self._pending: list[tuple[int, dict[str, Any]]] = []

    def timed(self, get: Any, *args: Any) -> Any:
        """`get(*args)`, which makes the loop wait for its input."""
        begin = time.monotonic()
        found = get(*args)
        self._speed.waited(time.monotonic() - begin)
        return found

    def run_hooks(self, due: Sequence[Any], step: int, state: Any) -> None:
        """Runs them, in time that belongs to no step."""
        begin = time.monotonic()
        for hook in due:
            hook(step, state)
        if self._checkpoint is not None:
            self._checkpoint.check()
        self._speed.paused(time.monotonic() - begin)

    def add(self, step: int, metrics: dict[str, Any]) -> None:
        """Of a step that was dispatched."""
        self._pending.append((step, metrics))

    def flush(self, keep: int = 0) -> None:
        """Waits for all but the newest `keep`, refuses broken ones, writes the rest."""
        while len(self._pending) > keep:
            step, arrays = self._pending.pop(0)
            metrics = {name: float(x) for name, x in jax.device_get(arrays).items()}
            _check_finite(step, metrics, self._checkpoint)
            if self._writer is not None:
                self._writer.write(step, metrics, self._speed.read(metrics))
            if step % 100 == 1:
                logging.info("step %d: loss %.6g", step, metrics["loss"])
            self._progress.update()


@contextlib.contextmanager
def _started(
    metric_writer: MetricWriter | None, step: int, trace: Trace
) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        stack.callback(trace.close)
        if metric_writer is not None:
            metric_writer.start(step)
            stack.callback(metric_writer.close)
        yield


@contextlib.contextmanager
def _lost_processes_told(checkpoint: CheckpointHook | None) -> Iterator[None]:
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        where = "" if checkpoint is None else f" in {checkpoint.checkpointer.path}"
        raise LostProcessError(
            f"process {jax.process_index()} of {jax.process_count()} cannot go on, "
            "most likely because another one has ended; its own output says why. Start "
            "the same command on all hosts again: it goes on from the last checkpoint"
            f"{where}. (Here: {str(error).splitlines()[0][:200]})"
        ) from error


def _check_finite(
    step: int, metrics: dict[str, float], checkpoint: CheckpointHook | None
) -> None:
    checked = [name for name in ("loss", "gradient_norm") if name in metrics]
    broken = [name for name in checked if not math.isfinite(metrics[name])]
    if not broken:
        return
    good = "There is no checkpoint yet"
    last = None
    with contextlib.suppress(SaveError):  # then the last good one is an older one
        last = None if checkpoint is None else checkpoint.checkpointer.latest_step()
    if last is not None:
        path = checkpoint.checkpointer.path
        good = f"The last good checkpoint is step {last} in {path}"
    raise NonFiniteLossError(
        f"{broken[0]} is {metrics[broken[0]]} at step {step} (all: {metrics}). "
        f"{good}; nothing was saved after it. Lower peak_learning_rate or "
        "clip_norm, or look for a broken example in that batch, and start again."
    )


def _is_exhausted(hooks: Sequence[Any], step: int) -> bool:
    for hook in hooks:
        best = getattr(hook, "best", None)
        if best is not None and best.is_exhausted:
            logging.info(
                "stopping early after step %d: %d validations in a row were no better "
                "than the %.6g of step %d.",
                *(step, best.num_worse, best.score, best.step),
            )
            return True
    return False


def _preempted(checkpoint: CheckpointHook | None, step: int) -> PreemptedError:
    """Says what is saved, once it is."""
    where = "nothing, for this run keeps no checkpoints"
    if checkpoint is not None:
        checkpoint.checkpointer.wait()
        where = str(checkpoint.checkpointer.path / str(step))
    return PreemptedError(
        f"asked to end (SIGTERM) after step {step}; saved {where}. Run the same "
        "command again: it goes on from there."
    )


def _next(batches: Batches, step: int, num_steps: int) -> Any:
    try:
        return next(batches)
    except StopIteration:
        raise ValueError(
            f"the batches ended before step {step} of {num_steps}; give an iterator "
            "that starts over, or lower num_steps."
        ) from None


def _check_not_past(first: int, num_steps: int) -> None:
    if first > num_steps:
        raise ValueError(
            f"the checkpoint is of step {first}, past num_steps={num_steps}; raise "
            "num_steps, or train in another folder."
        )
