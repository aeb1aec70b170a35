"""Scores of answers and of retrieved lists, with bootstrap intervals.

Answer scores and recall are in percent; MRR is a fraction, from 0 to 1. An interval
is a dict `{"value", "low", "high"}`, ready for `results.json`.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float

from radit_jax.text import answers as answer_text

_RESAMPLE_BLOCK = 4_000_000  # drawn indices held at once: 32 MB of int64

Interval = dict[str, float]
Scores = dict[str, Float[np.ndarray, " b"]]


def bootstrap_interval(
    values: Sequence[float] | np.ndarray, num_resamples: int, seed: int
) -> tuple[float, float, float]:
    """The mean of `values`, and its 95 % percentile bootstrap interval.

    It covers the drawing of the questions, not the drawing of a training seed.

    Args:
      values: one score a question, in any unit.
      num_resamples: how often the questions are drawn again, with replacement.
      seed: of the draws. Equal seeds draw equal questions for equal counts.

    Returns:
      (mean, low, high), in the unit of `values`.

    Raises:
      ValueError: with no values, a non-finite value, or no resamples.
    """
    values = _checked(values, num_resamples)
    rng = np.random.default_rng(seed)
    block = max(1, _RESAMPLE_BLOCK // len(values))
    means = []
    for start in range(0, num_resamples, block):
        shape = (min(block, num_resamples - start), len(values))
        means.append(values[rng.integers(0, len(values), shape)].mean(axis=1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def _checked(values: Sequence[float] | np.ndarray, num_resamples: int) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(
            f"scores have shape {values.shape}; give one score a question, and at "
            "least one question."
        )
    if not np.isfinite(values).all():
        first = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(
            f"score {first} is {values[first]}; leave out questions without a score."
        )
    if num_resamples < 1:
        raise ValueError(
            f"num_resamples is {num_resamples}; set --config.evaluation.num_bootstrap "
            "to 1 or more."
        )
    return values


def interval(
    values: Sequence[float] | np.ndarray, num_resamples: int, seed: int
) -> Interval:
    """`bootstrap_interval` as the dict that `results.json` holds."""
    value, low, high = bootstrap_interval(values, num_resamples, seed)
    return {"value": value, "low": low, "high": high}


def paired_difference(
    first: Sequence[float] | np.ndarray,
    second: Sequence[float] | np.ndarray,
    num_resamples: int,
    seed: int,
) -> Interval:
    """`first` minus `second` on the same questions.

    Both systems are judged on the same redrawn questions, so what makes a question
    hard for both cancels, and the interval is narrower than two separate ones.

    Args:
      first: one score a question.
      second: likewise, in the same order of questions.
      num_resamples: how often the questions are drawn again.
      seed: of the draws.

    Returns:
      The difference of the means, with its interval.

    Raises:
      ValueError: when the two do not have one score for each question.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape:
        raise ValueError(
            f"one system has scores of shape {first.shape}, the other of "
            f"{second.shape}; score both on the same questions."
        )
    return interval(first - second, num_resamples, seed)


def accuracy(prediction: str, golds: Sequence[str]) -> bool:
    """Is the prediction one of the accepted answers, letter by letter?

    KILT counts FEVER, AIDA, zsRE and T-REx so; outer spaces do not matter.

    Raises:
      ValueError: no accepted answers.
    """
    if not golds or isinstance(golds, str):
        raise ValueError(
            f"the accepted answers are {golds!r}; give a sequence with one or more."
        )
    return prediction.strip() in {gold.strip() for gold in golds}


def score_predictions(lines: Iterable[dict]) -> dict[str, list[float]]:
    """Scores each predicted answer against the accepted ones.

    Args:
      lines: one dict a question, with `answer` (the prediction) and `answers` (all
        accepted ones); other fields are ignored.

    Returns:
      `em`, `f1` and `contains`, each one score a question, in percent.

    Raises:
      ValueError: when a line lacks one of the two fields.
    """
    scores = {"em": [], "f1": [], "contains": []}
    for number, line in enumerate(lines):
        if missing := {"answer", "answers"} - line.keys():
            raise ValueError(
                f"prediction {number} has no {sorted(missing)}; found {sorted(line)}. "
                "Run the predict stage again."
            )
        pair = line["answer"], line["answers"]
        scores["em"].append(100.0 * answer_text.exact_match(*pair))
        scores["f1"].append(100.0 * answer_text.f1(*pair))
        scores["contains"].append(100.0 * answer_text.contains(*pair))
    return scores


def retrieval_scores(
    ranked: Sequence[Sequence[str]],
    positives: Sequence[Sequence[str]],
    ks: Sequence[int],
) -> Scores:
    """Success at k and reciprocal rank, for each question that has positives.

    For example, ranked ["a", "c", "b"] with positives ["b", "c"] finds its first
    positive at rank 2: recall@1 is 0, recall@2 is 100 and mrr is 1/2.

    Args:
      ranked: for each question, document ids of its chunks, best chunk first; a
        document may come more than once.
      positives: for each question, the documents that hold the answer.
      ks: ranks at which any positive counts as found.

    Returns:
      `recall@k` in percent for each k, and `mrr` from 0 to 1 over the ranks given
      (0 where no positive is among them).

    Raises:
      ValueError: when the two differ in length, no question has positives, or a
        ranked list is shorter than the largest k.
    """
    ranks = _first_positive_ranks(ranked, positives, max(ks))
    scores = {f"recall@{k}": 100.0 * (ranks <= k) for k in ks}
    return scores | {"mrr": 1.0 / ranks}


def retrieval_metrics(
    ranked: Sequence[Sequence[str]],
    positives: Sequence[Sequence[str]],
    ks: Sequence[int],
    num_resamples: int,
    seed: int,
) -> dict[str, Interval | int]:
    """`retrieval_scores`, averaged, with intervals and the counts of questions.

    Returns:
      An interval for each `recall@k` and for `mrr`; `num_questions`, those measured;
      `num_without_positives`, those left out.
    """
    scores = retrieval_scores(ranked, positives, ks)
    measured = {
        name: interval(values, num_resamples, seed) for name, values in scores.items()
    }
    num_questions = len(scores["mrr"])
    counts = {
        "num_questions": num_questions,
        "num_without_positives": len(positives) - num_questions,
    }
    return measured | counts


def _first_positive_ranks(ranked, positives, depth: int) -> Float[np.ndarray, " b"]:
    """The rank of the first positive, from 1; infinite where there is none."""
    if len(ranked) != len(positives):
        raise ValueError(
            f"{len(ranked)} ranked lists for {len(positives)} questions; give one each."
        )
    pairs = [pair for pair in zip(ranked, positives, strict=True) if pair[1]]
    if not pairs:
        raise ValueError(
            f"none of {len(positives)} questions names its positives; recall and MRR "
            "need the `positives` field, leave them out without it."
        )
    shortest = min(len(documents) for documents, _ in pairs)
    if shortest < depth:
        raise ValueError(
            f"recall@{depth} needs {depth} chunks a question, but one has {shortest}; "
            "raise --config.retrieve.num_chunks or measure at a smaller k."
        )
    return np.array([_first_positive_rank(*pair) for pair in pairs])


def _first_positive_rank(documents: Sequence[str], positives: Sequence[str]) -> float:
    wanted = set(positives)
    ranks = (rank for rank, name in enumerate(documents, 1) if name in wanted)
    return float(next(ranks, np.inf))
