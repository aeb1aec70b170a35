"""Exact search on the accelerators: every row is scored, none is kept but the best.

The layout is that of TPU-KNN (Chern et al., arXiv 2206.14286): rows cut over the
devices, a matrix product and a partial reduction a block, one small collective.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Shaped

from radit_jax.ops import topk
from radit_jax.retrieval import ranking
from radit_jax.retrieval.embeddings import Embeddings
from radit_jax.retrieval.ranking import Found

AXIS = "corpus"  # of the mesh: its devices share the rows
BLOCK_ROWS = 8192  # that a device scores at a time
_QUERIES = 256  # searched together; more are cut, fewer padded to a power of two
# Rounded to bfloat16, the 10 best are among the 40 + MARGIN best but for rare cases,
# which `index.build` counts.
_BFLOAT16_CANDIDATES = 4  # times k
_TILE_ROWS = 16  # that a TPU keeps together, of bfloat16; half as many of float32


class ExactIndex:
    """The whole corpus in device memory, its rows cut over the devices."""

    def __init__(
        self,
        embeddings: Embeddings,
        devices: Sequence[jax.Device] | None = None,
        block_size: int = BLOCK_ROWS,
        rows_dtype: str = "",
        approximate_recall: float = 1.0,
        part: range | None = None,
    ):
        """Copies the rows to the devices.

        Args:
          embeddings: the corpus.
          devices: that share the rows. By default this process' own: then a process
            may search alone. With `jax.devices()` all processes must search together.
          block_size: rows a device scores at a time.
          rows_dtype: of the copies; "" for the stored one. "bfloat16" takes half the
            memory and, on accelerators, a fraction of the time; candidates are still
            ranked by the stored rows.
          approximate_recall: see `topk.top_k`.
          part: the ids to search; by default all.

        Raises:
          EmbeddingsError: rows are not finite.
        """
        self._embeddings = embeddings
        self._part = range(embeddings.num_rows) if part is None else part
        self._norm = ranking.largest_norm(embeddings, self._part)
        devices = jax.local_devices() if devices is None else devices
        self._mesh = Mesh(np.asarray(devices), (AXIS,))
        self._block_shape = block_shape(self.num_chunks, len(devices), block_size)
        self._rows = self._put_rows(jnp.dtype(rows_dtype or embeddings.dtype))
        self._is_rounded = rows_dtype == "bfloat16"
        self._find = program(
            self._mesh,
            self.num_chunks,
            self._block_shape,
            approximate_recall,
            self._is_rounded,
        )

    @property
    def num_chunks(self) -> int:
        """`n`."""
        return len(self._part)

    def search(self, queries: Float[np.ndarray, "b e"], k: int) -> Found:
        """See `Index.search`."""
        ranking.check(queries, k, self._embeddings)
        wanted = num_candidates(k, self.num_chunks, self._is_rounded)
        starts = range(0, len(queries), _QUERIES)
        # All are dispatched before the first is fetched.
        batches = [queries[start : start + _QUERIES] for start in starts]
        found = [self._find(_pad(batch), self._rows, k=wanted) for batch in batches]
        ids = np.empty((len(queries), wanted), np.int32)
        scores = np.empty(ids.shape, np.float32)
        for start, (best, columns) in zip(starts, found, strict=True):
            rows = slice(start, start + _QUERIES)
            scores[rows] = np.asarray(best)[: len(scores[rows])]
            ids[rows] = np.asarray(columns)[: len(ids[rows])]
        if not self._is_rounded:
            uncertainty = ranking.tolerance(queries, self._norm)
            ids = ranking.cut(ids, scores, k, uncertainty)
        return ranking.rank(self._embeddings, queries, ids + self._part.start, k)

    def _put_rows(self, dtype: np.dtype) -> Shaped[Array, "n e"]:
        num_blocks, block = self._block_shape
        shape = (self._mesh.size * num_blocks * block, self._embeddings.width)
        first, end = self._part.start, self._part.stop

        def read(where: tuple[slice, ...]) -> np.ndarray:
            start, stop, _ = where[0].indices(shape[0])
            rows = self._embeddings.slice(
                min(first + start, end), min(first + stop, end)
            )
            padded = np.zeros((stop - start, shape[1]), dtype)
            padded[: len(rows)] = rows
            # XLA slices no bfloat16 on CPUs: it would copy all rows to float32 first.
            return padded.view(np.uint16) if dtype == jnp.bfloat16 else padded

        sharding = NamedSharding(self._mesh, PartitionSpec(AXIS))
        return jax.make_array_from_callback(shape, sharding, read)


def num_candidates(k: int, num_chunks: int, is_rounded: bool) -> int:
    """How many chunks of a query are ranked by their exact scores, to give k."""
    times = _BFLOAT16_CANDIDATES if is_rounded else 1
    return min(k * times + ranking.MARGIN, num_chunks)


def block_shape(num_chunks: int, num_devices: int, block_size: int) -> tuple[int, int]:
    """How a device's rows are cut: into so many blocks of so many rows.

    Blocks are of whole tiles, or a TPU would copy all rows to cut them.
    """
    device_rows = -(-num_chunks // num_devices)
    num_blocks = -(-device_rows // block_size)
    return num_blocks, -(-device_rows // (num_blocks * _TILE_ROWS)) * _TILE_ROWS


@functools.lru_cache(maxsize=16)  # indexes of one shape compile once
def program(
    mesh: Mesh,
    num_chunks: int,
    block_shape: tuple[int, int],
    approximate_recall: float = 1.0,
    rounds_products: bool = False,
) -> jax.stages.Wrapped:
    """The jitted search: queries `[b e]`, rows `[m e]` and `k` to the k best.

    Rows are sharded over `AXIS`, padded to devices · blocks · rows a block, bfloat16
    as the uint16 of its bits; queries and results are everywhere. With
    `jax.ShapeDtypeStruct`s it can be lowered and compiled for a topology that is not
    there.

    Args:
      mesh: of one axis, `AXIS`.
      num_chunks: rows that are no padding.
      block_shape: see the function of that name.
      approximate_recall: see `topk.top_k`.
      rounds_products: whether queries and rows meet in bfloat16, summed in float32.

    Returns:
      A function to scores `[b k]` and rows' numbers `[b k]`, best first.
    """

    def find(queries, rows, k):
        everywhere = PartitionSpec()
        return jax.shard_map(
            functools.partial(
                _search_shard,
                k=k,
                num_chunks=num_chunks,
                block_shape=block_shape,
                approximate_recall=approximate_recall,
                rounds_products=rounds_products,
            ),
            mesh=mesh,
            in_specs=(everywhere, PartitionSpec(AXIS)),
            out_specs=everywhere,
            # All devices gather and sort the same candidates, which the checker
            # of replicated values cannot see.
            check_vma=False,
        )(queries, rows)

    return jax.jit(find, static_argnames="k")


def _pad(queries: Float[np.ndarray, "b e"]) -> Float[np.ndarray, "m e"]:
    """Powers of two, so that batches of all sizes compile few programs."""
    size = 1 << (len(queries) - 1).bit_length()
    return np.pad(queries, ((0, size - len(queries)), (0, 0)))


def _search_shard(
    queries: Float[Array, "b e"],
    rows: Shaped[Array, "m e"],
    *,
    k: int,
    num_chunks: int,
    block_shape: tuple[int, int],
    approximate_recall: float = 1.0,
    rounds_products: bool = False,
) -> tuple[Float[Array, "b k"], Int[Array, "b k"]]:
    """One device: its best k, block after block; then the best k of all devices."""
    num_blocks, block = block_shape
    first_id = jax.lax.axis_index(AXIS) * num_blocks * block

    def step(best, blocks):
        block_rows, start = blocks
        scores = _products(queries, block_rows, rounds_products)
        ids = first_id + start + jnp.arange(block)
        scores = jnp.where((ids < num_chunks)[None], scores, -jnp.inf)
        scores, columns = topk.top_k(scores, min(k, block), approximate_recall)
        candidates = (scores, first_id + start + columns)
        both = jax.tree.map(lambda x, y: jnp.concatenate([x, y], 1), best, candidates)
        return topk.merge_top_k(*both, k), None

    shape = (queries.shape[0], k)
    nothing = jnp.full(shape, -jnp.inf), jnp.full(shape, num_chunks, jnp.int32)
    blocks = rows.reshape(num_blocks, block, -1), jnp.arange(num_blocks) * block
    best, _ = jax.lax.scan(step, nothing, blocks)
    gather = functools.partial(jax.lax.all_gather, axis_name=AXIS, axis=1, tiled=True)
    return topk.merge_top_k(*jax.tree.map(gather, best), k)


def _products(
    queries: Float[Array, "b e"], rows: Shaped[Array, "m e"], rounds: bool
) -> Float[Array, "b m"]:
    if rows.dtype == jnp.uint16:
        rows = jax.lax.bitcast_convert_type(rows, jnp.bfloat16)
    dtype = jnp.bfloat16 if rounds else jnp.float32
    return jnp.einsum(
        "be,ne->bn",
        queries.astype(dtype),
        rows.astype(dtype),
        precision=None if rounds else jax.lax.Precision.HIGHEST,
        preferred_element_type=jnp.float32,
    )
