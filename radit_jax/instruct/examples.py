"""The LM examples of a split: drawn from the sets, rendered, and counted."""

import bisect
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from absl import logging

from radit_jax.corpus.store import ChunkStore
from radit_jax.instruct import mixture
from radit_jax.instruct.mixture import Portion
from radit_jax.instruct.packing import Example
from radit_jax.instruct.rendering import Rendered, Renderer
from radit_jax.text.templates import PromptError
from radit_jax.types import Chunk, Instruction, Retrieved

_READ_AHEAD = 1024  # draws whose chunks are read together


class QuestionSet:
    """The examples of a set's questions, by number: a question's chunks in turn."""

    def __init__(self, items: Sequence[Retrieved], num_chunks: int):
        """Counts the examples.

        Args:
          items: questions with their chunks, best first.
          num_chunks: of the retrieved ones, each is an example (Eq. 3); 0: a question
            is one example without any. One with a gold context always is.
        """
        self._items = items
        self._chunk_ids = [
            () if item.instruction.context else item.chunk_ids[:num_chunks]
            for item in items
        ]
        numbers = (len(ids) or 1 for ids in self._chunk_ids)
        self._ends = list(itertools.accumulate(numbers))

    @property
    def size(self) -> tuple[int, int]:
        """(questions, examples)."""
        return len(self._items), self._ends[-1]

    def __getitem__(self, number: int) -> tuple[Instruction, int | None]:
        """The question of example `number`, and its chunk."""
        which = bisect.bisect_right(self._ends, number)
        chunk_ids = self._chunk_ids[which]
        place = number - (self._ends[which - 1] if which else 0)
        return self._items[which].instruction, chunk_ids[place] if chunk_ids else None


@dataclasses.dataclass(slots=True)
class Tally:
    """What became of one set's draws."""

    examples: int = 0
    tokens: int = 0
    target_tokens: int = 0
    truncated_backgrounds: int = 0
    turns_dropped: int = 0
    too_long: int = 0  # question and answer alone; left out

    def add(self, rendered: Rendered) -> None:
        """Counts an example."""
        example = rendered.example
        self.examples += 1
        self.tokens += len(example.tokens)
        self.target_tokens += len(example.tokens) - example.num_prompt_tokens
        self.truncated_backgrounds += rendered.background_cut
        self.turns_dropped += rendered.turns_dropped


class ExampleStream:
    """The examples of a mixture, in the order of its draws; iterate it once.

    `tallies` and `samples` are whole once it has been iterated to its end.
    """

    def __init__(
        self,
        sets: dict[str, QuestionSet],
        portions: Sequence[Portion],
        store: ChunkStore,
        renderer: Renderer,
        num_samples: int = 0,
    ):
        """Draws nothing yet.

        Args:
          sets: by name; corpus text is read from the store.
          portions: of the mixture.
          store: the chunks.
          renderer: of the LM; its seed is the draw's too.
          num_samples: examples of each kind that are kept to be looked at.
        """
        self._sets, self._store, self._renderer = sets, store, renderer
        self._portions, self._num_samples = portions, num_samples
        self.tallies = {portion.name: Tally() for portion in portions}
        self.samples: dict[str, list[tuple[str, Rendered]]] = {}  # kind → (set, …)
        self._first_error: PromptError | None = None

    def __iter__(self) -> Iterator[Example]:
        draws = mixture.draw(self._portions, self._renderer.seed)
        while drawn := list(itertools.islice(draws, _READ_AHEAD)):
            for name, question, chunk in self._read(drawn):
                rendered = self._render(name, question, chunk)
                if rendered is not None:
                    yield rendered.example
        self._warn()

    def _read(
        self, drawn: Iterable[tuple[str, int]]
    ) -> Iterator[tuple[str, Instruction | None, Chunk | None]]:
        """(set, question, chunk) of each draw; chunks are read all at once."""
        found = [
            (name, None, number)
            if name == mixture.TEXT
            else (name, *self._sets[name][number])
            for name, number in drawn
        ]
        ids = sorted({chunk_id for *_, chunk_id in found if chunk_id is not None})
        chunks = dict(zip(ids, self._store.get_many(ids), strict=True))
        for name, question, chunk_id in found:
            yield name, question, chunks.get(chunk_id)

    def _render(
        self, name: str, question: Instruction | None, chunk: Chunk | None
    ) -> Rendered | None:
        try:
            if question is None:
                rendered = self._renderer.text(chunk)
            else:
                rendered = self._renderer.question(question, chunk)
        except PromptError as error:
            self._first_error = self._first_error or error
            self.tallies[name].too_long += 1
            return None
        self.tallies[name].add(rendered)
        kept = self.samples.setdefault(rendered.kind, [])
        if len(kept) < self._num_samples:
            kept.append((name, rendered))
        return rendered

    def _warn(self) -> None:
        num = self.totals()["too_long"]
        if num:
            logging.warning(
                "%d example(s) were left out, being too long without any Background; "
                "the first: %s",
                num,
                self._first_error,
            )

    def totals(self) -> dict[str, int]:
        """The tallies, summed over the sets."""
        return {
            field.name: sum(getattr(t, field.name) for t in self.tallies.values())
            for field in dataclasses.fields(Tally)
        }

    def records(self) -> list[dict[str, Any]]:
        """A line for each set: its share, and what became of its draws."""
        return [
            portion.to_record() | dataclasses.asdict(self.tallies[portion.name])
            for portion in self._portions
        ]
