"""A benchmark's items as the LM gets them: `inference`'s questions, cut to fit.

What does not fit the window gives way in this order: the end of the chunk, then whole
demonstrations, the last drawn first; the question never. Both are counted.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from radit_jax.evaluation.benchmarks import encoding
from radit_jax.evaluation.benchmarks.item import Benchmark, Item
from radit_jax.inference.choices import Choice, ChoiceQuestion, bare_prompt
from radit_jax.inference.questions import Question, Retrieval
from radit_jax.text import templates
from radit_jax.text.tokenizer import LMTokenizer


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What one retriever found for an item, best chunk first."""

    passages: tuple[str, ...]  # texts as the LM reads them; (): closed book
    log_p_r: tuple[float, ...]  # of each, nats


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """An item, ready for the LM, and what it lost to fit."""

    question: Question | ChoiceQuestion
    num_cut: Mapping[str, int]  # by retriever: Backgrounds that lost some tokens
    num_dropped: int  # demonstrations


class Asker:
    """Turns items of one benchmark into questions.

    Args:
      tokenizer: the LM's.
      benchmark: of the items.
      max_tokens: of demonstrations, prompt and answer together.
      demonstrations: solved items that stand before each, from `reading`.
    """

    def __init__(
        self,
        tokenizer: LMTokenizer,
        benchmark: Benchmark,
        max_tokens: int,
        demonstrations: Sequence[Item] = (),
    ):
        self._tokenizer, self._benchmark = tokenizer, benchmark
        self._max_tokens = max_tokens
        self._bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
        self._shown = encoding.demonstration_ids(tokenizer, benchmark, demonstrations)

    def ask(self, item: Item, found: Mapping[str, Found]) -> Asked:
        """A `Question` to generate, a `ChoiceQuestion` to choose.

        Args:
          item: of the benchmark.
          found: by retriever; several are asked at once, and share equal passages. A
            benchmark without Background is asked closed book, whatever they found.

        Raises:
          PromptError: the question and the answer alone are too long.
        """
        if self._benchmark.kind == "generate":
            prefix, prompts, fields = self._prompts(
                item, found, self._benchmark.max_answer_tokens
            )
            question = Question(prompts, prefix=prefix, id=item.id, **fields["to_ask"])
        else:
            options, chars = self.options(item)
            prefix, prompts, fields = self._prompts(item, found, max(map(len, options)))
            bare = bare_prompt(self._tokenizer)
            question = ChoiceQuestion(
                prompts,
                options=options,
                option_chars=chars,
                bare=bare if self._benchmark.score == "nll_compl" else (),
                prefix=prefix,
                **fields["to_ask"],
            )
        return Asked(question, fields["num_cut"], fields["num_dropped"])

    def options(self, item: Item) -> tuple[list[list[int]], list[int]]:
        """The options' ids and characters.

        WinoGrande's options stand before what is scored. There the sentences' ends
        come with each option, and then the options by themselves: of the two
        log-likelihoods `best` takes the difference.
        """
        blocks = encoding.option_ids(self._tokenizer, self._benchmark, item)
        chars = encoding.option_chars(self._benchmark, item)
        whole = [head + scored for head, scored in blocks]
        heads = [head for head, _ in blocks if head]
        return whole + heads, chars + [1] * len(heads)

    def best(self, item: Item, choice: Choice) -> int:
        """The chosen option's place, by the benchmark's score; of equal ones the first.

        Raises:
          ValueError: the choice was made with other options.
        """
        num_options, num_scored = len(item.options), len(choice.log_likelihood)
        if num_scored == num_options:
            return choice.best(self._benchmark.score)
        if num_scored != 2 * num_options:
            raise ValueError(
                f"{self._benchmark.name} {item.id!r} has {num_options} options, but "
                f"{num_scored} were scored; take them from `options`."
            )
        scores = choice.scores["nll"]
        return int(np.argmax(scores[:num_options] - scores[num_options:]))

    def _prompts(self, item: Item, found: Mapping[str, Found], num_answer_tokens: int):
        """The prefix, the distinct prompts, and each retriever's share of them."""
        by_passage = self._benchmark.with_background
        passages = {
            name: (one.passages if by_passage else ()) or (None,)
            for name, one in found.items()
        }
        distinct = list(dict.fromkeys(p for some in passages.values() for p in some))
        encoded = [
            encoding.prompt(self._tokenizer, self._benchmark, item, passage)
            for passage in distinct
        ]
        # bos opens the prefix, so the prompts have none.
        encoded = [dataclasses.replace(one, bos_ids=()) for one in encoded]
        prefix, num_dropped = self._prefix(encoded[0], num_answer_tokens)
        room = self._max_tokens - len(prefix)
        fitted = [templates.prompt_ids(p, room, num_answer_tokens) for p in encoded]
        rows = {
            name: tuple(distinct.index(passage) for passage in some)
            for name, some in passages.items()
        }
        retrievals = {
            name: Retrieval(rows[name], found[name].log_p_r if some[0] else (0.0,))
            for name, some in passages.items()
        }
        num_cut = {name: sum(fitted[row][1] for row in rows[name]) for name in found}
        fields = {
            "to_ask": {"retrievals": retrievals},
            "num_cut": num_cut,
            "num_dropped": num_dropped,
        }
        return prefix, [ids for ids, _ in fitted], fields

    def _prefix(
        self, prompt: templates.Prompt, num_answer_tokens: int
    ) -> tuple[list[int], int]:
        """bos and as many demonstrations as leave room for the question."""
        needed = len(self._bos) + len(prompt.question_ids) + num_answer_tokens
        shown = list(self._shown)
        while shown and needed + sum(map(len, shown)) > self._max_tokens:
            shown.pop()
        prefix = [*self._bos, *(i for one in shown for i in one)]
        return prefix, len(self._shown) - len(shown)
