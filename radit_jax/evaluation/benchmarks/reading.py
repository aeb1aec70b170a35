"""The items of a split, checked, and draws from them."""

import hashlib
from collections.abc import Iterator, Sequence

from etils import epath

from radit_jax.corpus.json_lines import CorpusError, Problems
from radit_jax.corpus.records import Fault
from radit_jax.evaluation.benchmarks import files
from radit_jax.evaluation.benchmarks.item import Benchmark, Item

MAX_DEV_ITEMS = 2500  # of a set, paper §6


def read(benchmark: Benchmark, split: str, folder: epath.PathLike) -> list[Item]:
    """Reads a split's items, in the order of its files.

    Args:
      benchmark: which.
      split: one of `benchmark.splits`.
      folder: of all benchmarks, with a folder each.

    Raises:
      CorpusError: files are missing, or with the first 20 problems in them.
    """
    paths = files.find(benchmark, split, folder)
    problems = Problems(f"{benchmark.name}, {split}")
    items: dict[str, Item] = {}
    rows = files.read(paths, benchmark.source.label_field, problems)
    for number, (place, record) in enumerate(rows):
        try:
            item = benchmark.source.convert(f"{split}-{number}", record)
        except Fault as fault:
            problems.add(f"{place} {fault}")
            continue
        faults = list(_faults(benchmark, item))
        if item.id in items:
            faults.append(f"repeats the id {item.id!r}; give it one of its own.")
        for fault in faults:
            problems.add(f"{place} {fault}")
        items.setdefault(item.id, item)
    problems.check()
    if not items:
        names = ", ".join(path.name for path in paths)
        raise CorpusError(f"{benchmark.name}, {split}: {names} holds no records.")
    return list(items.values())


def _faults(benchmark: Benchmark, item: Item) -> Iterator[str]:
    """What an item of this kind can't be without."""
    if benchmark.kind == "generate":
        if not item.answers:
            yield "has no answers; give one at least, or drop the record."
        return
    num_options = len(item.options)
    if num_options < 2:
        yield f"has {num_options} option(s); a choice needs two. Drop the record."
    elif not 0 <= item.gold < num_options:
        yield f"names option {item.gold} of {num_options} as right; correct it."


def sample(
    items: Sequence[Item], max_items: int = MAX_DEV_ITEMS, seed: int = 0
) -> list[Item]:
    """Draws items, and leaves them in their order; all where there are no more.

    The draw is a function of ids and seed, and a smaller sample is part of every
    larger one.

    Raises:
      ValueError: `max_items` is below 1.
    """
    if max_items < 1:
        raise ValueError(f"max_items is {max_items}; give 1 or more.")
    drawn = sorted(items, key=lambda item: _draw(item.id, seed))[:max_items]
    kept = {item.id for item in drawn}
    return [item for item in items if item.id in kept]


def demonstrations(
    train_items: Sequence[Item], num_shots: int, seed: int = 0, subject: str = ""
) -> list[Item]:
    """Draws the solved items that stand before a question, in the drawn order.

    Fewer shots are the first of more. The answers of choices are whatever was drawn.

    Args:
      train_items: of another split than the items that are asked.
      num_shots: how many; 0: none.
      seed: of the draw.
      subject: draw only from this one's (MMLU).

    Raises:
      ValueError: there are too few.
    """
    pool = [item for item in train_items if subject in ("", item.subject)]
    if len(pool) < num_shots:
        of_subject = f" of {subject!r}" if subject else ""
        raise ValueError(
            f"{num_shots} demonstrations are wanted, but there are {len(pool)} items"
            f"{of_subject} to draw them from; lower the number of shots, or bring a "
            "larger train split."
        )
    return sorted(pool, key=lambda item: _draw(item.id, seed))[:num_shots]


def _draw(name: str, seed: int) -> bytes:
    """A number without pattern that depends on the name and the seed alone."""
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()
