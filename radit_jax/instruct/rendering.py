"""Training examples: a question with a chunk, or a chunk alone, as tokens."""

import dataclasses

from radit_jax.instruct.packing import Example
from radit_jax.text import templates
from radit_jax.text.tokenizer import LMTokenizer
from radit_jax.types import Chunk, Instruction

TEXT_KIND = "text"  # beside `templates.CATEGORIES`


@dataclasses.dataclass(frozen=True, slots=True)
class Rendered:
    """An example, and what it lost to the limit of its length."""

    example: Example
    kind: str  # a category of `text.templates`, or TEXT_KIND
    background_cut: bool = False
    turns_dropped: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Renderer:
    """Renders examples of one LM."""

    tokenizer: LMTokenizer
    max_tokens: int  # of an example
    seed: int  # of the markers

    def question(
        self,
        instruction: Instruction,
        chunk: Chunk | None,
        markers: templates.Markers | None = None,
    ) -> Rendered:
        """The example of a question and one of its chunks; None: no retrieved one.

        Without `markers`, they are drawn for the question and the chunk.

        Raises:
          PromptError: question and answer alone are too long.
        """
        name = f"{instruction.id}/{None if chunk is None else chunk.id}"
        prompt = templates.encode_instruction(
            self.tokenizer,
            name,
            instruction,
            passage=None if chunk is None else chunk.passage,
            answer=templates.target(instruction),
            markers=markers or templates.draw_markers(name, self.seed),
        )
        prompt, cut = templates.shorten(
            prompt, self.max_tokens, prompt.num_target_tokens
        )
        ids = prompt.ids
        example = Example(name, ids, len(ids) - prompt.num_target_tokens)
        return Rendered(example, instruction.category, cut.background, cut.num_turns)

    def text(self, chunk: Chunk) -> Rendered:
        """A chunk's text to be predicted token by token, all but bos or the first."""
        bos = [] if self.tokenizer.bos_id is None else [self.tokenizer.bos_id]
        ids = self.tokenizer.encode(chunk.text)
        kept = ids[: self.max_tokens - len(bos) - 1]
        tokens = [*bos, *kept, self.tokenizer.eos_id]
        example = Example(f"text:{chunk.id}", tokens, 1)
        return Rendered(example, TEXT_KIND, background_cut=len(kept) < len(ids))
