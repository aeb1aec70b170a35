"""A whole training run in one folder: baseline, training, best parameters."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
from absl import logging
from etils import epath
from jax.sharding import Mesh

from radit_jax import room
from radit_jax.training import hooks as hooks_lib
from radit_jax.training import loop
from radit_jax.training import state as state_lib
from radit_jax.training.checkpoint import Checkpointer
from radit_jax.training.loop import LostProcessError
from radit_jax.training.metrics import MetricWriter, read_metrics
from radit_jax.training.preemption import Watch
from radit_jax.training.profiling import Trace
from radit_jax.training.speed import Speedometer
from radit_jax.training.train_step import StepFn

_CHECKPOINTS_KEPT = 2  # by a Checkpointer
TEMPORARY = ("checkpoints", "best")  # folders that only an unfinished run needs


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How long a run is, how often it saves and validates, and where it lives."""

    folder: epath.Path  # gets `metrics/` and, while it runs, `checkpoints/`, `best/`
    label: str  # of the progress lines
    num_steps: int
    checkpoint_every: int  # steps
    validate_every: int  # steps
    validation_name: str  # of the score that chooses
    larger_is_better: bool
    keep_checkpoints: int = 2  # newest
    patience: int = 0  # validations in a row without a better score; 0: no early stop
    profile_steps: int = 0  # that are traced


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What a run kept; the scores are None where nothing was validated."""

    params: Any
    step: int  # that the parameters come from; 0: training never beat the base
    score_before: float | None  # of step 0
    score: float | None  # of `params`
    num_steps: int  # that were trained: fewer than planned after an early stop


def train(
    plan: Plan,
    step_fn: StepFn,
    state: state_lib.TrainState,
    batches: hooks_lib.Batches,
    validate: Callable[[Any], Mapping[str, float]] | None,
    mesh: Mesh,
    speed: Speedometer | None = None,
) -> Result:
    """Trains, or resumes, and returns the parameters that validate best.

    Step 0, the model as it came, is validated too: a run that makes it worse returns
    it unchanged. Without `validate` the last step is returned.

    Args:
      plan: of the run.
      step_fn: of `make_train_step`.
      state: of step 0; used up.
      batches: endless, and can be put back.
      validate: parameters → scores by name, the same on every process.
      mesh: where the state lives.
      speed: times the steps.

    Raises:
      preemption.PreemptedError: SIGTERM came; the run is saved up to its last step.
    """
    abstract = state_lib.abstract(state.params)
    _check_room(plan, state)
    with contextlib.ExitStack() as stack:
        writer = _closed_at_exit(stack, MetricWriter(plan.folder / "metrics"))
        watch = stack.enter_context(Watch.over_sigterm())
        checkpoints = _closed_at_exit(
            stack, Checkpointer(plan.folder / "checkpoints", plan.keep_checkpoints)
        )
        best, hooks = None, []
        if validate is not None:
            keeper = _closed_at_exit(stack, Checkpointer(plan.folder / "best", keep=1))
            best = hooks_lib.BestKeeper(keeper, plan.larger_is_better, plan.patience)
            validation = hooks_lib.ValidationHook(
                lambda state: validate(state.params),
                plan.validate_every,
                plan.validation_name,
                best,
                writer,
            )
            hooks.append(validation)
            if checkpoints.latest_step() is None:
                writer.start(-1)  # without what a run killed before its first save left
                validation(0, state)
        hooks.append(
            hooks_lib.CheckpointHook(checkpoints, plan.checkpoint_every, batches, best)
        )
        state = loop.fit(
            step_fn,
            state,
            batches,
            hooks,
            plan.num_steps,
            mesh=mesh,
            metric_writer=writer,
            label=plan.label,
            watch=watch,
            speed=speed,
            trace=Trace(writer.path, plan.profile_steps),
        )
        checkpoints.wait()  # or a save that failed would be told to no one
        last = int(jax.device_get(state.step))
        if best is None:
            return Result(state.params, last, None, None, last)
        return _best_result(plan, best, abstract, last)


def _check_room(plan: Plan, state: state_lib.TrainState) -> None:
    """Checkpoints, one of them in the making; the best parameters, and the result's."""
    held, kept = (
        sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
        for tree in (state, state.params)
    )
    disk_bytes = (_CHECKPOINTS_KEPT + 1) * held + 3 * kept
    room.check(plan.folder, plan.label, disk_bytes, held + kept)  # and gradients


def _closed_at_exit(stack: contextlib.ExitStack, resource: Any) -> Any:
    def close(kind: type[BaseException] | None, *_: Any) -> None:
        # Where a process of the job is lost, closing would wait for it.
        if kind is not LostProcessError:
            resource.close()

    stack.push(close)
    return resource


def _best_result(
    plan: Plan, best: hooks_lib.BestKeeper, abstract: Any, last: int
) -> Result:
    params, score = best.restore(abstract)
    if best.step == 0:
        logging.warning(
            "%s: no step beat the %s of %.6g before training, so the model is kept "
            "as it came.",
            plan.label,
            plan.validation_name,
            score,
        )
    lines = read_metrics(plan.folder / "metrics")
    before = next(m for m in lines if plan.validation_name in m)
    return Result(params, best.step, before[plan.validation_name], score, last)


def clean(folder: epath.Path) -> None:
    """Removes what only an unfinished run needs: checkpoints with optimizer state."""
    if jax.process_index() != 0:
        return
    for name in TEMPORARY:
        if (folder / name).exists():
            (folder / name).rmtree()
