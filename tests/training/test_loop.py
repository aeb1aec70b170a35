import contextlib
import functools
import signal

import jax
import numpy as np
import pytest

from radit_jax.training import loop
from radit_jax.training import mesh as mesh_lib
from radit_jax.training.checkpoint import Checkpointer, RestoreError
from radit_jax.training.hooks import BestKeeper, CheckpointHook, ValidationHook
from radit_jax.training.metrics import MetricWriter, read_metrics
from radit_jax.training.preemption import PreemptedError, Watch

from . import toy

# Of steps 1 to 4: the best is step 2's, lower being better.
SCORES = {1: 0.75, 2: 0.25, 3: 0.5, 4: 0.3}


@functools.cache
def _noisy(step_fn):
    """Draws from the run's random stream, as dropout would."""

    def step(state, batch):
        noise = jax.random.normal(state.step_key(), batch["x"].shape)
        return step_fn(state, batch | {"x": batch["x"] + noise})

    return jax.jit(step, donate_argnums=0)


def _run(folder, num_steps, every=2, scores=SCORES, patience=0, **batch_options):
    """Trains the toy to `num_steps`, or on from a checkpoint in the folder."""
    step_fn, state, mesh = toy.problem()
    writer = MetricWriter(folder / "metrics")
    batches = toy.Batches(**batch_options)
    best = BestKeeper(Checkpointer(folder / "best", keep=1), False, patience)
    checkpointer = Checkpointer(folder / "checkpoints")
    hooks = [
        CheckpointHook(checkpointer, every, batches, best),
        ValidationHook(
            lambda state: {"score": scores[int(state.step)]}, 1, "score", best, writer
        ),
    ]
    with (
        Watch.over_sigterm() as watch,
        contextlib.closing(checkpointer),
        contextlib.closing(best.checkpointer),
    ):
        state = loop.fit(
            _noisy(step_fn), state, batches, hooks, num_steps, mesh=mesh,
            metric_writer=writer, watch=watch,
        )  # fmt: skip
    best.checkpointer = Checkpointer(folder / "best", keep=1)
    return state, best


def _same_run(one, other, one_folder, other_folder):
    (state, best), (other_state, other_best) = one, other
    assert toy.equal(state, other_state)
    assert (best.score, best.step) == (other_best.score, other_best.step)
    params = best.restore(state.params)[0]
    assert toy.equal(params, other_best.restore(state.params)[0])
    assert not toy.equal(params, state.params)
    assert read_metrics(one_folder / "metrics") == read_metrics(
        other_folder / "metrics"
    )


def test_two_and_two_steps_are_four(tmp_path):
    whole = _run(tmp_path / "whole", 4)
    halfway, _ = _run(tmp_path / "parts", 2)
    assert not toy.equal(halfway.params, whole[0].params)
    parts = _run(tmp_path / "parts", 4)
    assert whole[1].step == 2
    assert whole[1].score == 0.25
    _same_run(whole, parts, tmp_path / "whole", tmp_path / "parts")


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path):
    whole = _run(tmp_path / "whole", 4)
    with pytest.raises(toy.Killed):
        _run(tmp_path / "killed", 4, fail_at=4)
    steps = [line["step"] for line in read_metrics(tmp_path / "killed" / "metrics")]
    assert max(steps) == 3  # later than the checkpoint of step 2
    killed = _run(tmp_path / "killed", 4)
    _same_run(whole, killed, tmp_path / "whole", tmp_path / "killed")


def test_a_finished_run_does_nothing_more(tmp_path):
    first, _ = _run(tmp_path, 4)
    again, best = _run(tmp_path, 4, fail_at=1, scores={})
    assert toy.equal(first, again)
    assert (best.step, best.score) == (2, 0.25)


def test_going_back_forgets_a_later_best(tmp_path):
    with pytest.raises(toy.Killed):
        _run(tmp_path, 4, fail_at=4, scores={1: 0.5, 2: 0.6, 3: 0.1})
    _, best = _run(tmp_path, 4, scores={3: 0.7, 4: 0.4})
    assert (best.step, best.score) == (4, 0.4)
    assert best.checkpointer.latest_step() == 4


def test_sigterm_saves_and_the_same_run_goes_on(tmp_path):
    whole = _run(tmp_path / "whole", 4)
    message = r"SIGTERM\) after step 3; saved .*/checkpoints/3. Run the same command"
    with pytest.raises(PreemptedError, match=message):
        _run(tmp_path / "asked", 4, every=4, sigterm_at=3)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    folders = (tmp_path / "asked" / "checkpoints").iterdir()
    assert [path.name for path in folders] == ["3"]
    asked = _run(tmp_path / "asked", 4, every=4)
    _same_run(whole, asked, tmp_path / "whole", tmp_path / "asked")


