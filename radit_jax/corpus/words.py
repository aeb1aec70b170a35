"""A text's words, as comparing texts needs them: for duplicates and contamination."""

import re
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"\w+")


def normalised_words(text: str) -> list[str]:
    """In lower case, without punctuation: "He's 5'4\\"." has "he", "s", "5", "4"."""
    return _WORD.findall(text.lower())


def ngrams(words: Sequence[str], length: int) -> Iterable[str]:
    """Every run of so many words, joined by spaces; none in a shorter text."""
    return (" ".join(words[i : i + length]) for i in range(len(words) - length + 1))
