"""The training loop: restore, then step after step, then hooks."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from absl import logging
from jax.sharding import Mesh

from radit_jax import progress as progress_lib
from radit_jax.training import mesh as mesh_lib
from radit_jax.training import state as state_lib
from radit_jax.training.hooks import Batches, CheckpointHook
from radit_jax.training.metrics import MetricWriter
from radit_jax.training.train_step import StepFn


class NonFiniteLossError(RuntimeError):
    """The loss or its gradient is NaN or infinite; nothing was saved since."""


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
) -> state_lib.TrainState:
    """Trains to `num_steps` updates, from the last checkpoint if there is one.

    Step n is dispatched before the metrics of step n-1 are fetched, so the host
    prepares a batch while the devices work. Before a hook sees a state, the loss and
    the gradient that led to it are known to be finite.

    Args:
      step_fn: of `make_train_step`; it donates the state.
      state: of step 0, for shapes, placement and a new run's values; used up.
      batches: an iterator of host batches, each of them this process' rows.
      hooks: of `training.hooks`; at most one `CheckpointHook`.
      num_steps: updates in all, those before a restart included.
      mesh: where the state lives.
      metric_writer: of every step's metrics.
      label: of the progress lines.

    Raises:
      NonFiniteLossError: with the step, the metrics and the last good checkpoint.
      ValueError: if the batches end early or the checkpoint is past `num_steps`.
    """
    hooks = sorted(hooks, key=lambda hook: isinstance(hook, CheckpointHook))
    checkpoint = hooks[-1] if hooks and isinstance(hooks[-1], CheckpointHook) else None
    if checkpoint is not None:
        state = checkpoint.restore(state)
    first = int(jax.device_get(state.step))
    _check_not_past(first, num_steps)
    progress = progress_lib.Progress(num_steps, "steps", label, done=first)

    pending: list[tuple[int, dict[str, jax.Array]]] = []
    with _started(metric_writer, first):
        for step in range(first + 1, num_steps + 1):
            local = _next(batches, step, num_steps)
            batch = mesh_lib.put_batch(local, mesh, batches.num_rows)
            with jax.transfer_guard("disallow"):
                state, metrics = step_fn(state, batch)
            pending.append((step, metrics))
            due = [h for h in hooks if step % h.every == 0 or step == num_steps]
            while len(pending) > (0 if due or step == num_steps else 1):
                _report(*pending.pop(0), metric_writer, checkpoint)
                progress.update()
            for hook in due:
                hook(step, state)
    return state


@contextlib.contextmanager
def _started(metric_writer: MetricWriter | None, step: int) -> Iterator[None]:
    if metric_writer is None:
        yield
        return
    metric_writer.start(step)
    try:
        yield
    finally:
        metric_writer.close()


def _report(
    step: int,
    arrays: dict[str, Any],
    metric_writer: MetricWriter | None,
    checkpoint: CheckpointHook | None,
) -> None:
    """Waits for a step's metrics, refuses broken ones, writes the rest."""
    metrics = {name: float(x) for name, x in jax.device_get(arrays).items()}
    checked = [name for name in ("loss", "gradient_norm") if name in metrics]
    broken = [name for name in checked if not math.isfinite(metrics[name])]
    if broken:
        last = None if checkpoint is None else checkpoint.checkpointer.latest_step()
        good = "There is no checkpoint yet"
        if last is not None:
            path = checkpoint.checkpointer.path
            good = f"The last good checkpoint is step {last} in {path}"
        raise NonFiniteLossError(
            f"{broken[0]} is {metrics[broken[0]]} at step {step} (all: {metrics}). "
            f"{good}; nothing was saved after it. Lower peak_learning_rate or "
            "clip_norm, or look for a broken example in that batch, and start again."
        )
    if metric_writer is not None:
        metric_writer.write(step, metrics)
    if step % 100 == 1:
        logging.info("step %d: loss %.6g", step, metrics["loss"])


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
