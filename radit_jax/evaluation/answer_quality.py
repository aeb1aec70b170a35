"""How well an LM answers validation questions with retrieval, as it trains."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from flax import nnx
from jax.sharding import Mesh

from radit_jax.config import Config, ConfigError
from radit_jax.corpus.questions import subset
from radit_jax.corpus.store import ChunkStore
from radit_jax.inference.answerer import Answerer
from radit_jax.text import answers
from radit_jax.text.tokenizer import LMTokenizer
from radit_jax.types import Retrieved

_RETRIEVER = "base"


class AnswerQuality:
    """Exact match of a fixed draw of questions, by retrieval-augmented generation.

    They are answered as stage 9 answers dev questions (Eq. 2), from what stage 4
    retrieved for them with the base query tower.
    """

    def __init__(
        self,
        config: Config,
        retrieved: Sequence[Retrieved],
        graphdef: Any,  # nnx.GraphDef
        tokenizer: LMTokenizer,
        store: ChunkStore,
        devices: Mesh,
        frozen: Any = None,
    ):
        """Draws `config.lm_training.validation_questions` of the open questions.

        Args:
          config: `lm_training`, and `predict` for how to answer.
          retrieved: validation questions with their chunks.
          graphdef: of the decoder.
          tokenizer: the LM's.
          store: of the chunks.
          devices: where the parameters are.
          frozen: parameters that do not learn; None: all do.

        Raises:
          ConfigError: there are none.
        """
        asked = [one for one in retrieved if _is_open(one)]
        num = config.lm_training.validation_questions
        if not asked:
            raise ConfigError(
                f"--config.lm_training.validation_questions={num}, but none of the "
                f"{len(retrieved)} validation questions is an open one with retrieved "
                "chunks; set it to 0, or raise "
                "--config.instructions.validation_fraction."
            )
        drawn = subset([one.instruction for one in asked], num, seed=0)
        ids = {one.id for one in drawn}
        self._asked = [one for one in asked if one.instruction.id in ids]
        self._config, self._graphdef, self._store = config, graphdef, store
        self._tokenizer, self._devices = tokenizer, devices
        self._frozen = frozen
        self._answerer: Answerer | None = None

    def exact_match(self, params: Any) -> float:
        """Percent of the questions whose answer is an accepted one, normalised.

        Args:
          params: that learn, on the mesh.
        """
        if self._frozen is not None:
            params = nnx.merge_state(params, self._frozen)
        if self._answerer is None:  # here, so that it shares these arrays
            decoder = nnx.merge(self._graphdef, params)
            self._answerer = Answerer(
                self._config,
                decoder,
                self._tokenizer,
                self._store,
                devices=self._devices,
            )
        self._answerer.set_params(params)
        questions = [self._answerer.question({_RETRIEVER: one}) for one in self._asked]
        found = self._answerer.answer([question for question, _ in questions])
        right = [
            answers.exact_match(answer[_RETRIEVER].text, one.instruction.answers)
            for one, answer in zip(self._asked, found, strict=True)
        ]
        return 100.0 * float(np.mean(right))


def _is_open(found: Retrieved) -> bool:
    """Whether retrieval is what answers it, in the words of its answer."""
    instruction = found.instruction
    return (
        instruction.category == "open_qa"
        and not instruction.context
        and bool(found.chunk_ids)
    )
