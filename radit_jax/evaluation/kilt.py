"""KILT's scores: of answers, of the pages behind them, and of both together.

A KILT question names evidence sets of Wikipedia pages, any one of which is enough. A
"KILT-" score counts an answer's score only where R-precision is 1: where the first
pages are just those of an evidence set (arXiv 2009.02252, §5). These are the numbers
of KILT's `eval_downstream.py` and `eval_retrieval.py`, by page.
"""

from collections.abc import Callable, Collection, Sequence

import numpy as np

from radit_jax.evaluation import rouge
from radit_jax.evaluation.metrics import Scores, accuracy
from radit_jax.text import answers as answer_text

Evidence = Sequence[Collection[str]]
_DEPTH = 5  # pages, of recall@5
_ANSWER_SCORES: dict[str, Callable[[str, Sequence[str]], float]] = {
    "accuracy": accuracy,
    "em": answer_text.exact_match,
    "f1": answer_text.f1,
    "rouge_l": rouge.kilt_rouge_l,
}


def scores(
    predictions: Sequence[str],
    golds: Sequence[Sequence[str]],
    pages: Sequence[Sequence[str]],
    evidence: Sequence[Evidence],
) -> Scores:
    """All of KILT's scores, a value a question, in percent.

    Args:
      predictions: an answer a question.
      golds: its accepted answers.
      pages: the pages of its retrieved chunks, best first; repeats count once.
      evidence: its evidence sets, of the same names of pages (ids, or titles).

    Returns:
      `accuracy`, `em`, `f1` and `rouge_l` (KILT's own), `r_precision`, `recall@5`,
      and `kilt_…` of the first four.

    Raises:
      ValueError: counts that differ, or a question without accepted answers.
    """
    counts = {len(given) for given in (predictions, golds, pages, evidence)}
    if len(counts) > 1:
        raise ValueError(
            f"{len(predictions)} predictions, {len(golds)} lists of accepted answers, "
            f"{len(pages)} of pages and {len(evidence)} of evidence; give one of each "
            "a question."
        )
    pairs = list(zip(predictions, golds, strict=True))
    found = {
        name: 100.0 * np.array([float(score(*pair)) for pair in pairs])
        for name, score in _ANSWER_SCORES.items()
    }
    behind = list(zip(evidence, pages, strict=True))
    precise = np.array([r_precision(*pair) for pair in behind])
    conditioned = {f"kilt_{n}": found[n] * (precise == 1) for n in _ANSWER_SCORES}
    recall = np.array([recall_at(*pair, _DEPTH) for pair in behind])
    retrieval = {"r_precision": 100.0 * precise, f"recall@{_DEPTH}": 100.0 * recall}
    return found | conditioned | retrieval


def r_precision(evidence: Evidence, pages: Sequence[str]) -> float:
    """The share of an evidence set's R pages among the first R, best over the sets.

    Example: of the sets {a, b} and {c}, pages (b, d, c) find half of the first set in
    two places and none of the second in one: 0.5.
    """
    ranked = list(dict.fromkeys(pages))
    shares = (
        sum(page in wanted for page in ranked[: len(wanted)]) / len(wanted)
        for wanted in map(set, evidence)
        if wanted
    )
    return max(shares, default=0.0)


def recall_at(evidence: Evidence, pages: Sequence[str], depth: int) -> float:
    """The share of evidence sets that are whole within the first places.

    An evidence set takes one place, that of its last page; its earlier pages take
    none once it is whole. Example: of the sets {a, b} and {c}, pages (a, x, b, c) rank
    as x, {a, b}, {c}: at depth 2, half of the sets are found.
    """
    missing = [set(wanted) for wanted in dict.fromkeys(map(frozenset, evidence))]
    missing = [wanted for wanted in missing if wanted]
    if not missing:
        return 0.0
    places: list[tuple[int, bool] | None] = []  # a set and whether it is whole; other
    for page in dict.fromkeys(pages):
        holders = [i for i, wanted in enumerate(missing) if page in wanted]
        for i in holders:
            missing[i].discard(page)
            if (i, False) in places:
                places.remove((i, False))
            places.append((i, not missing[i]))
        if not holders:
            places.append(None)
    num_found = sum(place is not None and place[1] for place in places[:depth])
    num_sets = len(missing)
    return num_found / num_sets


def guess_record(item_id: str, answer: str, page_ids: Sequence[str]) -> dict:
    """A line of the file that KILT's scorer and its leaderboard take."""
    provenance = [{"wikipedia_id": page} for page in dict.fromkeys(page_ids)]
    return {"id": item_id, "output": [{"answer": answer, "provenance": provenance}]}
