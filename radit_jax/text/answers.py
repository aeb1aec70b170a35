"""Answers compared as SQuAD's official script compares them (v1.1 and v2.0).

Normalisation knows ASCII punctuation and English articles only, and leaves accents
as they are: published EM numbers depend on that, so it is not improved here.
"""

import collections
import re
import string
from collections.abc import Callable, Sequence
from typing import TypeVar

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_Value = TypeVar("_Value", bool, float)


def normalize(text: str) -> str:
    """Lower case, without punctuation and articles, single spaces."""
    text = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def first_line(text: str) -> str:
    """What a model generated before its first line end, without outer spaces."""
    return text.split("\n", 1)[0].strip()


def exact_match(prediction: str, golds: Sequence[str]) -> bool:
    """Is the prediction one of the accepted answers, both normalised?

    Raises:
      ValueError: no accepted answers.
    """
    return _best(lambda gold: normalize(prediction) == normalize(gold), golds)


def f1(prediction: str, golds: Sequence[str]) -> float:
    """The harmonic mean of the precision and recall of tokens, best over `golds`.

    Where either side has no tokens left, 1 if both have none, else 0 (SQuAD v2.0).

    Raises:
      ValueError: no accepted answers.
    """
    return _best(lambda gold: _token_f1(prediction, gold), golds)


def contains(text: str, golds: Sequence[str]) -> bool:
    """Does an accepted answer stand in the text, as a run of whole tokens?

    An answer without tokens ("The") is found nowhere, rather than everywhere.

    Raises:
      ValueError: no accepted answers.
    """
    tokens = f" {normalize(text)} "
    return _best(
        lambda gold: bool(normalize(gold)) and f" {normalize(gold)} " in tokens, golds
    )


def _token_f1(prediction: str, gold: str) -> float:
    predicted, accepted = normalize(prediction).split(), normalize(gold).split()
    if not predicted or not accepted:
        return float(predicted == accepted)
    common = collections.Counter(predicted) & collections.Counter(accepted)
    # 2PR / (P + R), with P = common / predicted and R = common / accepted.
    return 2 * common.total() / (len(predicted) + len(accepted))


def _best(measure: Callable[[str], _Value], golds: Sequence[str]) -> _Value:
    if not golds or isinstance(golds, str):
        raise ValueError(
            f"the accepted answers are {golds!r}; give a sequence with one or more."
        )
    return max(measure(gold) for gold in golds)
