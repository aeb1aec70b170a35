"""What a benchmark is made of: its items, their prompts, and how they are scored."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from radit_jax.text.templates import answer_block

Record = dict[str, Any]
KINDS = ("generate", "choice")
METRICS = ("em", "accuracy", "f1", "rouge_l")
SCORES = ("nll", "nll_char", "nll_token", "nll_compl")


class Page(NamedTuple):
    """A Wikipedia page that holds evidence, as KILT names it."""

    wikipedia_id: str
    title: str


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One question of a benchmark.

    An item to generate has `answers`, an item to choose has `options` and `gold`.
    """

    id: str  # unique in its split
    task: str  # the benchmark's name
    question: str  # or statement, "entity [SEP] relation", goal, the last turn
    answers: tuple[str, ...] = ()  # all accepted; the first is the one shown
    options: tuple[str, ...] = ()  # in the publisher's order
    gold: int = -1  # the right option's place
    context: str = ""  # a passage or situation that belongs to the question
    history: tuple[str, ...] = ()  # turns of a conversation before the question
    subject: str = ""  # of MMLU: demonstrations come from the same one
    evidence: tuple[tuple[Page, ...], ...] = ()  # of KILT: any one set is enough

    @property
    def target(self) -> str:
        """The answer that a demonstration shows."""
        return self.options[self.gold] if self.options else self.answers[0]


@dataclasses.dataclass(frozen=True, slots=True)
class Segments:
    """An item's prompt in blocks, each to be tokenised apart (see text.templates).

    The prompt of option i is `question + heads[i]`, its scored text `answers[i]`.
    """

    question: str  # up to and with the answer marker, e.g. "Q: who?\nA:"
    answers: tuple[str, ...]  # the options, or the accepted answers: " Paris"
    heads: tuple[str, ...] = ()  # of WinoGrande: read before an answer, not scored

    def head(self, option: int) -> str:
        """What the prompt of this option has beyond the others'."""
        return self.heads[option] if self.heads else ""


def segments(question: str, answers: tuple[str, ...]) -> Segments:
    """The common form: one question block, and answers with the space before them."""
    return Segments(question, tuple(answer_block(answer) for answer in answers))


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """Where a benchmark's records come from.

    `files` are the publisher's, each split's records first and then, where records
    and labels are apart, the labels. `hub` names the splits that the Hugging Face
    hub calls otherwise, for what `datasets` saves with `save_to_disk`.
    """

    homepage: str
    licence: str
    files: Mapping[str, tuple[str, ...]]  # "train", "dev", "test" → file names
    convert: Callable[[str, Record], Item]  # id where there is none, record
    hub: Mapping[str, str] = dataclasses.field(default_factory=dict)
    label_field: str = ""  # of a record, filled with its line of the labels' file


@dataclasses.dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark of paper §6."""

    name: str
    title: str  # its column in the paper's tables
    kind: str  # of KINDS
    metric: str  # of METRICS: the one that the paper reports
    score: str  # of SCORES: how answers and options are compared
    with_background: bool  # False: no chunk is ever retrieved
    prompt: Callable[[Item], Segments]
    source: Source
    query: Callable[[Item], str] = lambda item: item.question  # for the retriever
    max_answer_tokens: int = 32  # generated at most, the end included

    @property
    def splits(self) -> tuple[str, ...]:
        """What `read` takes."""
        return tuple(self.source.files)

    def shown(self, item: Item) -> Iterator[str]:
        """The blocks of the item as a demonstration: solved, in one line.

        Line ends in the answer become spaces, for a line end stops the decoding.
        """
        blocks = self.prompt(item)
        place = max(item.gold, 0)
        yield blocks.question + blocks.head(place)
        yield answer_block(" ".join(blocks.answers[place].split()))
