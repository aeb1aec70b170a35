"""Apache Beam: work spread over any number of workers, on any of Beam's runners.

Only this file knows of Beam. The workers read and write files, by paths that they all
share, and pass nothing on but the items' names; so what a runner holds in memory does
not grow with the corpus, and the output is the same for every runner.
"""

import logging
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")

# Beam's DirectRunner may fetch a program to run in its place, and keeps to one core if
# it isn't told otherwise. This is the runner that it falls back to.
_LOCAL_RUNNER = "FnApiRunner"
_LOCAL_OPTIONS = ("--direct_running_mode=multi_processing",)
_WORKER_OPTIONS = ("max_num_workers", "num_workers", "parallelism")


class BeamError(RuntimeError):
    """Beam isn't installed, or its flags are wrong: the fact and the remedy."""


def for_each(
    function: Callable[[Item], None],
    items: Sequence[Item],
    runner: str,
    options: Sequence[str],
) -> None:
    """Calls `function(item)` for every item, on Beam's workers; returns when all did.

    Args:
      function: can be pickled; called again for an item whose worker failed.
      items: can be pickled, too.
      runner: of Beam, e.g. "DirectRunner" (all cores of this machine), "FlinkRunner".
      options: Beam's own flags.

    Raises:
      BeamError: Beam isn't installed, or an option is none of Beam's.
    """
    beam = _import()
    # A worker would tell in 20 lines that it came and went.
    logging.getLogger("apache_beam").setLevel(logging.WARNING)
    with beam.Pipeline(options=_options(runner, options)) as pipeline:
        _ = (
            pipeline
            | beam.Create(list(items), reshuffle=False)
            | beam.Reshuffle()
            | beam.Map(function)
        )


def num_workers(runner: str, options: Sequence[str]) -> int:
    """How many workers the flags ask for; where they leave it open, 16."""
    given = _options(runner, options).get_all_options()
    if _is_local(runner):
        return given["direct_num_workers"] or os.cpu_count()
    return max(int(given.get(name) or 0) for name in _WORKER_OPTIONS) or 16


def _options(runner: str, options: Sequence[str]):
    _import()
    from apache_beam.options.pipeline_options import PipelineOptions

    flags = list(options)
    if _is_local(runner):
        if not any(flag.startswith("--direct_num_workers") for flag in flags):
            flags.append(f"--direct_num_workers={os.cpu_count()}")
        flags = [f"--runner={_LOCAL_RUNNER}", *_LOCAL_OPTIONS, *flags]
    else:
        flags = [f"--runner={runner}", *flags]
    return PipelineOptions(flags)


def _is_local(runner: str) -> bool:
    return runner == "DirectRunner"


def _import():
    try:
        import apache_beam
    except ImportError as error:
        raise BeamError(
            "--config.corpus.runner needs Apache Beam; run `pip install "
            "'radit_jax[beam]'`, or leave the flag out to use this process alone."
        ) from error
    return apache_beam
