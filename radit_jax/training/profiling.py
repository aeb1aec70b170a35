"""A trace of a few steps for XProf and TensorBoard's profile plugin."""

import contextlib
from collections.abc import Iterator

import jax
from absl import logging
from etils import epath

_FIRST = 3  # step of a run that is traced first: those before it compile and warm up


class Trace:
    """Traces steps `_FIRST` … of a run into `folder/plugins/profile/`."""

    def __init__(self, folder: epath.PathLike, num_steps: int):
        """Args: folder: of the run's TensorBoard events; num_steps: 0: none."""
        self._folder, self._num_steps = epath.Path(folder), num_steps
        self._seen, self._is_on = 0, False

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Wraps a step of the run."""
        self._seen += 1
        if self._num_steps and self._seen == _FIRST:
            self._folder.mkdir(parents=True, exist_ok=True)
            jax.profiler.start_trace(str(self._folder))
            self._is_on = True
        if not self._is_on:
            yield
            return
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            yield

    def is_over(self) -> bool:
        """Whether this step is the last that is traced; its work must be waited for."""
        return self._is_on and self._seen == _FIRST + self._num_steps - 1

    def close(self) -> None:
        """Writes the trace, if one is being made."""
        if self._is_on:
            jax.profiler.stop_trace()
            self._is_on = False
            logging.info(
                "a trace of %d step(s) is in %s; see it with `pip install xprof "
                "tensorboard` and `tensorboard --logdir=%s`.",
                self._seen - _FIRST + 1,
                self._folder / "plugins" / "profile",
                self._folder,
            )
