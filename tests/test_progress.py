import io
import logging
import os

import pytest
from absl import logging as absl_logging

from radit_jax import memory, progress
from radit_jax.progress import Progress


@pytest.fixture
def now(monkeypatch, caplog):
    """The clock's time, in seconds; in a list, to be set."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    caplog.set_level(logging.INFO, logger="absl")
    return now


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


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 * 2**50, "5120.0 TiB")],
)
def test_size(num_bytes, text):
    assert progress.size(num_bytes) == text


def test_rate_leaves_out_what_an_earlier_run_did(now, caplog):
    counted = Progress(100, "passages", "embed", done=40)
    now[0] = 120.0
    counted.update(20)
    assert counted.rate == pytest.approx(20 / 120)
    assert "60 of 100 passages, 0.167 passages/s, 4 min 0 s left" in caplog.text


def test_the_first_batch_compiles_and_does_not_count_in_the_rate(now, caplog):
    counted = Progress(100, "passages", "embed")
    now[0] = 25.0
    counted.update(10)
    assert caplog.text == ""  # nothing is known yet
    now[0] = 25.1
    counted.update(5)  # of the same batch
    assert caplog.text == ""
    now[0] = 27.0
    counted.update(5)
    assert counted.rate == pytest.approx(5)
    assert "20 of 100 passages, 5 passages/s, 16 s left, memory" in caplog.text


def test_lines_are_rare_but_the_last_is_always_there(now, caplog):
    counted = Progress(100, "steps", "train")
    for _ in range(100):
        now[0] += 1.0
        counted.update()
    lines = [record.message for record in caplog.records]
    assert [line.split(" of ")[0] for line in lines] == [
        "train: 2",
        "train: 32",
        "train: 62",
        "train: 92",
        "train: 100",
    ]
    assert "100 of 100 steps, 1 steps/s, done in 1 min 40 s" in lines[-1]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminals_line_is_rewritten_and_fits(now, caplog, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", screen)
    monkeypatch.setattr(absl_logging, "get_verbosity", lambda: absl_logging.INFO)
    monkeypatch.setenv("COLUMNS", "40")
    counted = Progress(4, "steps", "a label that is long")
    for _ in range(4):
        now[0] += 0.3
        counted.update()
    drawn = screen.getvalue().split(progress._ERASE)
    assert drawn == ["", "a label that is long: 2 of 4 steps, 3.3", ""]
    assert [r.message.split(",")[0] for r in caplog.records] == [
        "a label that is long: 4 of 4 steps"
    ]


def test_memory_is_this_process_own():
    before = memory.host_bytes()
    held = os.urandom(64 * 2**20)
    grown = memory.host_bytes() - before
    assert len(held) * 0.9 < grown < len(held) * 2
    assert memory.device_bytes() == (0, 0)  # a CPU's memory is the host's


def test_an_accelerators_memory_is_told(now, caplog, monkeypatch):
    monkeypatch.setattr(memory, "device_bytes", lambda: (3 * 2**30, 16 * 2**30))
    Progress(1, "steps", "train").update()
    assert caplog.text.strip().endswith(", device 3.0 GiB of 16.0 GiB")


def test_what_is_read_is_counted_and_may_be_less(now, caplog):
    assert list(progress.counted(iter("abc"), 4, "letters", "read")) == list("abc")
    assert "read: 3 of 3 letters" in caplog.text
    assert "done in 0 s" in caplog.messages[-1]
