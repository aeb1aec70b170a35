"""How well rankings find the judged documents: measures of ir-measures, in percent."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from radit_jax.evaluation.metrics import Interval, Scores, interval

MEASURES = ("R@1", "R@5", "R@20", "R@100", "RR@10", "nDCG@10")
_NAMES = {"RR@10": "MRR@10"} | {f"R@{k}": f"recall@{k}" for k in (1, 5, 20, 100)}
DEEPEST = 100  # places that a measure looks at


class QualityError(ValueError):
    """Rankings that can't be measured."""


def question_scores(
    rankings: Mapping[str, Sequence[str]], qrels: Mapping[str, Mapping[str, int]]
) -> Scores:
    """Each measure of each question, in the order of `rankings`, in percent.

    recall@k is the share of a question's relevant documents among its first k places.
    A document that comes again, with another of its chunks, holds its place and counts
    as not relevant: a place is a chunk.

    Args:
      rankings: question → its documents, best first.
      qrels: question → judged document → relevance; 0 and less: not relevant.

    Returns:
      Arrays by the measures' names.

    Raises:
      QualityError: questions without judgements, or judgements without a ranking.
    """
    _check(rankings, qrels)
    ir_measures = _package()
    run = {query: _scored(ranking) for query, ranking in rankings.items()}
    measures = [ir_measures.parse_measure(name) for name in MEASURES]
    rows = {query: row for row, query in enumerate(rankings)}
    scores = {_NAMES.get(name, name): np.zeros(len(rows)) for name in MEASURES}
    for found in ir_measures.iter_calc(measures, qrels, run):
        name = str(found.measure)
        scores[_NAMES.get(name, name)][rows[found.query_id]] = 100.0 * found.value
    return scores


def check_documents(
    qrels: Mapping[str, Mapping[str, int]], documents: set[str], allow_missing: bool
) -> None:
    """Checks that every judged document is there to be found.

    Args:
      qrels: question → judged document → relevance.
      documents: ids of the corpus.
      allow_missing: count such documents as not found, as BEIR's own code does.

    Raises:
      QualityError: judged documents that the corpus lacks.
    """
    missing = [
        (question, document)
        for question, judged in qrels.items()
        for document in judged
        if document not in documents
    ]
    if missing and not allow_missing:
        raise QualityError(
            f"{len(missing)} judged documents are not in the corpus, the first is "
            f"{missing[0][1]!r} of question {missing[0][0]!r}; judgements and corpus "
            "must be of one set. Where a published set is like that, "
            "--allow_missing counts them as not found, as published numbers do."
        )


def with_intervals(
    scores: Scores, num_resamples: int, seed: int
) -> dict[str, Interval]:
    """The mean of each measure with its 95 % bootstrap interval."""
    return {
        name: interval(values, num_resamples, seed) for name, values in scores.items()
    }


def render_markdown(results: Mapping[str, Any]) -> str:
    """A table of systems and measures, one decimal, best of each column in bold.

    Args:
      results: `num_questions`, `num_chunks` and `systems`: name → `with_intervals`.
    """
    systems = results["systems"]
    columns = list(next(iter(systems.values())))
    best = {c: max(_shown(row[c]) for row in systems.values()) for c in columns}
    lines = [
        f"{results['num_questions']} questions over {results['num_chunks']} passages; "
        "percent.",
        "",
        "| retriever | " + " | ".join(columns) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    for name, row in systems.items():
        cells = [
            f"**{_shown(row[c])}**"
            if len(systems) > 1 and _shown(row[c]) == best[c]
            else f"{_shown(row[c])}"
            for c in columns
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _shown(value: Interval) -> float:
    return round(value["value"], 1)


def _scored(ranking: Sequence[str]) -> dict[str, float]:
    """Documents with falling scores, so that no tool has equal ones to order."""
    seen, scored = set(), {}
    for place, document in enumerate(ranking[:DEEPEST]):
        # A tab is in no id: nothing is judged by this name.
        name = f"{document}\t{place}" if document in seen else document
        seen.add(document)
        scored[name] = float(DEEPEST - place)
    return scored


def _check(rankings, qrels) -> None:
    if not rankings:
        raise QualityError("there are no rankings to measure; give one at least.")
    unjudged = [query for query in rankings if query not in qrels]
    unranked = [query for query in qrels if query not in rankings]
    if unjudged or unranked:
        raise QualityError(
            f"{len(unjudged)} questions have a ranking but no judgements "
            f"{unjudged[:1]}, {len(unranked)} judgements but no ranking "
            f"{unranked[:1]}; both must be of the same questions."
        )


def _package() -> Any:
    try:
        import ir_measures
    except ImportError as error:
        raise QualityError(
            "ir_measures is not installed, which measures retrieval; run "
            "`pip install 'radit_jax[retrieval]'`."
        ) from error
    return ir_measures
