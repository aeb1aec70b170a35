"""How answers are decoded, and texts from token ids."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from radit_jax.inference.choosing import Sampling
from radit_jax.inference.placement import Tokens
from radit_jax.inference.stops import Stops
from radit_jax.text.tokenizer import LMTokenizer


@dataclasses.dataclass(frozen=True, slots=True)
class Decoding:
    """How long answers get, where they end, and how tokens are drawn."""

    max_tokens: int  # the end included
    stops: Stops
    sampling: Sampling = Sampling()  # greedy

    def text(self, tokenizer: LMTokenizer, tokens: Tokens) -> str:
        """An answer's text before its end, outer spaces and all."""
        return self.stops.cut(tokenizer.decode(tokens))

    def texts(
        self,
        tokenizer: LMTokenizer,
        tokens: np.ndarray,
        num_tokens: Sequence[int] | np.ndarray,
    ) -> list[str]:
        """Of `Sampler.decode`'s answers."""
        rows = zip(tokens, num_tokens, strict=True)
        return [self.text(tokenizer, row[:num].tolist()) for row, num in rows]
