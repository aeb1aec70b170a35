"""The scores of a benchmark's predictions, a value an item, in percent."""

from collections.abc import Callable, Sequence

import numpy as np

from radit_jax.evaluation import kilt, metrics, rouge
from radit_jax.evaluation.benchmarks.item import Benchmark, Item
from radit_jax.evaluation.benchmarks.prompts import FEVER_VERBALIZERS
from radit_jax.evaluation.metrics import Scores
from radit_jax.text import answers as answer_text

_MEASURES: dict[str, Callable[[str, Sequence[str]], float]] = {
    "em": answer_text.exact_match,
    "f1": answer_text.f1,
    "accuracy": metrics.accuracy,
    "contains": answer_text.contains,
    "rouge_l": rouge.rouge_l,
}
_SIDE_MEASURES = ("em", "f1", "contains")  # cheap, and told beside the paper's


def answer_scores(
    benchmark: Benchmark, items: Sequence[Item], predictions: Sequence[str]
) -> Scores:
    """Scores of generated answers: the paper's metric first, then EM, F1 and contains.

    Raises:
      ValueError: the benchmark is one to choose, or counts differ.
    """
    _check(benchmark, "generate", len(items), len(predictions))
    names = dict.fromkeys((benchmark.metric, *_SIDE_MEASURES))
    pairs = list(zip(predictions, (item.answers for item in items), strict=True))
    return {
        name: 100.0 * np.array([float(_MEASURES[name](*pair)) for pair in pairs])
        for name in names
    }


def choice_scores(
    benchmark: Benchmark, items: Sequence[Item], chosen: Sequence[int]
) -> Scores:
    """Accuracy of chosen options, by their places.

    Raises:
      ValueError: the benchmark is one to generate, counts differ, or there is no such
        option.
    """
    _check(benchmark, "choice", len(items), len(chosen))
    for item, place in zip(items, chosen, strict=True):
        if not 0 <= place < len(item.options):
            raise ValueError(
                f"{benchmark.name} {item.id!r}: option {place} was chosen of "
                f"{len(item.options)}, counted from 0; predict again."
            )
    right = [item.gold == place for item, place in zip(items, chosen, strict=True)]
    return {"accuracy": 100.0 * np.array(right, np.float64)}


def kilt_scores(
    items: Sequence[Item],
    predictions: Sequence[str],
    pages: Sequence[Sequence[str]],
    by: str = "wikipedia_id",
) -> Scores:
    """KILT's scores of answers and of the retrieved pages.

    Args:
      items: of a KILT set.
      predictions: an answer an item; of FEVER see `kilt_answer`.
      pages: the pages of its chunks, best first, named as `by` says.
      by: "wikipedia_id", or "title" for a corpus that is not KILT's own.

    Raises:
      ValueError: counts differ.
    """
    evidence = [
        [[getattr(page, by) for page in wanted] for wanted in item.evidence]
        for item in items
    ]
    return kilt.scores(predictions, [item.answers for item in items], pages, evidence)


def kilt_answer(item: Item, option: int) -> str:
    """What KILT calls the chosen option: FEVER's label of Yes or No."""
    labels = {word: label for label, word in FEVER_VERBALIZERS.items()}
    text = item.options[option]
    return labels[text] if item.task == "fever" else text


def _check(benchmark: Benchmark, kind: str, num_items: int, num_given: int) -> None:
    if benchmark.kind != kind:
        raise ValueError(
            f"{benchmark.name} is a benchmark to {benchmark.kind!r}, not to {kind!r}; "
            "call the other function."
        )
    if num_items != num_given or not num_items:
        raise ValueError(
            f"{num_given} predictions for {num_items} items of {benchmark.name}; give "
            "one an item, and at least one item."
        )
