"""Items and the chunks found for them, to an LM's predictions, a record an item."""

import dataclasses
from collections.abc import Callable, Sequence

from radit_jax.evaluation.benchmarks.asking import Asked, Asker, Found
from radit_jax.evaluation.benchmarks.item import Benchmark, Item, Record
from radit_jax.inference import choices
from radit_jax.inference.answers import Answer
from radit_jax.inference.decoding import Decoding
from radit_jax.inference.ensemble import answer_ensemble
from radit_jax.inference.sampler import Sampler
from radit_jax.inference.stops import Stops
from radit_jax.progress import Progress
from radit_jax.text.templates import PromptError
from radit_jax.text.tokenizer import LMTokenizer

_ONE = "system"  # the name of the one retriever that is asked for
CLOSED_BOOK = Found((), ())
_NUM_TOLD = 3  # of the questions that do not fit


class Prompter:
    """Asks a benchmark's items, each after the demonstrations of its subject.

    Args:
      tokenizer: the LM's.
      benchmark: of the items.
      max_tokens: of demonstrations, prompt and answer together.
      demonstrations: of a subject ("": of any).
    """

    def __init__(
        self,
        tokenizer: LMTokenizer,
        benchmark: Benchmark,
        max_tokens: int,
        demonstrations: Callable[[str], Sequence[Item]],
    ):
        self.benchmark = benchmark
        self._make = lambda subject: Asker(
            tokenizer, benchmark, max_tokens, demonstrations(subject)
        )
        self._askers: dict[str, Asker] = {}

    def asker(self, item: Item) -> Asker:
        """Of the item's subject."""
        if item.subject not in self._askers:
            self._askers[item.subject] = self._make(item.subject)
        return self._askers[item.subject]

    def check(self, items: Sequence[Item]) -> None:
        """Sees that every question fits without any chunk, before work is lost.

        Raises:
          PromptError: with the number of questions that do not, and the first.
        """
        problems = []
        for item in items:
            try:
                self.asker(item).ask(item, {_ONE: CLOSED_BOOK})
            except PromptError as error:
                problems.append(str(error))
        if problems:
            raise PromptError(
                f"{len(problems)} of {len(items)} questions of {self.benchmark.name} "
                "do not fit:\n" + "\n".join(problems[:_NUM_TOLD])
            )

    def ask(self, item: Item, found: Found) -> Asked:
        """The item as the LM gets it."""
        return self.asker(item).ask(item, {_ONE: found})


def answer(
    sampler: Sampler,
    tokenizer: LMTokenizer,
    stops: Stops,
    prompter: Prompter,
    items: Sequence[Item],
    found: Sequence[Found],
    batch_size: int,
    progress: Progress | None = None,
) -> list[Record]:
    """Generates an answer, or chooses an option, for each item.

    Args:
      sampler: holds the LM.
      tokenizer: the LM's.
      stops: of generated answers.
      prompter: of the items' benchmark.
      items: at least one.
      found: the chunks of each, or `CLOSED_BOOK`.
      batch_size: prompts that run together.
      progress: is told of each item.

    Returns:
      For each item a JSON object with its `id`, `answer`, what was cut to fit, and
      what the answer was taken from.
    """
    asked = [prompter.ask(*pair) for pair in zip(items, found, strict=True)]
    questions = [one.question for one in asked]
    benchmark = prompter.benchmark
    if benchmark.kind == "generate":
        decoding = Decoding(benchmark.max_answer_tokens, stops)
        given = answer_ensemble(
            sampler, tokenizer, questions, batch_size, decoding, progress
        )
        fields = [
            _generated(item, one[_ONE]) for item, one in zip(items, given, strict=True)
        ]
    else:
        chosen = choices.choose(sampler, questions, batch_size, progress)
        fields = [
            _chosen(prompter, item, one[_ONE])
            for item, one in zip(items, chosen, strict=True)
        ]
    return [
        {"id": item.id, "question": item.question}
        | some
        | {"num_cut": one.num_cut[_ONE], "num_dropped": one.num_dropped}
        for item, some, one in zip(items, fields, asked, strict=True)
    ]


def _generated(item: Item, given: Answer) -> Record:
    return {
        "answers": item.answers,
        "answer": given.text,
        "log_probability": given.log_probability,
        "chunk_answers": given.chunk_answers,
    }


def _chosen(prompter: Prompter, item: Item, choice: choices.Choice) -> Record:
    place = prompter.asker(item).best(item, choice)
    return {
        "options": item.options,
        "gold": item.gold,
        "option": place,
        "answer": item.options[place],
        # Of WinoGrande, of the sentences' ends and then of the words before them.
        "log_probabilities": choice.scores["nll"].tolist(),
    }


def concatenated(found: Found) -> Found:
    """All chunks in one Background, best first, so that the worst are cut to fit."""
    if not found.passages:
        return found
    return dataclasses.replace(
        found, passages=("\n".join(found.passages),), log_p_r=(0.0,)
    )