def test_sigterm_at_the_last_step_ends_as_any_run(tmp_path):
    state, _ = _run(tmp_path, 4, sigterm_at=4)
    assert int(state.step) == 4


def test_no_better_score_ends_the_run_and_it_stays_ended(tmp_path):
    scores = {1: 0.5, 2: 0.3, 3: 0.4, 4: 0.3}
    first, best = _run(tmp_path, 9, every=9, scores=scores, patience=2)
    assert int(first.step) == 4
    assert (best.step, best.num_worse) == (2, 2)
    again, best = _run(tmp_path, 9, every=9, scores={}, patience=2, fail_at=1)
    assert toy.equal(first, again)
    assert best.step == 2


def test_the_best_parameters_must_be_those_remembered(tmp_path):
    state, best = _run(tmp_path, 4)
    best.step = 3
    message = "parameters of step 2, but the best score was found at step 3"
    with pytest.raises(RestoreError, match=message):
        best.restore(state.params)


@pytest.mark.parametrize("nan_at", [3, 4])
def test_a_loss_that_is_not_finite_stops_and_saves_nothing(tmp_path, nan_at):
    # At step 4 the hooks are due too: they must not see its state.
    message = (
        rf"loss is nan at step {nan_at} .*'learning_rate'.* checkpoint is step 2 in "
        ".*checkpoints; nothing was saved after it. Lower peak_learning_rate"
    )
    with pytest.raises(loop.NonFiniteLossError, match=message):
        _run(tmp_path, 4, nan_at=nan_at)
    lines = read_metrics(tmp_path / "metrics")
    assert max(line["step"] for line in lines) == nan_at - 1
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["2"]


def test_a_finite_loss_with_a_broken_gradient_stops_too(tmp_path):
    def step_fn(state, batch):
        return state, {"loss": one, "gradient_norm": inf}

    _, state, mesh = toy.problem()
    one, inf = jax.device_put(1.0), jax.device_put(np.inf)
    message = "gradient_norm is inf at step 1 .* There is no checkpoint yet"
    with pytest.raises(loop.NonFiniteLossError, match=message):
        loop.fit(step_fn, state, toy.Batches(), [], 2, mesh=mesh)


def test_a_step_is_dispatched_before_the_last_metrics_are_fetched():
    events = []

    class Loss:
        """A scalar that tells when the host waits for it."""

        def __init__(self, step):
            self.step = step

        def __array__(self, dtype=None, copy=None):
            events.append(("fetch", self.step))
            return np.asarray(1.0)

    def step_fn(state, batch):
        events.append(("dispatch", len(events)))
        step = sum(name == "dispatch" for name, _ in events)
        events[-1] = ("dispatch", step)
        return state, {"loss": Loss(step)}

    _, state, mesh = toy.problem()
    loop.fit(step_fn, state, toy.Batches(), [], 3, mesh=mesh)
    order = [("dispatch", 1), ("dispatch", 2), ("fetch", 1)]
    order += [("dispatch", 3), ("fetch", 2), ("fetch", 3)]
    assert events == order


def test_a_step_that_moves_host_data_is_refused():
    step_fn, state, mesh = toy.problem()
    host = next(toy.Batches())
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        loop.fit(
            lambda state, batch: step_fn(state, host),
            state, toy.Batches(), [], 1, mesh=mesh,
        )  # fmt: skip


def test_batches_that_end_early_are_an_error():
    step_fn, state, mesh = toy.problem()
    with pytest.raises(ValueError, match="ended before step 3 of 4; give an iterator"):
        loop.fit(step_fn, state, toy.Batches(last=2), [], 4, mesh=mesh)


def test_a_checkpoint_past_the_end_is_an_error(tmp_path):
    _run(tmp_path, 4)
    with pytest.raises(ValueError, match="is of step 4, past num_steps=3; raise"):
        _run(tmp_path, 3)


def test_a_validation_score_that_is_not_finite_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="score is nan at step 1; look for an empty"):
        _run(tmp_path, 4, scores={1: float("nan")})


def test_one_device(tmp_path):
    mesh = jax.sharding.Mesh(
        np.array(jax.devices()[:1]).reshape(1, 1, 1), mesh_lib.AXES
    )
    step_fn, state, _ = toy.problem(mesh)
    batches = toy.Batches()
    hook = CheckpointHook(Checkpointer(tmp_path), 1, batches)
    one = loop.fit(step_fn, state, batches, [hook], 2, mesh=mesh)
    hook.checkpointer.close()
    step_fn, state, mesh = toy.problem()
    eight = loop.fit(step_fn, state, toy.Batches(), [], 2, mesh=mesh)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
