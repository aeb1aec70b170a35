import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from radit_jax.training.metrics import MetricWriter, read_metrics


def _write(path, start, steps):
    writer = MetricWriter(path)
    writer.start(start)
    for step in steps:
        writer.write(step, {"loss": step / 4, "accuracy": 0.5})
    writer.close()


def test_lines_and_scalars(tmp_path):
    _write(tmp_path / "metrics", 0, (1, 2))
    assert read_metrics(tmp_path / "metrics") == [
        {"step": 1, "loss": 0.25, "accuracy": 0.5},
        {"step": 2, "loss": 0.5, "accuracy": 0.5},
    ]
    board = EventAccumulator(str(tmp_path / "metrics"))
    board.Reload()
    assert [(x.step, x.value) for x in board.Scalars("loss")] == [(1, 0.25), (2, 0.5)]


def test_a_resumed_run_drops_what_came_after_its_checkpoint(tmp_path):
    _write(tmp_path, 0, (1, 2, 3))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # killed here
    _write(tmp_path, 2, (3,))
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3]
    board = EventAccumulator(str(tmp_path))
    board.Reload()
    assert [x.step for x in board.Scalars("loss")] == [1, 2, 3]


def test_no_file_no_metrics(tmp_path):
    assert read_metrics(tmp_path) == []


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": \n{"step": 3}\n')
    with pytest.raises(ValueError, match="line 2 of .*metrics.jsonl is not JSON"):
        read_metrics(tmp_path)


def test_writing_before_the_start_is_refused(tmp_path):
    with pytest.raises(RuntimeError, match=r"step 5 came before .*call start\(0\)"):
        MetricWriter(tmp_path).write(5, {"loss": 1.0})


def test_other_processes_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("jax.process_index", lambda: 1)
    _write(tmp_path / "metrics", 0, (1,))
    assert not (tmp_path / "metrics").exists()
