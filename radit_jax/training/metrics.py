"""Scalars of a run: TensorBoard to look at, JSON lines to compute with."""

import json
import time
from collections.abc import Mapping

import jax
import tensorboardX
from etils import epath


class MetricWriter:
    """Writes scalars to `path/metrics.jsonl` and, beside it, TensorBoard events.

    Only process 0 writes. A line is `{"step": 3, "loss": 1.25}`; several lines may
    have the same step (a training loss, then a validation score). How fast a step
    was goes to TensorBoard alone, so that the lines of two equal runs are equal.
    """

    def __init__(self, path: epath.PathLike):
        """Nothing is opened before `start`.

        Args:
          path: of the run's metric folder.
        """
        self.path = epath.Path(path).expanduser()
        self._is_writer = jax.process_index() == 0
        self._board = None

    def start(self, step: int) -> None:
        """Opens the files, without what an interrupted run wrote after `step`.

        Args:
          step: the restored one; 0 for a new run.
        """
        self.close()
        if not self._is_writer:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_metrics(self.path) if line["step"] <= step]
        shorter = self.path / "metrics.jsonl.tmp"
        shorter.write_text("".join(json.dumps(line) + "\n" for line in kept))
        shorter.replace(self.path / "metrics.jsonl")
        # Two starts within a second would else write to the same event file.
        suffix = f".{time.time_ns()}"
        self._board = tensorboardX.SummaryWriter(
            str(self.path), purge_step=step + 1, filename_suffix=suffix
        )

    def write(
        self,
        step: int,
        metrics: Mapping[str, float],
        speed: Mapping[str, float] | None = None,
    ) -> None:
        """Adds scalars of a step and flushes them.

        Args:
          step: updates done.
          metrics: what the run computed.
          speed: of `Speedometer.read`.

        Raises:
          RuntimeError: before `start`.
        """
        if not self._is_writer:
            return
        if self._board is None:
            raise RuntimeError(
                f"metrics of step {step} came before MetricWriter.start; call "
                "start(0), or start(step) with the restored step, first."
            )
        scalars = {name: float(value) for name, value in sorted(metrics.items())}
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": step} | scalars) + "\n")
        for name, value in (scalars | dict(speed or {})).items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Closes the events; `start` opens new ones."""
        if self._board is not None:
            self._board.close()
            self._board = None


def read_metrics(path: epath.PathLike) -> list[dict[str, float]]:
    """The lines of `path/metrics.jsonl`, oldest first; none if it isn't there.

    A last line that a killed run left unfinished is dropped.

    Raises:
      ValueError: for any other line that is not JSON.
    """
    file = epath.Path(path).expanduser() / "metrics.jsonl"
    if not file.exists():
        return []
    *lines, unfinished = file.read_text().split("\n")
    del unfinished  # empty if the last line is whole
    return [_parse(line, number, file) for number, line in enumerate(lines, start=1)]


def _parse(line: str, number: int, file: epath.Path) -> dict[str, float]:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"line {number} of {file} is not JSON: {line[:80]!r}. Remove that line."
        ) from error
