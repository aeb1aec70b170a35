"""How well an LM does on validation data, as it trains: loss, and exact match."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from radit_jax.config import LMTrainingConfig
from radit_jax.evaluation.answer_quality import AnswerQuality
from radit_jax.instruct.batches import in_order
from radit_jax.instruct.rows import RowStore
from radit_jax.training import mesh as mesh_lib

LOSS, EXACT_MATCH = "validation_loss", "validation_em"


class LMQuality:
    """Scores parameters by packed rows, and by answers where those are wanted."""

    def __init__(
        self,
        settings: LMTrainingConfig,
        rows: RowStore,
        batch_rows: int,
        loss_fn: Callable[..., Any],
        frozen: Any,
        answers: AnswerQuality | None,
        devices: Mesh,
    ):
        """Compiles the loss.

        Args:
          settings: of the training.
          rows: validation examples, at least one row.
          batch_rows: that run together.
          loss_fn: of `make_train_step`.
          frozen: likewise.
          answers: None: exact match is not measured.
          devices: where the parameters are.
        """
        self._rows, self._max_rows = rows, settings.validation_rows
        self._batch_rows, self._devices = batch_rows, devices
        self._frozen, self._answers = frozen, answers
        self.chosen_by = settings.choose_by or (EXACT_MATCH if answers else LOSS)

        @jax.jit
        def step(params, batch, frozen):
            with jax.sharding.use_abstract_mesh(devices.abstract_mesh):
                return loss_fn(params, batch, frozen)[:2]

        self._step = step

    def scores(self, params: Any) -> dict[str, float]:
        """The loss a target token (nats); where it is wanted, exact match (percent).

        Args:
          params: that learn.
        """
        scores = {LOSS: self._loss(params)}
        if self._answers is not None:
            scores[EXACT_MATCH] = self._answers.exact_match(params)
        return scores

    def _loss(self, params: Any) -> float:
        total = weight = 0.0
        places = mesh_lib.local_rows(self._devices, self._batch_rows)
        for local in in_order(self._rows, self._batch_rows, self._max_rows, places):
            batch = mesh_lib.put_batch(local, self._devices, self._batch_rows)
            loss, num_tokens = self._step(params, batch, self._frozen)
            total, weight = total + float(loss), weight + float(num_tokens)
        return total / weight
