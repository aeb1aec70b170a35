import pytest

from radit_jax.training import speed as speed_lib
from radit_jax.training.speed import Speedometer


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when the test says so."""
    now = [100.0]
    monkeypatch.setattr(speed_lib.time, "monotonic", lambda: now[0])

    def sleep(seconds):
        now[0] += seconds

    return sleep


def test_times_of_steps_leave_out_the_first_and_the_hooks(clock):
    speed = Speedometer(lambda metrics: 10 * metrics["tokens"], 1000.0)
    speed.waited(5.0)
    clock(30)  # compiles
    assert speed.read({"tokens": 40.0}) == {}
    speed.waited(0.5)
    clock(7)
    speed.paused(6.0)  # a validation
    clock(1)
    assert speed.read({"tokens": 100.0}) == {
        "step_seconds": 2.0,
        "input_wait_seconds": 0.5,
        "tokens_per_second": 50.0,
        "mfu": 0.5,
    }


def test_a_device_without_a_known_peak_has_no_mfu(clock):
    speed = Speedometer(lambda metrics: 10.0, None)
    speed.read({})
    clock(2)
    assert speed.read({}) == {"step_seconds": 2.0, "input_wait_seconds": 0.0}
