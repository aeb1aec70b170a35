"""What the query tower is trained on: one of `ops.losses`, and its diagnostics."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from radit_jax.config import RetrieverTrainingConfig
from radit_jax.models.dual_encoder import Tower
from radit_jax.ops import losses


@dataclasses.dataclass(frozen=True, slots=True)
class Objective:
    """The loss of a batch, under parameters that need not be the towers' own.

    These are a dict by the names of what learns: "query", and "passage" where there is
    such a tower; else the passages are what the batch brings.
    """

    settings: RetrieverTrainingConfig  # resolved
    query: Tower
    query_graph: Any  # nnx.GraphDef
    passage: Tower | None = None
    passage_graph: Any = None

    def __call__(
        self, params: dict[str, Any], batch: dict[str, Array]
    ) -> tuple[Float[Array, ""], int, dict[str, Float[Array, ""]]]:
        """The loss summed, the number of queries, sums of `losses.diagnostics`.

        emdr2's mean runs over tokens, not queries: its sum is that mean times the
        queries, which a batch that is not cut gives back.
        """
        names = ("query_ids", "query_segments", "query_positions")
        query = self.query.embed_packed(
            self.query_graph,
            params["query"],
            *(batch[name] for name in names),
            len(batch["mask"]) // len(batch["query_ids"]),
        )
        scores = jnp.einsum(
            "be,bke->bk",
            query,
            self._passages(params, batch),
            precision=jax.lax.Precision.HIGHEST,
        )
        loss = self._loss(scores, batch)
        found = losses.diagnostics(
            *losses.lsr_distributions(
                scores,
                batch["lm_scores"],
                batch["mask"],
                lm_temperature=self.settings.lm_temperature,
                retriever_temperature=self.p_r_temperature,
            ),
            batch["mask"],
        )
        sums = {name: jnp.sum(values) for name, values in found.items()}
        return loss * len(scores), len(scores), sums

    @property
    def p_r_temperature(self) -> float:
        """What divides s(x, c): Atlas and EMDR² divide by √e beside it."""
        if self.settings.loss in ("pdist", "emdr2"):
            return self.settings.retriever_temperature * self.query.width**0.5
        return self.settings.retriever_temperature

    def _passages(self, params: Any, batch: dict[str, Array]) -> Float[Array, "b k e"]:
        if self.passage is None:
            return batch["passages"]
        # Rank by rank, and forward once more on the way back: the activations of b
        # passages are held, not of b · k.
        embed = jax.checkpoint(
            lambda tokens: self.passage.embed(
                self.passage_graph, params["passage"], *tokens
            )
        )
        tokens = batch["passage_ids"], batch["passage_mask"]
        by_rank = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), tokens)
        return jnp.swapaxes(jax.lax.map(embed, by_rank), 0, 1)

    def _loss(
        self, scores: Float[Array, "b k"], batch: dict[str, Array]
    ) -> Float[Array, ""]:
        settings, mask = self.settings, batch["mask"]
        temperatures = {
            "lm_temperature": settings.lm_temperature,
            "retriever_temperature": settings.retriever_temperature,
        }
        match settings.loss:
            case "emdr2":
                return losses.emdr2_loss(
                    scores,
                    batch["token_log_likelihood"],
                    batch["target_mask"],
                    mask,
                    retriever_temperature=self.p_r_temperature,
                )
            case "pdist":
                width = {"width": self.query.width}
                return losses.pdist_loss(
                    scores, batch["lm_scores"], mask, **width, **temperatures
                )
            case "replug_lsr":
                return losses.replug_lsr_loss(
                    scores, batch["lm_scores"], mask, **temperatures
                )
        return losses.lsr_loss(
            scores,
            batch["lm_scores"],
            mask,
            direction=settings.direction,
            **temperatures,
        )
