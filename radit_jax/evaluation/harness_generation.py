"""Generating for lm-evaluation-harness: texts, and whether a text is the greedy one."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from jax.sharding import Mesh

from radit_jax.inference.decoding import Decoding
from radit_jax.inference.placement import Tokens, round_up
from radit_jax.inference.questions import Question
from radit_jax.inference.sampler import Sampler
from radit_jax.inference.stops import Stops
from radit_jax.models.decoder import Decoder
from radit_jax.text.tokenizer import LMTokenizer

_LIMIT_MULTIPLE = 8  # tokens decoded; every number is a shape to compile


class Row(NamedTuple):
    """A context and its continuation, as token ids."""

    prompt: list[int]
    output: list[int]


class Generator:
    """A decoder that continues prompts.

    Args:
      decoder: the language model.
      tokenizer: its tokenizer, for segments.
      published: likewise, as its publisher's users know it: it makes the texts.
      batch_size: prompts that run together.
      mesh: see `Sampler`.
    """

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: LMTokenizer,
        published: Any,
        *,
        batch_size: int,
        mesh: Mesh | None = None,
    ):
        self._config, self._tokenizer = decoder.config, tokenizer
        self._published, self._batch_size = published, batch_size
        self._stops: dict[tuple[str, ...], Stops] = {}
        self.sampler = Sampler(decoder, eos_id=tokenizer.eos_id, mesh=mesh)

    def stops(self, strings: tuple[str, ...]) -> Stops:
        """An answer ends at the first of these, or at eos."""
        if strings not in self._stops:
            vocab_size = self._config.vocab_size
            self._stops[strings] = Stops(self._tokenizer, vocab_size, strings)
        return self._stops[strings]

    def texts(self, prompts: Sequence[Tokens], decoding: Decoding) -> list[str]:
        """Continuations up to their stop string, outer spaces kept."""
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        texts = [""] * len(prompts)
        for places in _batches(order, self._batch_size):
            found = self._decode([prompts[i] for i in places], decoding)
            for i, tokens in zip(places, found, strict=True):
                text = self._published.decode(tokens, skip_special_tokens=True)
                texts[i] = decoding.stops.cut(text)
        return texts

    def are_greedy(self, rows: Sequence[Row]) -> list[bool]:
        """Whether these outputs are what greedy decoding gives; a prompt runs once."""
        longest: dict[tuple[int, ...], int] = {}  # of a prompt's outputs
        for prompt, output in rows:
            key = tuple(prompt)
            longest[key] = max(longest.get(key, 0), len(output))
        greedy: dict[tuple[int, ...], list[int]] = {}
        for part, limit in self._parts(longest):
            decoding = Decoding(max_tokens=limit, stops=self.stops(()))
            greedy.update(zip(part, self._decode(part, decoding), strict=True))
        return [
            greedy[tuple(prompt)][: len(output)] == output for prompt, output in rows
        ]

    def _parts(
        self, longest: dict[tuple[int, ...], int]
    ) -> Iterator[tuple[list[tuple[int, ...]], int]]:
        """Prompts that run together, and how many tokens each gets."""
        prompts = sorted(longest, key=lambda prompt: (longest[prompt], len(prompt)))
        for batch in _batches(prompts, self._batch_size):
            wanted = max(longest[prompt] for prompt in batch)
            fits = wanted <= self._room(batch)
            # Where the longest prompt and answer don't fit together, one at a time.
            for part in [batch] if fits else [[prompt] for prompt in batch]:
                wanted = max(longest[prompt] for prompt in part)
                limit = round_up(wanted, _LIMIT_MULTIPLE)
                yield part, min(limit, self._room(part))

    def _room(self, prompts: Sequence[Tokens]) -> int:
        return self._config.max_positions - max(map(len, prompts))

    def _decode(self, prompts: Sequence[Tokens], decoding: Decoding) -> list[list[int]]:
        """Answers of one batch, with eos after their end."""
        prompts = [list(prompt) for prompt in prompts]
        prefilled = self.sampler.prefill(prompts, self._batch_size)
        seed = decoding.sampling.seed
        seeds = [Question([prompt], {}).seeds(seed)[0] for prompt in prompts]
        tokens, _ = self.sampler.decode(prefilled, decoding, seeds=seeds)
        return [row.tolist() for row in tokens]


def _batches(values: Sequence, size: int) -> Iterator[list]:
    for start in range(0, len(values), size):
        yield list(values[start : start + size])
