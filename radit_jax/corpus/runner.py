"""Work over many items: in this process, or on Apache Beam's workers."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from radit_jax.config import CorpusConfig
from radit_jax.corpus import beam
from radit_jax.progress import Progress

Item = TypeVar("Item")
_SECONDS_BETWEEN_LOOKS = 5.0


def for_each(
    corpus: CorpusConfig,
    function: Callable[[Item], None],
    items: Sequence[Item],
    is_small: bool = False,
) -> None:
    """Calls `function(item)` for every item; what it makes, it writes to files.

    Args:
      corpus: names the runner, or none.
      function: can be pickled.
      items: likewise.
      is_small: the work takes less time than workers take to start: it stays here.

    Raises:
      beam.BeamError: the config names a runner, and Beam isn't installed.
    """
    if corpus.runner and len(items) > 1 and not is_small:
        beam.for_each(function, items, corpus.runner, corpus.runner_options)
        return
    for item in items:
        function(item)


def num_workers(corpus: CorpusConfig) -> int:
    """How many workers `for_each` will have."""
    if not corpus.runner:
        return 1
    return beam.num_workers(corpus.runner, corpus.runner_options)


@contextlib.contextmanager
def watching(progress: Progress, count_done: Callable[[], int]) -> Iterator[None]:
    """Logs the progress of work in other processes, by looking at what they wrote.

    Args:
      progress: to be kept up to date.
      count_done: the units that are done by now.
    """
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_SECONDS_BETWEEN_LOOKS):
            # Its total is estimated: the last line is for the end.
            done = min(count_done(), progress.total - 1)
            progress.update(max(done - progress.done, 0))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    progress.total = max(count_done(), 1)
    progress.update(progress.total - progress.done)
