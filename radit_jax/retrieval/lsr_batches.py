"""Batches for the query tower: queries, their frozen passages, their scores."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from radit_jax.config import RetrieverTrainingConfig
from radit_jax.corpus.store import ChunkStore
from radit_jax.instruct.batches import MixedBatches
from radit_jax.models.dual_encoder import Tower
from radit_jax.retrieval.embeddings import Embeddings
from radit_jax.retrieval.supervision import Supervised
from radit_jax.retrieval.token_rows import TokenRows
from radit_jax.training import mesh

_LENGTH_MULTIPLE = 32  # of passages' tokens; a length is a program to compile


class Frozen:
    """Passages as rows of the embeddings that stage 2 wrote."""

    def __init__(self, matrix: Embeddings):
        """Reads nothing yet."""
        self._matrix = matrix

    def __call__(
        self, chunk_ids: Int[np.ndarray, "b k"], places: Int[np.ndarray, " r"]
    ) -> dict[str, Float[np.ndarray, "r k e"]]:
        """`passages` of the batch's rows at these places."""
        own = chunk_ids[places]
        rows = self._matrix.rows(own.reshape(-1))
        return {"passages": rows.reshape(*own.shape, -1)}


class Reencoded:
    """Passages as tokens, for a passage tower that learns too."""

    def __init__(self, tower: Tower, store: ChunkStore):
        """Takes the tower that will read them."""
        self._tower, self._store = tower, store

    def __call__(
        self, chunk_ids: Int[np.ndarray, "b k"], places: Int[np.ndarray, " r"]
    ) -> dict[str, np.ndarray]:
        """`passage_ids` and `passage_mask` `[r k p]` of the rows at these places.

        p is that of the whole batch, which is the same on every process.
        """
        distinct, inverse = np.unique(chunk_ids, return_inverse=True)
        chunks = self._store.get_many(distinct)
        rows = TokenRows(self._tower, [chunk.passage for chunk in chunks])
        length = rows.length(np.arange(len(distinct)), _LENGTH_MULTIPLE)
        ids, mask = rows.padded(np.arange(len(distinct)), length)
        own = inverse.reshape(chunk_ids.shape)[places]
        return {"passage_ids": ids[own], "passage_mask": mask[own]}


class Batches:
    """Mixed batches of queries with their passages and scores, without end."""

    def __init__(
        self,
        parts: Sequence[Supervised],
        settings: RetrieverTrainingConfig,
        tower: Tower,
        passages_of: Frozen | Reencoded,
        devices: Mesh,
    ):
        """Starts at batch 0.

        Args:
          parts: the sets' questions and the corpus queries, in this order; whoever
            has none may be missing.
          settings: resolved.
          tower: the query tower.
          passages_of: what stands for the chunks.
          devices: of which this process holds its rows.
        """
        self._rows = MixedBatches(
            [len(part) for part in parts],
            (1 - settings.corpus_weight, settings.corpus_weight),
            settings.batch_size,
            settings.seed,
        )
        self.num_rows = settings.batch_size
        self._places = mesh.local_rows(devices, self.num_rows)
        self._num_groups = mesh.num_splits(devices, self.num_rows)
        self._groups = mesh.local_rows(devices, self._num_groups)
        self._reads_tokens = settings.loss == "emdr2"
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])
        filled = [part for part in parts if len(part)]
        self._chunk_ids = np.concatenate([part.chunk_ids for part in filled])
        self._values = np.concatenate([part.scores.values for part in filled])
        self._mask = np.concatenate([part.scores.mask for part in filled])
        self._passages_of = passages_of
        self._queries = TokenRows(tower, (q for part in filled for q in part.queries))

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        """The next batch, of the rows that this process' devices hold.

        `query_ids`, `query_segments` and `query_positions` `[n r l]`, for each device
        that has rows of its own the tokens of their queries; `lm_scores` and `mask`
        `[b k]`, what `passages_of` gives, and, for emdr2, `token_log_likelihood`
        `[b k t]` and `target_mask` `[b t]`.
        """
        rows = next(self._rows)
        own = rows[self._places]
        packed = self._queries.packed(rows.reshape(self._num_groups, -1))
        names = ("query_ids", "query_segments", "query_positions")
        batch = {
            **{n: x[self._groups] for n, x in zip(names, packed, strict=True)},
            "lm_scores": self._values[own],
            "mask": self._mask[own],
        }
        batch |= self._passages_of(self._chunk_ids[rows], self._places)
        return batch | (self._tokens(rows) if self._reads_tokens else {})

    def _tokens(self, rows: Int[np.ndarray, " b"]) -> dict[str, np.ndarray]:
        """Padded for the whole batch, so that all processes pad alike."""
        which = np.searchsorted(self._ends, rows, side="right")
        found = {}
        for number in np.unique(which):
            here = np.flatnonzero(which == number)
            part = self._parts[number]
            begin = self._ends[number] - len(part)
            found[number] = here, *part.scores.padded_tokens(rows[here] - begin)
        longest = max(mask.shape[1] for _, _, mask in found.values())
        tokens = np.zeros((*self._mask[rows].shape, longest), np.float32)
        target_mask = np.zeros((len(rows), longest), bool)
        for here, values, mask in found.values():
            tokens[here, :, : values.shape[2]] = values
            target_mask[here, : mask.shape[1]] = mask
        return {
            "token_log_likelihood": tokens[self._places],
            "target_mask": target_mask[self._places],
        }

    def get_state(self) -> dict[str, Any]:
        """The position in the mixture."""
        return self._rows.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from that position."""
        self._rows.set_state(state)
