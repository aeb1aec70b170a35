"""How well a query tower finds the chunks of its validation questions, as it trains."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh
from jaxtyping import Float

from radit_jax.corpus.store import ChunkStore
from radit_jax.evaluation import findings, metrics, right_chunks
from radit_jax.evaluation.metrics import Scores
from radit_jax.models.dual_encoder import Tower
from radit_jax.retrieval import candidates
from radit_jax.retrieval.embeddings import Embeddings
from radit_jax.training import mesh as mesh_lib
from radit_jax.types import Retrieved

_BLOCK, _LENGTH_MULTIPLE = 256, 16  # queries that run together, and their tokens
_NUM_RESAMPLES, _SEED = 2000, 0  # of the bootstrap


class TowerQuality:
    """MRR and recall of validation questions over the frozen embeddings.

    `is_known` is False where no question can be judged.
    """

    def __init__(
        self,
        retrieved: Sequence[Retrieved],
        tower: Tower,
        graphdef: Any,  # nnx.GraphDef
        matrix: Embeddings,
        store: ChunkStore,
        devices: Mesh,
    ):
        """Encodes the questions, and says in the log how they are judged."""
        asked, judge, judged_by = right_chunks.choose_judge(
            [item.instruction for item in retrieved]
        )
        self.is_known, self._last = bool(asked), None
        if not asked:
            logging.warning(
                "finetune_retriever: no validation question names `positives` or "
                "`answers`, so the last step is kept rather than the best."
            )
            return
        ids = (i for item in retrieved for i in item.chunk_ids)
        self._search, searched = candidates.make_search(matrix, ids)
        self._how = {"judged_by": judged_by, "searched": searched}
        logging.info(
            "finetune_retriever: %d validation questions, %s", len(asked), self._how
        )
        queries = [instruction.query for instruction in asked]
        self._embed = _QueryEmbedder(tower, graphdef, queries, devices)
        self._right = right_chunks.RightChunks(asked, judge, store)
        self._num_chunks = len(retrieved[0].chunk_ids)
        self._depth = min(max(self._num_chunks, *right_chunks.KS), len(store))

    def mrr(self, params: Any) -> float:
        """The mean reciprocal rank under these parameters: what chooses the step."""
        self._last = self.scores(params)
        return float(self._last["mrr"].mean())

    def scores(self, params: Any) -> Scores:
        """See `RightChunks.scores`; MRR looks as far as `retrieve` did."""
        ids, _ = self._search.search(self._embed(params), self._depth)
        return self._right.scores(np.asarray(ids), self._num_chunks)

    def report(self, base: Any, kept: Any, step: int) -> dict[str, Any]:
        """Says what was gained or lost; warns of harm. Empty where nothing is known.

        Args:
          base: parameters before training.
          kept: those that the run keeps.
          step: that these are from.

        Returns:
          `compare`, and how it was judged and searched.
        """
        if not self.is_known:
            return {}
        last, before = self._last, self.scores(base)
        compared = compare(self.scores(kept), before)
        for measure in compared["before"]:
            logging.info("finetune_retriever: %s.", sentence(compared, measure))
        if last is not None:  # else the run was killed after its last validation
            warn_of_harm(last, before, step)
        return {"validation": compared | self._how}


class _QueryEmbedder:
    """Embeds the same queries under one set of parameters after another."""

    def __init__(self, tower: Tower, graphdef: Any, queries: list[str], mesh: Mesh):
        """Encodes the queries; they run in order of their lengths."""
        ids, mask = tower.tokenize(queries, _LENGTH_MULTIPLE)
        lengths = mask.sum(axis=1)
        self._order = np.argsort(lengths, kind="stable")
        self._blocks = []
        for begin in range(0, len(queries), _BLOCK):
            rows = self._order[begin : begin + _BLOCK]
            longest = -(-int(lengths[rows].max()) // _LENGTH_MULTIPLE)
            length = min(longest * _LENGTH_MULTIPLE, ids.shape[1])
            self._blocks.append((ids[rows, :length], mask[rows, :length]))
        self._embed = jax.jit(
            lambda params, ids, mask: tower.embed(graphdef, params, ids, mask),
            out_shardings=mesh_lib.replicated(mesh),
        )

    def __call__(self, params: Any) -> Float[np.ndarray, "b e"]:
        """The embeddings, in the order of the queries."""
        found = [np.asarray(self._embed(params, *block)) for block in self._blocks]
        rows = np.concatenate(found)
        return rows[np.argsort(self._order)]


def compare(after: metrics.Scores, before: metrics.Scores) -> dict[str, Any]:
    """`before`, `after` and their `difference` with its 95 % interval, a measure each.

    Paired: both towers answer the same questions. Where a step was chosen on these
    very questions the gain is flattered; the dev questions judge.
    """
    return {
        "questions": len(before["mrr"]),
        "before": {name: float(values.mean()) for name, values in before.items()},
        "after": {name: float(values.mean()) for name, values in after.items()},
        "difference": {
            name: metrics.paired_difference(
                after[name], before[name], _NUM_RESAMPLES, _SEED
            )
            for name in before
        },
    }


def sentence(compared: dict[str, Any], measure: str = "mrr") -> str:
    """What `compare` says of one measure, for a log."""
    difference = compared["difference"][measure]
    verdict = {"gain": "a gain", "loss": "a loss", "unclear": "no clear change"}
    digits = 4 if measure == "mrr" else 1
    ends = (
        findings.signed(difference[end], digits) for end in ("value", "low", "high")
    )
    value, low, high = ends
    return (
        f"validation {measure} {compared['before'][measure]:.{digits}f} -> "
        f"{compared['after'][measure]:.{digits}f}, {value} (95 % of {low} to {high}) "
        f"on {compared['questions']} questions: {verdict[findings.verdict(difference)]}"
    )


def warn_of_harm(after: metrics.Scores, before: metrics.Scores, step: int) -> None:
    """Warns where training, to its last step, made the tower clearly worse."""
    compared = compare(after, before)
    if findings.verdict(compared["difference"]["mrr"]) == "loss":
        logging.warning(
            "finetune_retriever: fine-tuning harms. At its last step: %s. Step %d, "
            "which validates best, is kept. Lower peak_learning_rate, or see in "
            "the metrics whether p_LSR is nearly uniform.",
            sentence(compared),
            step,
        )
