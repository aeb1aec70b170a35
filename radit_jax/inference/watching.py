"""Answers that are watched while they grow, as someone reads them."""

from collections.abc import Callable, Sequence

import numpy as np

from radit_jax.inference.decoding import Decoding
from radit_jax.text.tokenizer import LMTokenizer

# Called with a question's number, its prompt's (-1: the mixture of all) and the text
# so far, each of which begins with the one before. What it raises ends the batch.
Watch = Callable[[int, int, str], None]

_UNFINISHED = "\ufffd"  # what some of a character's bytes decode to


class Watcher:
    """Tells of every answer's text whenever there is more of it.

    A text is told without its last spaces, half a character, or what may become a stop
    string: these may still go, and what was told stays.
    """

    def __init__(
        self,
        watch: Watch,
        tokenizer: LMTokenizer,
        decoding: Decoding,
        places: Sequence[tuple[int, int] | None],
    ):
        """Joins rows of a batch to their questions.

        Args:
          watch: is told.
          tokenizer: the LM's.
          decoding: of the answers.
          places: of each row its question and prompt; None: it is not told of.
        """
        self._watch, self._tokenizer, self._decoding = watch, tokenizer, decoding
        self._places = places
        self._told = [""] * len(places)

    def __call__(self, tokens: np.ndarray, num_tokens: np.ndarray) -> None:
        """Looks at the answers so far; see `Sampler.decode`."""
        for i, place in enumerate(self._places):
            if place is None:
                continue
            text = self.settled(tokens[i, : num_tokens[i]].tolist())
            if len(text) > len(self._told[i]):
                self._told[i] = text
                self._watch(*place, text)

    def settled(self, tokens: list[int]) -> str:
        """The text of an answer's first tokens, without what may still go."""
        text = self._decoding.text(self._tokenizer, tokens)
        return self._decoding.stops.settled(text.rstrip(_UNFINISHED)).strip()
