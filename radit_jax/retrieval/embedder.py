"""Embedder: texts to embeddings, in length-sorted batches of few shapes."""

import functools

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from radit_jax.models.dual_encoder import Tower

_LENGTH_MULTIPLE = 32  # tokens; every length of batch is a shape to compile


class Embedder:
    """A tower's parameters on this process' devices, and its compiled forward pass."""

    def __init__(self, tower: Tower):
        """Copies the parameters to every device of this process.

        Args:
          tower: the query or the passage tower.
        """
        mesh = Mesh(np.asarray(jax.local_devices()), ("data",))
        self._num_devices = mesh.size
        self._batch_sharding = NamedSharding(mesh, PartitionSpec("data"))
        graphdef, params = nnx.split(tower.encoder)
        self._params = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
        self._forward = jax.jit(functools.partial(tower.embed, graphdef))
        self._tower = tower

    def embed(self, texts: list[str], batch_size: int) -> Float[np.ndarray, "n e"]:
        """Embeds texts; the result does not depend on which ones share a batch.

        Args:
          texts: at least one; the tower puts its prefix before each.
          batch_size: texts that run together.

        Returns:
          One float32 row a text, in the order given.

        Raises:
          ValueError: no texts.
        """
        if not texts:
            raise ValueError("there are no texts to embed; give at least one.")
        ids, mask = self._tower.tokenize(texts)
        order = np.argsort(mask.sum(axis=1), kind="stable")
        parts, waiting = [], None
        for start in range(0, len(texts), batch_size):
            rows = order[start : start + batch_size]
            batch = self._lay_out(ids[rows], mask[rows], batch_size)
            dispatched = len(rows), self._forward(self._params, *batch)
            # Fetching one batch behind keeps the devices busy meanwhile.
            if waiting is not None:
                parts.append(np.asarray(waiting[1])[: waiting[0]])
            waiting = dispatched
        parts.append(np.asarray(waiting[1])[: waiting[0]])
        embedded = np.concatenate(parts).astype(np.float32, copy=False)
        result = np.empty_like(embedded)
        result[order] = embedded
        return result

    def _lay_out(
        self, ids: Int[np.ndarray, "b p"], mask: Bool[np.ndarray, "b p"], num_rows: int
    ) -> tuple[Int[Array, "m l"], Bool[Array, "m l"]]:
        """Cuts padding beyond the longest text, pads to one of few shapes, and sends.

        Rows are filled up, to `num_rows` and to what the devices can share, with
        copies of the first text: an all-padding row would be NaN in a mean over tokens.
        """
        longest = int(mask.sum(axis=1).max())
        length = -(-longest // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE
        length = min(length, self._tower.max_tokens)
        ids, mask = ids[:, :length], mask[:, :length]
        missing = ((0, 0), (0, length - ids.shape[1]))
        ids, mask = np.pad(ids, missing), np.pad(mask, missing)
        rows = np.arange(-(-num_rows // self._num_devices) * self._num_devices)
        rows[len(ids) :] = 0
        return jax.device_put((ids[rows], mask[rows]), self._batch_sharding)
