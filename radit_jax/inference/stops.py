"""Where an answer ends: at the first stop string in its text."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from radit_jax.text.tokenizer import LMTokenizer

NEWLINE = ("\n",)


class Stops:
    """Stop strings, for tokens and for texts.

    Args:
      tokenizer: the LM's.
      vocab_size: the LM's; it may have more tokens than its tokenizer.
      strings: an answer ends before the first of them; (): only at eos.

    Raises:
      ValueError: an empty stop string.
    """

    def __init__(
        self,
        tokenizer: LMTokenizer,
        vocab_size: int,
        strings: Sequence[str] = NEWLINE,
    ):
        if isinstance(strings, str) or not all(strings):
            raise ValueError(
                f"the stop strings are {strings!r}; give a sequence of texts of at "
                "least one character, or () to stop at the end token alone."
            )
        self.strings = tuple(strings)
        self._tokenizer = tokenizer
        self.mask = self._mask(vocab_size)

    def _mask(self, vocab_size: int) -> Bool[np.ndarray, "v"]:
        r"""True at every token whose text holds a stop string, such as ".\n\n"."""
        mask = np.zeros(vocab_size, bool)
        for i in range(min(vocab_size, self._tokenizer.vocab_size)):
            text = self._tokenizer.decode([i])
            mask[i] = any(string in text for string in self.strings)
        return mask

    @property
    def may_span_tokens(self) -> bool:
        """Whether a stop string may come without a token of `mask`."""
        return any(len(string) > 1 for string in self.strings)

    def cut(self, text: str) -> str:
        """The text before the first stop string."""
        found = [text.find(string) for string in self.strings]
        return text[: min((place for place in found if place >= 0), default=None)]

    def settled(self, text: str) -> str:
        """The text without an end that the next tokens may make a stop string."""
        longest = max(
            (
                size
                for string in self.strings
                for size in range(1, len(string))
                if text.endswith(string[:size])
            ),
            default=0,
        )
        return text[: len(text) - longest]

    def ended(self, tokens: list[int]) -> bool:
        """Whether an answer holds a stop string."""
        text = self._tokenizer.decode(tokens)
        return any(string in text for string in self.strings)
