from radit_jax.training import loop
from radit_jax.training.profiling import Trace

from . import toy


def test_a_few_steps_are_traced_after_the_first(tmp_path):
    step_fn, state, mesh = toy.problem()
    trace = Trace(tmp_path / "metrics", 2)
    loop.fit(step_fn, state, toy.Batches(), [], 4, mesh=mesh, trace=trace)
    (found,) = (tmp_path / "metrics" / "plugins" / "profile").glob("*/*.xplane.pb")
    content = found.read_bytes()
    assert b"train" in content  # the steps' own annotation
    assert found.stat().st_size > 1000


def test_a_run_that_is_too_short_still_writes_what_it_has(tmp_path):
    step_fn, state, mesh = toy.problem()
    trace = Trace(tmp_path / "metrics", 9)
    loop.fit(step_fn, state, toy.Batches(), [], 3, mesh=mesh, trace=trace)
    assert [*(tmp_path / "metrics").glob("plugins/profile/*/*.xplane.pb")]


def test_no_trace_unless_it_is_asked_for(tmp_path):
    step_fn, state, mesh = toy.problem()
    trace = Trace(tmp_path / "metrics", 0)
    loop.fit(step_fn, state, toy.Batches(), [], 4, mesh=mesh, trace=trace)
    assert not (tmp_path / "metrics").exists()
