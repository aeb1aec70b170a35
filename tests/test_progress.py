import logging

import pytest

from radit_jax import progress
from radit_jax.progress import Progress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (42.4, "42 s"),
        (200.0, "3 min 20 s"),
        (7500.0, "2 h 5 min"),
        (float("inf"), "unknown time"),
    ],
)
def test_duration(seconds, text):
    assert progress.duration(seconds) == text


def test_rate_leaves_out_what_an_earlier_run_did(monkeypatch, caplog):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    caplog.set_level(logging.INFO, logger="absl")
    counted = Progress(100, "passages", "embed", done=40)
    now[0] = 120.0
    counted.update(20)
    assert counted.rate == pytest.approx(1.0)
    assert "60 of 100 passages, 1 passages/s, 40 s left" in caplog.text


def test_lines_are_rare_but_the_last_is_always_there(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    caplog.set_level(logging.INFO, logger="absl")
    counted = Progress(50, "steps", "train")
    for _ in range(50):
        now[0] += 1.0
        counted.update()
    lines = caplog.text.strip().splitlines()
    assert len(lines) == 5
    assert "50 of 50 steps, 1 steps/s, done in 50 s" in lines[-1]
