"""What a run learns from: sets of questions, and each set's share (paper §2, §4)."""

import collections
import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from radit_jax.config import ExamplesConfig, InstructionsConfig
from radit_jax.corpus import questions
from radit_jax.instruct import batches
from radit_jax.types import Retrieved

TEXT = "corpus text"  # the unsupervised part of D_L
CORPUS = "corpus queries"  # the part of D_R that is cut from chunks
DIALOGUE = "oasst1"  # has a share of its own in D_L
OWN = "own questions"  # what a set is called that the user brought


class MixtureError(ValueError):
    """Sets that can't be mixed: the names and the remedy."""


@dataclasses.dataclass(frozen=True, slots=True)
class Portion:
    """One set's part of a mixture."""

    name: str
    num_questions: int  # after the cap
    num_examples: int  # distinct: a question has one for each chunk
    weight: float  # share of the draws
    num_drawn: int  # examples drawn; less than distinct ones, or some again

    def to_record(self) -> dict[str, Any]:
        """For a manifest's counts."""
        return dataclasses.asdict(self) | {"weight": round(self.weight, 5)}


def lm_questions(
    found: Iterable[Retrieved], settings: InstructionsConfig, max_task_examples: int
) -> dict[str, list[Retrieved]]:
    """D_L: the questions of `lm_tasks` and the user's own, by set, in their order.

    A set has at most `max_task_examples` (0: no limit), drawn by the seed. Two are
    not capped: oasst1, which has a share of its own, and the user's questions, whose
    limit is `instructions.max_train`.
    """
    names = ("", *settings.lm_tasks)
    sets = by_set(item for item in found if item.instruction.task in names)
    for name, items in sets.items():
        if name not in (DIALOGUE, OWN):
            kept = questions.subset(
                [item.instruction for item in items], max_task_examples, settings.seed
            )
            ids = {one.id for one in kept}
            sets[name] = [item for item in items if item.instruction.id in ids]
    return sets


def by_set(found: Iterable[Retrieved]) -> dict[str, list[Retrieved]]:
    """The questions of each set, in their order; the sets by name."""
    sets: dict[str, list[Retrieved]] = {}
    for item in found:
        sets.setdefault(item.instruction.task or OWN, []).append(item)
    return dict(sorted(sets.items()))


def sizes_by_set(found: Iterable[Retrieved]) -> dict[str, int]:
    """How many questions each set has."""
    sizes = collections.Counter(item.instruction.task or OWN for item in found)
    return dict(sorted(sizes.items()))


def lm_portions(
    sizes: Mapping[str, tuple[int, int]], num_chunks: int, settings: ExamplesConfig
) -> list[Portion]:
    """D_L's shares: corpus text, oasst1, and the rest by their number of questions.

    With `settings.num_examples` that many are drawn. With 0, every example of the
    rest is there once, and text and oasst1 as often as their shares then ask.

    Args:
      sizes: set → (questions, examples), after the cap.
      num_chunks: of the corpus.
      settings: the weights.

    Raises:
      MixtureError: there is nothing to draw from.
    """
    reserved = {TEXT: settings.text_weight if num_chunks else 0.0}
    reserved[DIALOGUE] = settings.dialogue_weight if DIALOGUE in sizes else 0.0
    reserved = {name: weight for name, weight in reserved.items() if weight}
    # What is seen once, where no number of draws is given, and shares what is left.
    rest = [name for name in sizes if name != DIALOGUE]
    if not rest and reserved:
        rest = [max(reserved)]  # oasst1 rather than text
        del reserved[rest[0]]
    if not rest:
        raise MixtureError(
            "there is nothing to make LM examples of: no question of D_L, and no "
            "corpus text. Give --config.instructions.train or .lm_tasks, or raise "
            "--config.examples.text_weight."
        )
    sizes = {TEXT: (num_chunks, num_chunks), **sizes}
    by = 0 if settings.num_examples else 1  # questions, or examples
    total = sum(sizes[name][by] for name in rest)
    left = 1 - sum(reserved.values())
    weights = reserved | {name: left * sizes[name][by] / total for name in rest}
    num = settings.num_examples or round(total / left)
    drawn = dict(zip(weights, _apportion([*weights.values()], num), strict=True))
    if not settings.num_examples:
        drawn |= {name: sizes[name][1] for name in rest}
    return [
        Portion(name, *sizes[name], weights[name], drawn[name])
        for name in sorted(weights)
    ]


def once(sizes: Mapping[str, tuple[int, int]]) -> list[Portion]:
    """Every example of every set once: what is validated on."""
    total = sum(examples for _, examples in sizes.values())
    return [
        Portion(name, number, examples, examples / total, examples)
        for name, (number, examples) in sizes.items()
    ]


def retriever_portions(
    sizes: Mapping[str, int], num_corpus: int, corpus_weight: float, num_draws: int
) -> list[Portion]:
    """D_R's shares: corpus queries, and the other sets by their number of questions.

    Args:
      sizes: set → questions.
      num_corpus: corpus queries; without any, or without any set, the other has all.
      corpus_weight: their share.
      num_draws: queries that a run trains on.
    """
    total = sum(sizes.values())
    share = (corpus_weight if total else 1.0) if num_corpus else 0.0
    weights = {name: (1 - share) * size / total for name, size in sizes.items()}
    if num_corpus:
        sizes, weights = {**sizes, CORPUS: num_corpus}, weights | {CORPUS: share}
    drawn = _apportion([*weights.values()], num_draws)
    return [
        Portion(name, sizes[name], sizes[name], weights[name], number)
        for name, number in zip(weights, drawn, strict=True)
    ]


def _apportion(weights: Sequence[float], num: int) -> list[int]:
    """Whole numbers near `weights * num` whose sum is `num` (largest remainder)."""
    if not weights:
        return []
    exact = np.asarray(weights) * num
    counts = np.floor(exact).astype(int)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: num - counts.sum()]] += 1
    return counts.tolist()


def draw(portions: Sequence[Portion], seed: int) -> Iterator[tuple[str, int]]:
    """(Set, number of its example) in a shuffled order, `num_drawn` of each set.

    A set is walked through in seeded permutations, so that none of its examples comes
    again before all have come. The walk of a set depends on the seed and its name and
    size alone.
    """
    if not portions:
        return
    walks = [
        batches.shuffled(portion.num_examples, _seed(portion.name, seed))
        for portion in portions
    ]
    ends = np.cumsum([portion.num_drawn for portion in portions])
    order = batches.shuffled(int(ends[-1]), seed)
    for i in range(int(ends[-1])):
        place = order[i]
        which = int(np.searchsorted(ends, place, side="right"))
        begin = int(ends[which]) - portions[which].num_drawn
        yield portions[which].name, walks[which][place - begin]


def _seed(name: str, seed: int) -> int:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
