"""Downloads and prepares fine-tuning sets, and prints what became of their records.

python -m launch.prepare_tasks --tasks=gsm8k,squad_v2 --manual_dir=files
"""

from collections.abc import Iterator

from absl import flags

from launch import cli
from radit_jax.config import InstructionsConfig
from radit_jax.instruct.tasks import TASKS, sources
from radit_jax.instruct.tasks.task import SourceError, Task

_TASKS = flags.DEFINE_list("tasks", list(TASKS), "Fine-tuning sets, with commas.")
_TASKS_DIR = flags.DEFINE_string(
    "tasks_dir", InstructionsConfig().tasks_dir, "Folder of the prepared sets."
)
_MANUAL_DIR = flags.DEFINE_string(
    "manual_dir",
    "",
    "Folder with a folder a set of publishers' files; what is there isn't downloaded.",
)


def main(argv) -> None:
    """Prepares each set that it can, then tells of those that it could not.

    Raises:
      SourceError: with the problems of all the sets that are not prepared.
    """
    cli.refuse_arguments(argv)
    unknown = [name for name in _TASKS.value if name not in TASKS]
    if unknown:
        raise SourceError(f"--tasks has {unknown}; the sets are {', '.join(TASKS)}.")
    rows, problems = [], []
    for name in _TASKS.value:
        try:
            sources.prepare(
                TASKS[name], _TASKS_DIR.value, _MANUAL_DIR.value, cli.OVERWRITE.value
            )
            rows += _rows(TASKS[name])
        except SourceError as error:
            problems.append(str(error))
    print(_table(rows))
    if problems:
        raise SourceError(
            f"{len(problems)} of {len(_TASKS.value)} sets are not prepared:\n"
            + "\n".join(f"  - {problem}" for problem in problems)
        )


def _rows(task: Task) -> Iterator[tuple]:
    for split in sources.splits(task):
        summary = sources.Summary()
        for _ in sources.read(task, split, _TASKS_DIR.value, summary):
            pass
        why = ", ".join(f"{n} {reason}" for reason, n in summary.dropped.most_common())
        dropped = summary.dropped.total()
        yield task.name, split, summary.records, summary.kept, dropped, why


def _table(rows: list[tuple]) -> str:
    head = ("set", "split", "records", "kept", "dropped", "why")
    return "\n".join(
        f"{name:<18}{split:<12}{records:>9}{kept:>9}{dropped:>9}  {why}".rstrip()
        for name, split, records, kept, dropped, why in (head, *rows)
    )


if __name__ == "__main__":
    cli.run_main(main)
