"""ROUGE-L: the field's (`rouge-score`), and the one in KILT's own scorer."""

import functools
from collections.abc import Sequence
from types import ModuleType
from typing import Any


class RougeError(ValueError):
    """ROUGE that can't be computed."""


def rouge_l(prediction: str, golds: Sequence[str]) -> float:
    """Sentence-level ROUGE-L F-measure, best over `golds`, from 0 to 1.

    By `rouge-score`: letters and digits in lower case, no stemming.

    Raises:
      RougeError: no accepted answers, or the package is missing.
    """
    _check(golds)
    scorer = _scorer()
    found = (scorer.score(gold, prediction)["rougeL"].fmeasure for gold in golds)
    return float(max(found))


@functools.cache
def _scorer() -> Any:
    return _package().RougeScorer(["rougeL"], use_stemmer=False)


def _package() -> ModuleType:
    try:
        from rouge_score import rouge_scorer
    except ModuleNotFoundError as error:
        raise RougeError(
            "ROUGE-L is measured with rouge-score, which is not installed. Run: pip "
            "install 'radit_jax[benchmarks]'"
        ) from error
    return rouge_scorer


def kilt_rouge_l(prediction: str, golds: Sequence[str]) -> float:
    """ROUGE-L as KILT's scorer has it, from 0 to 1, best over `golds`.

    It takes the package `rouge` 1.0: texts are cut at full stops, words at spaces,
    with their case and marks; of the words in the longest common subsequences of all
    pairs of sentences each different one counts once, against the different words of
    either text; and 1e-8 is added to the F-measure's divisor.

    Raises:
      RougeError: no accepted answers.
    """
    _check(golds)
    return max(_kilt_rouge_l(prediction, gold) for gold in golds)


def _kilt_rouge_l(prediction: str, gold: str) -> float:
    predicted, accepted = _sentences(prediction), _sentences(gold)
    if not predicted or not accepted:
        return 0.0
    common = {
        word
        for gold_words in accepted
        for words in predicted
        for word in _longest_common_subsequence(gold_words, words)
    }
    precision = len(common) / len({word for words in predicted for word in words})
    recall = len(common) / len({word for words in accepted for word in words})
    return 2 * precision * recall / (precision + recall + 1e-8)


def _sentences(text: str) -> list[list[str]]:
    return [" ".join(part.split()).split(" ") for part in text.split(".") if part]


def _longest_common_subsequence(first: list[str], second: list[str]) -> list[str]:
    """One of the longest, read from its end; of two ways the one `rouge` goes."""
    lengths = [[0] * (len(second) + 1)]  # of the beginnings' subsequences
    for word in first:
        row, above = [0], lengths[-1]
        for j, other in enumerate(second):
            row.append(above[j] + 1 if word == other else max(above[j + 1], row[j]))
        lengths.append(row)
    found, i, j = [], len(first), len(second)
    while i and j:
        if first[i - 1] == second[j - 1]:
            found.append(first[i - 1])
            i, j = i - 1, j - 1
        elif lengths[i - 1][j] > lengths[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return found


def _check(golds: Sequence[str]) -> None:
    if not golds or isinstance(golds, str):
        raise RougeError(
            f"the accepted answers are {golds!r}; give a sequence with one or more."
        )
