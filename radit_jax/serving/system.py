"""System: an LM behind a retriever, which answers questions in batches."""

from collections.abc import Callable, Sequence
from typing import Any

from radit_jax.config import Config
from radit_jax.corpus.store import ChunkStore
from radit_jax.inference.answerer import Answerer
from radit_jax.inference.answers import Answer
from radit_jax.inference.questions import Question
from radit_jax.inference.watching import Watch
from radit_jax.retrieval.retriever import Retriever
from radit_jax.serving.asked import Asked, RequestError
from radit_jax.serving.reply import Passage, Reply, own_answers, passages
from radit_jax.text import templates
from radit_jax.text.tokenizer import LMTokenizer
from radit_jax.types import Instruction, Retrieved

# Called with a question's place in its batch, an event's name and what it holds.
Tell = Callable[[int, str, dict[str, Any]], None]


class System:
    """One of the server's models."""

    def __init__(
        self,
        name: str,
        config: Config,
        answerer: Answerer,
        tokenizer: LMTokenizer,
        retriever: Retriever,
        store: ChunkStore,
    ):
        """Joins what has been loaded.

        Args:
          name: that requests call it by.
          config: of the run; its section `predict` says how to answer.
          answerer: of the LM.
          tokenizer: the LM's.
          retriever: with the query tower.
          store: of the chunks.
        """
        self.name, self.config, self.store = name, config, store
        self._answerer, self._tokenizer = answerer, tokenizer
        self._retriever = retriever

    def check(self, asked: Asked) -> None:
        """Refuses a question that leaves no room for its answer.

        Raises:
          RequestError: with the counts.
        """
        block = templates.question_block(asked.question)
        num_tokens = len(self._tokenizer.encode(block))
        num_others = self.config.predict.max_answer_tokens
        num_others += self._tokenizer.bos_id is not None
        limit = self.config.lm.max_tokens - num_others
        if num_tokens > limit:
            raise RequestError(
                422,
                f"the question has {num_tokens} tokens, but the model has room for "
                f"{limit} beside its answer; shorten the question.",
            )

    def answer(self, asked: Sequence[Asked], tell: Tell) -> list[Reply]:
        """Answers questions together.

        Args:
          asked: all of this model.
          tell: is told `passages` of each question and, where it streams, `growing`:
            the text so far of a passage's own answer, or (passage -1) of the answer.
        """
        found = self._retrieve(asked)
        questions, kept, cuts = [], [], []
        for i, item in enumerate(found):
            question, lost = self._answerer.question({self.name: item})
            chunks = self.store.get_many(item.chunk_ids)
            kept.append(passages(chunks, item.scores, question.retrievals[self.name]))
            questions.append(question)
            cuts.append(lost[self.name]["num_truncated"])
            tell(i, "passages", {"passages": kept[-1]})
        answers = self._answerer.answer(
            questions, watch=self._watch(asked, questions, tell)
        )
        parts = zip(asked, questions, kept, cuts, answers, strict=True)
        return [
            self._reply(one, question, some, cut, answer[self.name])
            for one, question, some, cut, answer in parts
        ]

    def _retrieve(self, asked: Sequence[Asked]) -> list[Retrieved]:
        instructions = [Instruction("question", one.question, ()) for one in asked]
        found = [Retrieved(one, (), ()) for one in instructions]
        wanted = [i for i, one in enumerate(asked) if one.retrieval]
        num_chunks = self.config.predict.num_chunks
        if not wanted or not num_chunks:
            return found
        ids, scores = self._retriever.retrieve(
            [asked[i].question for i in wanted], num_chunks
        )
        for i, some, own in zip(wanted, ids.tolist(), scores.tolist(), strict=True):
            found[i] = Retrieved(instructions[i], tuple(some), tuple(own))
        return found

    def _watch(
        self, asked: Sequence[Asked], questions: list[Question], tell: Tell
    ) -> Watch | None:
        """None where nobody looks on: then the batch decodes without a stop."""
        if not any(one.stream for one in asked):
            return None
        rows = [question.retrievals[self.name].rows for question in questions]
        has_own = self.config.predict.mode == "answer_ensemble"

        def watch(i: int, prompt: int, text: str) -> None:
            if asked[i].stream:
                is_own = has_own and asked[i].retrieval
                place = rows[i].index(prompt) if is_own else -1
                tell(i, "growing", {"passage": place, "text": text})

        return watch

    def _reply(
        self,
        asked: Asked,
        question: Question,
        kept: tuple[Passage, ...],
        num_truncated: int,
        answer: Answer,
    ) -> Reply:
        settings = self.config.predict
        num_tokens = len(self._tokenizer.encode(templates.answer_block(answer.text)))
        prefix = len(question.prefix)
        return Reply(
            model=self.name,
            question=asked.question,
            retrieval=asked.retrieval,
            mode=settings.mode,
            answer=answer.text,
            log_probability=answer.log_probability,
            passages=kept,
            passage_answers=own_answers(settings.mode, answer, len(kept)),
            num_truncated=num_truncated,
            prompt_tokens=sum(prefix + len(prompt) for prompt in question.prompts),
            answer_tokens=num_tokens if answer.text else 0,
            is_cut=num_tokens >= settings.max_answer_tokens,
        )
