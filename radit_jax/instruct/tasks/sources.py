"""Fine-tuning sets on disk: prepared once, then read as instructions.

Needs the extra `data`. A set is prepared from its publisher's files: those in
`{manual_dir}/{set}/` first, then those downloaded before, then those of its URLs.
"""

import collections
import dataclasses
from collections.abc import Iterator
from types import ModuleType

from absl import logging
from etils import epath

from radit_jax import fingerprint as fingerprints
from radit_jax.instruct.tasks.files import PublisherFiles
from radit_jax.instruct.tasks.task import Drop, Published, SourceError, Task
from radit_jax.types import Instruction


@dataclasses.dataclass(slots=True)
class Summary:
    """What became of a split's records: one may give several instructions."""

    records: int = 0
    kept: int = 0  # instructions
    dropped: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )  # reason → records, or parts of one, that give no instruction

    def __str__(self) -> str:
        why = [f"{count} {reason}" for reason, count in sorted(self.dropped.items())]
        return (
            f"{self.records} records, {self.kept} kept, {self.dropped.total()} dropped"
            + (f" ({', '.join(why)})" if why else "")
        )


def prepare(
    task: Task,
    tasks_dir: epath.PathLike,
    manual_dir: epath.PathLike = "",
    overwrite: bool = False,
) -> None:
    """Builds a set from its publisher's files, once; never leaves a part of it.

    Args:
      task: the set.
      tasks_dir: the folder of all prepared sets.
      manual_dir: a folder with a folder a set of files brought by hand; "": none.
      overwrite: whether to build it again from the files there are now.

    Raises:
      SourceError: a file is missing or can't be read; or the extra is not installed.
    """
    builder, tasks_dir = _builder(), _path(tasks_dir)
    folder = builder.folder(task, tasks_dir)
    if folder.exists() and overwrite:
        folder.rmtree()
    if folder.exists():
        _check_format(task, folder)
        return
    files = PublisherFiles(
        task.name,
        builder.homepage(task, tasks_dir),
        tasks_dir / "downloads" / task.name,
        _path(manual_dir) if manual_dir else None,
    )
    logging.info("Preparing %s in %s.", task.name, folder)
    builder.prepare(task, tasks_dir, files)


def read(
    task: Task,
    split: str,
    tasks_dir: epath.PathLike,
    summary: Summary | None = None,
) -> Iterator[Instruction | Drop]:
    """The instructions of a prepared split, and what is dropped, in the one order.

    Beside what the set's own conversion drops, an instruction without a question or
    an answer is dropped, and one whose id came before.

    Args:
      task: the set.
      split: "train" or "validation"; see `splits`.
      tasks_dir: the folder of all prepared sets.
      summary: counts what is read, if given.

    Raises:
      SourceError: the set is not prepared, or has no such split.
    """
    summary = Summary() if summary is None else summary
    ids: set[str] = set()
    for record in _records(task, split, _path(tasks_dir)):
        summary.records += 1
        found = [_checked(one, ids) for one in task.instructions(record)]
        if not found:
            raise SourceError(
                f"{task.name}: record {summary.records - 1} of {split} gives neither "
                f"an instruction nor a reason why not: {record!r:.200}. Report this "
                "as a bug."
            )
        for one in found:
            if isinstance(one, Drop):
                summary.dropped[one.reason] += 1
            else:
                summary.kept += 1
        yield from found
    logging.info("%s, %s: %s.", task.name, split, summary)


def splits(task: Task) -> tuple[str, ...]:
    """The names that `read` takes."""
    source = task.source
    return tuple(source.files if isinstance(source, Published) else source.splits)


def fingerprint(task: Task, tasks_dir: epath.PathLike) -> str:
    """A hash of the prepared records, for manifests.

    Raises:
      SourceError: the set is not prepared.
    """
    return fingerprints.hash_files(_prepared(task, _path(tasks_dir)))


def _checked(one: Instruction | Drop, ids: set[str]) -> Instruction | Drop:
    if isinstance(one, Drop):
        return one
    if not one.question.strip():
        return Drop("no question")
    if not any(answer.strip() for answer in one.answers):
        return Drop("no answer")
    if one.id in ids:
        return Drop("repeats an id")
    ids.add(one.id)
    return one


def _records(task: Task, split: str, tasks_dir: epath.Path) -> Iterator[dict]:
    if split not in splits(task):
        raise SourceError(
            f"{task.name} has no split {split!r}; it has {', '.join(splits(task))}."
        )
    _prepared(task, tasks_dir)
    source = task.source
    theirs = split if isinstance(source, Published) else source.splits[split]
    return _builder().records(task, theirs, tasks_dir)


def _prepared(task: Task, tasks_dir: epath.Path) -> epath.Path:
    folder = _builder().folder(task, tasks_dir)
    if not folder.exists():
        raise SourceError(
            f"{task.name} is not prepared: there is no {folder}. Run `python -m "
            f"launch.prepare_tasks --tasks={task.name} --tasks_dir={tasks_dir}`."
        )
    _check_format(task, folder)
    return folder


def _check_format(task: Task, folder: epath.Path) -> None:
    """Refuses what another program prepared for TensorFlow."""
    if not any(folder.glob("*.array_record*")):
        raise SourceError(
            f"{task.name} in {folder} is not in the ArrayRecord format, which is read "
            "without TensorFlow. Name another --tasks_dir, or delete that folder."
        )


def _path(path: epath.PathLike) -> epath.Path:
    return epath.Path(path).expanduser()


def _builder() -> ModuleType:
    """The module that needs tensorflow-datasets, imported when it is used."""
    try:
        from radit_jax.instruct.tasks import builder
    except ModuleNotFoundError as error:
        if error.name != "tensorflow_datasets":
            raise
        raise SourceError(
            "fine-tuning sets are read with tensorflow-datasets, which is not "
            "installed. Run: pip install 'radit_jax[data]'"
        ) from error
    return builder
