"""The glossary: dimension letters, and the records that pass between layers.

Dimension letters, used in every jaxtyping annotation and einsum of the package:

====  =======================================================================
`b`   batch (queries, packed rows or prompts: the function says which)
`k`   chunks per query
`l`   LM tokens; `s` where a second LM axis is needed (keys of an attention)
`t`   target tokens: the positions of a row that meet the LM head
`q`   query tokens (query tower)
`p`   passage tokens (passage tower)
`d`   model width; `f` width of the feed-forward layer
`e`   embedding width
`h`   attention heads; `g` key/value heads; `c` width of one head
`v`   vocabulary
`n`   corpus chunks
`a`   candidate answers
====  =======================================================================

Masks are bool and True means "counts". Log-likelihoods are in nats, float32.
"""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """A text as the user brought it."""

    id: str  # unique in the corpus
    text: str
    title: str = ""
    section: str = ""  # of Wikipedia: the heading above the text; "": its lead


@dataclasses.dataclass(frozen=True, slots=True)
class Chunk:
    """A retrievable piece of a document: `c` in the paper's equations.

    `id` is the chunk's row in the corpus: 0 ... n-1, in reading order. `start` is
    the offset of `text` in the document's text, in characters.
    """

    id: int
    document_id: str
    text: str
    title: str = ""
    start: int = 0
    section: str = ""

    @property
    def passage(self) -> str:
        """The text that is embedded and that the LM reads: "title: section: text".

        Title and section stand before it where there are any, joined by a colon as
        Atlas does when it loads its corpus.
        """
        heading = [part for part in (self.title, self.section) if part]
        return ": ".join((*heading, self.text))


@dataclasses.dataclass(frozen=True, slots=True)
class Instruction:
    """A question with its accepted answers: `x` and `y` in the paper's equations.

    `positives` names the documents that hold the answer, where that is known; recall
    and MRR are measured against it. `source_chunk` is set where the question was cut
    from a corpus chunk, which is then left out of its own candidates (-1: none).
    The other fields are what a fine-tuning set may bring (paper §2).
    """

    id: str
    question: str  # of a dialogue: its last turn before the answer
    answers: tuple[str, ...]
    positives: tuple[str, ...] = ()
    source_chunk: int = -1
    task: str = ""  # the fine-tuning set; "": the user's own questions
    category: str = "open_qa"  # names the template: see text.templates.CATEGORIES
    history: tuple[str, ...] = ()  # turns before the question: asked, answered, …
    context: str = ""  # the gold Background; such a question retrieves nothing
    guidance: str = ""  # what a chain-of-thought set says before its question
    rationale: str = ""  # the chain of thought before the answer

    @property
    def query(self) -> str:
        """What the retriever reads: the turns of a dialogue joined, the question."""
        if self.category == "dialogue":
            return " ".join((*self.history, self.question))
        return self.question


@dataclasses.dataclass(frozen=True, slots=True)
class Retrieved:
    """An instruction with its retrieved set C', best chunk first."""

    instruction: Instruction
    chunk_ids: tuple[int, ...]  # k rows of the corpus
    scores: tuple[float, ...]  # k dot products s(x, c), not normalised

    def to_record(self) -> dict[str, Any]:
        """The JSON object that `from_record` reads."""
        record = dataclasses.asdict(self)
        return record.pop("instruction") | record

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Retrieved":
        """The instruction with its retrieved set, from `to_record`'s object."""
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
        chunk_ids, scores = values.pop("chunk_ids"), values.pop("scores")
        return cls(Instruction(**values), chunk_ids, scores)
