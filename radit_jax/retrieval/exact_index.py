"""Exact search on the accelerators: every row is scored, none is kept but the best."""

import functools
import json
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from radit_jax.ops import topk
from radit_jax.retrieval import ranking
from radit_jax.retrieval.embeddings import Embeddings

_AXIS = "corpus"
_QUERIES = 256  # searched together; more are cut, fewer padded to a power of two


class ExactIndex:
    """The whole corpus in device memory, its rows cut over the devices."""

    def __init__(
        self,
        embeddings: Embeddings,
        devices: Sequence[jax.Device] | None = None,
        block_size: int = 8192,
    ):
        """Copies the rows to the devices, in their stored dtype.

        Args:
          embeddings: the corpus.
          devices: that share the rows. By default this process' own: then a process
            may search alone. With `jax.devices()` all processes must search together.
          block_size: rows a device scores at a time.

        Raises:
          EmbeddingsError: rows are not finite.
        """
        embeddings.check_finite()
        self._embeddings = embeddings
        devices = jax.local_devices() if devices is None else devices
        self._mesh = Mesh(np.asarray(devices), (_AXIS,))
        device_rows = -(-embeddings.num_rows // len(devices))
        num_blocks = -(-device_rows // block_size)
        self._block_shape = (num_blocks, -(-device_rows // num_blocks))
        self._rows = self._put_rows()
        self._find = self._compile()

    @property
    def num_chunks(self) -> int:
        """`n`."""
        return self._embeddings.num_rows

    def search(
        self, queries: Float[np.ndarray, "b e"], k: int
    ) -> tuple[Int[np.ndarray, "b k"], Float[np.ndarray, "b k"]]:
        """The k best chunks of each query.

        Args:
          queries: float32.
          k: chunks.

        Returns:
          Chunk ids, int32, and dot products, float32: best first, equal ones by
          lower id.

        Raises:
          SearchError: k, the queries' width or their numbers do not fit.
        """
        ranking.check(queries, k, self._embeddings)
        num_candidates = min(k + ranking.MARGIN, self.num_chunks)
        ids = np.empty((len(queries), num_candidates), np.int32)
        for start in range(0, len(queries), _QUERIES):
            batch = queries[start : start + _QUERIES]
            # Powers of two, so that batches of all sizes compile few programs.
            size = 1 << (len(batch) - 1).bit_length()
            padded = np.pad(batch, ((0, size - len(batch)), (0, 0)))
            found = self._find(padded, self._rows, k=num_candidates)
            ids[start : start + _QUERIES] = np.asarray(found)[: len(batch)]
        return ranking.rank(self._embeddings, queries, ids, k)

    def save(self, directory: epath.PathLike) -> None:
        """Writes `index.json`; the rows stay where they are."""
        description = {
            "kind": "exact",
            "num_chunks": self.num_chunks,
            "width": self._embeddings.width,
        }
        (epath.Path(directory) / "index.json").write_text(json.dumps(description))

    def _put_rows(self) -> Float[Array, "n e"]:
        num_blocks, block = self._block_shape
        shape = (self._mesh.size * num_blocks * block, self._embeddings.width)

        def read(where: tuple[slice, ...]) -> np.ndarray:
            start, stop, _ = where[0].indices(shape[0])
            rows = self._embeddings.slice(start, stop)
            return np.pad(rows, ((0, stop - start - len(rows)), (0, 0)))

        sharding = NamedSharding(self._mesh, PartitionSpec(_AXIS))
        return jax.make_array_from_callback(shape, sharding, read)

    def _compile(self):
        """The compiled search: queries, rows and k to the ids of the best k."""

        def find(queries, rows, k):
            everywhere = PartitionSpec()
            return jax.shard_map(
                functools.partial(
                    _search_shard,
                    k=k,
                    num_chunks=self.num_chunks,
                    block_shape=self._block_shape,
                ),
                mesh=self._mesh,
                in_specs=(everywhere, PartitionSpec(_AXIS)),
                out_specs=everywhere,
                # All devices gather and sort the same candidates, which the checker
                # of replicated values cannot see.
                check_vma=False,
            )(queries, rows)

        return jax.jit(find, static_argnames="k")


def _search_shard(
    queries: Float[Array, "b e"],
    rows: Float[Array, "m e"],
    *,
    k: int,
    num_chunks: int,
    block_shape: tuple[int, int],
) -> Int[Array, "b k"]:
    """One device: its best k, block after block; then the best k of all devices."""
    num_blocks, block = block_shape
    first_id = jax.lax.axis_index(_AXIS) * num_blocks * block

    def step(best, blocks):
        block_rows, start = blocks
        scores = jnp.einsum(
            "be,ne->bn",
            queries,
            block_rows.astype(jnp.float32),
            precision=jax.lax.Precision.HIGHEST,
        )
        ids = first_id + start + jnp.arange(block)
        scores = jnp.where((ids < num_chunks)[None], scores, -jnp.inf)
        scores, columns = topk.top_k(scores, min(k, block))
        candidates = (scores, first_id + start + columns)
        both = jax.tree.map(lambda x, y: jnp.concatenate([x, y], 1), best, candidates)
        return topk.merge_top_k(*both, k), None

    shape = (queries.shape[0], k)
    nothing = jnp.full(shape, -jnp.inf), jnp.full(shape, num_chunks, jnp.int32)
    blocks = rows.reshape(num_blocks, block, -1), jnp.arange(num_blocks) * block
    best, _ = jax.lax.scan(step, nothing, blocks)
    gather = functools.partial(jax.lax.all_gather, axis_name=_AXIS, axis=1, tiled=True)
    return topk.merge_top_k(*jax.tree.map(gather, best), k)[1]
