"""Answerer: what retrievers found for a question → prompts → answers (Eq. 2)."""

from collections.abc import Sequence
from typing import Any

from jax.sharding import Mesh

from radit_jax.config import Config
from radit_jax.corpus.store import ChunkStore
from radit_jax.inference.answers import Answer
from radit_jax.inference.choosing import Sampling
from radit_jax.inference.decoding import Decoding
from radit_jax.inference.ensemble import answer_ensemble
from radit_jax.inference.questions import Question, Retrieval, log_p_r
from radit_jax.inference.sampler import Sampler
from radit_jax.inference.stops import Stops
from radit_jax.inference.token_ensemble import token_ensemble
from radit_jax.inference.watching import Watch
from radit_jax.models.decoder import Decoder
from radit_jax.progress import Progress
from radit_jax.text import demonstrations, templates
from radit_jax.text.demonstrations import FewShot
from radit_jax.text.tokenizer import LMTokenizer
from radit_jax.training import mesh
from radit_jax.types import Instruction, Retrieved


class Answerer:
    """An LM that answers questions from what retrievers found for them."""

    def __init__(
        self,
        config: Config,
        decoder: Decoder,
        tokenizer: LMTokenizer,
        store: ChunkStore,
        shown: Sequence[Instruction] = (),
        devices: Mesh | None = None,
    ):
        """Places the LM on all devices.

        Args:
          config: its section `predict` says how to answer.
          decoder: the LM.
          tokenizer: the LM's.
          store: of the chunks that were retrieved.
          shown: demonstrations before every prompt; the nearest last.
          devices: None: a mesh of all, each with a whole LM.
        """
        settings = config.predict
        self._config, self._tokenizer, self._store = config, tokenizer, store
        self._demonstrations = [
            demonstrations.encode_demonstration(
                tokenizer, templates.asked(one), templates.target(one)
            )
            for one in shown
        ]
        self._decoding = Decoding(
            settings.max_answer_tokens,
            Stops(tokenizer, decoder.config.vocab_size, settings.stop),
            Sampling(settings.temperature, settings.top_p, settings.seed),
        )
        devices = (
            mesh.make_mesh(tensor=config.lm.tensor) if devices is None else devices
        )
        self._sampler = Sampler(decoder, eos_id=tokenizer.eos_id, mesh=devices)

    def set_params(self, params: Any) -> None:
        """See `Sampler.set_params`."""
        self._sampler.set_params(params)

    def answer(
        self,
        questions: list[Question],
        progress: Progress | None = None,
        watch: Watch | None = None,
    ) -> list[dict[str, Answer]]:
        """For each question, an answer for each of its retrievers.

        Args:
          questions: of `question`.
          progress: is told of each answered question.
          watch: is told of answers while they grow.
        """
        settings = self._config.predict
        # Concatenated chunks are one prompt, so the ensemble has one answer to weigh.
        is_mixed = settings.mode == "token_ensemble"
        return (token_ensemble if is_mixed else answer_ensemble)(
            self._sampler,
            self._tokenizer,
            questions,
            settings.batch_size,
            self._decoding,
            progress,
            watch,
        )

    def question(
        self, found: dict[str, Retrieved]
    ) -> tuple[Question, dict[str, dict[str, int]]]:
        """A question's distinct prompts, and which of them each retriever has.

        Also what each retriever's prompts lost to fit: `num_truncated` Backgrounds
        were cut, and `num_dropped` demonstrations left out.
        """
        num_chunks = self._config.predict.num_chunks
        instruction = next(iter(found.values())).instruction
        read = {name: self._read(item.chunk_ids) for name, item in found.items()}
        distinct = list(dict.fromkeys(ids for some in read.values() for ids in some))
        prompts = self._prompts(instruction, distinct)
        rows = {name: tuple(map(distinct.index, some)) for name, some in read.items()}
        retrievals = {
            name: Retrieval(
                rows[name],
                log_p_r(item.scores[:num_chunks], self._config.encoder.temperature),
            )
            for name, item in found.items()
        }
        lost = {
            name: {
                "num_truncated": sum(prompts[r].cut.background for r in set(some)),
                "num_dropped": prompts[0].num_dropped,
            }
            for name, some in rows.items()
        }
        question = Question(
            [prompt.prompt_ids for prompt in prompts],
            retrievals,
            instruction.answers[0] if instruction.answers else None,
            prompts[0].prefix_ids,
            instruction.id,
        )
        return question, lost

    def _read(self, chunk_ids: Sequence[int]) -> list[tuple[int, ...]]:
        """The chunks that stand in the Background of each of the k prompts.

        Concatenated, all stand in one that serves all k: the retriever's weights,
        which sum to 1, then leave its answer's probability as it is.
        """
        chunk_ids = tuple(chunk_ids[: self._config.predict.num_chunks])
        if self._config.predict.mode == "concatenate":
            return [chunk_ids] * max(1, len(chunk_ids))
        return [(chunk_id,) for chunk_id in chunk_ids] or [()]

    def _prompts(
        self, instruction: Instruction, read: Sequence[tuple[int, ...]]
    ) -> list[FewShot]:
        """One for each set of chunks; best first, so the worst are cut to fit."""
        wanted = list(dict.fromkeys(i for chunk_ids in read for i in chunk_ids))
        chunks = dict(zip(wanted, self._store.get_many(wanted), strict=True))
        found = []
        for chunk_ids in read:
            passages = [chunks[i].passage for i in chunk_ids]
            prompt = templates.encode_prompt(
                self._tokenizer,
                instruction.id,
                instruction.question,
                passage="\n".join(passages) if passages else None,
            )
            found.append(self._fit(prompt))
        return found

    def _fit(self, prompt: templates.Prompt) -> FewShot:
        return demonstrations.fit_few_shot(
            prompt,
            self._demonstrations,
            self._config.lm.max_tokens,
            self._config.predict.max_answer_tokens,
        )
