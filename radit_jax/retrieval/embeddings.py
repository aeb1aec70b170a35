"""The corpus' embedding matrix `[n e]`: safetensors files, read through memory maps.

One file holds one shard, `embeddings-00001-of-00005.safetensors`, with one tensor,
`embeddings`. Files of a killed run are whole or absent.
"""

import json
import math
import os
from collections.abc import Iterable, Iterator

import ml_dtypes
import numpy as np
from etils import epath
from jaxtyping import Float, Int

_TENSOR = "embeddings"
_DTYPES = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
_BLOCK_ROWS = 65_536  # rows that `check_finite` looks at together


class EmbeddingsError(ValueError):
    """Embeddings that are missing, cut short or not numbers."""


def shard_names(num_shards: int) -> list[str]:
    """The file names, in the order of the rows."""
    return [
        f"embeddings-{shard:05}-of-{num_shards:05}.safetensors"
        for shard in range(num_shards)
    ]


def write_shard(path: epath.PathLike, rows: Float[np.ndarray, "n e"]) -> None:
    """Writes one shard, aside first, so that a file with its name is a whole one.

    Args:
      path: the file; its folder exists.
      rows: at least one, float32, float16 or bfloat16.

    Raises:
      EmbeddingsError: no rows, or another dtype.
    """
    path = epath.Path(path)
    if not rows.size or rows.dtype not in _DTYPES.values():
        raise EmbeddingsError(
            f"{path.name} would hold {rows.shape[0]} x {rows.shape[1]} numbers of "
            f"{rows.dtype}; give at least one row of float32, float16 or bfloat16."
        )
    aside = path.with_name(f"{path.name}.tmp")
    with aside.open("wb") as file:
        file.write(_header(rows))
        file.write(np.ascontiguousarray(rows).view(np.uint8).data)
    aside.replace(path)


def _header(rows: Float[np.ndarray, "n e"]) -> bytes:
    """8 bytes header size and a JSON header; safetensors' own writer copies rows."""
    name = next(name for name, dtype in _DTYPES.items() if dtype == rows.dtype)
    offsets = [0, rows.nbytes]
    tensor = {"dtype": name, "shape": [*rows.shape], "data_offsets": offsets}
    text = json.dumps({_TENSOR: tensor}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the rows begin where float32 may
    return len(text).to_bytes(8, "little") + text


class Embeddings:
    """A sharded matrix whose rows are read from disk when they are asked for."""

    def __init__(self, directory: epath.PathLike, num_shards: int):
        """Opens the files, without reading their rows.

        Args:
          directory: where `write_shard` put them.
          num_shards: how many there are.

        Raises:
          EmbeddingsError: files are missing, cut short, or do not fit together.
        """
        directory = epath.Path(directory)
        paths = [directory / name for name in shard_names(num_shards)]
        missing = [path.name for path in paths if not path.exists()]
        if missing or not paths:
            raise EmbeddingsError(
                f"{directory} lacks {len(missing)} of {num_shards} files of embeddings"
                f"{', the first is ' + missing[0] if missing else ''}; run stage "
                "embed_corpus again, it writes what is missing."
            )
        self._shards = [_open(path) for path in paths]
        first = self._shards[0]
        for path, shard in zip(paths, self._shards, strict=True):
            if (shard.shape[1], shard.dtype) != (first.shape[1], first.dtype):
                raise EmbeddingsError(
                    f"{path} holds {shard.dtype} rows of width {shard.shape[1]}, but "
                    f"{paths[0].name} {first.dtype} rows of width {first.shape[1]}; "
                    "delete the folder and run stage embed_corpus again."
                )
        self._starts = np.cumsum([0] + [len(shard) for shard in self._shards])

    @property
    def num_rows(self) -> int:
        """`n`."""
        return int(self._starts[-1])

    @property
    def width(self) -> int:
        """`e`."""
        return self._shards[0].shape[1]

    @property
    def dtype(self) -> np.dtype:
        """As stored: float32, float16 or bfloat16."""
        return self._shards[0].dtype

    def rows(self, ids: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m e"]:
        """The rows with these ids, in this order, as float32.

        Raises:
          EmbeddingsError: an id that is not a row.
        """
        outside = (ids < 0) | (ids >= self.num_rows)
        if np.any(outside):
            raise EmbeddingsError(
                f"row {ids[outside][0]} was asked for, but there are {self.num_rows} "
                "rows; the ids come from another corpus."
            )
        found = np.empty((len(ids), self.width), np.float32)
        shards = np.searchsorted(self._starts, ids, side="right") - 1
        for shard in np.unique(shards):
            here = shards == shard
            found[here] = self._shards[shard][ids[here] - self._starts[shard]]
        return found

    def slice(self, start: int, stop: int) -> Float[np.ndarray, "m e"]:
        """Rows `start` to `stop - 1`, in the stored dtype; fewer at the end."""
        parts = [
            shard[max(start - first, 0) : max(stop - first, 0)]
            for shard, first in zip(self._shards, self._starts[:-1], strict=True)
        ]
        return np.concatenate(parts)

    def blocks(self, size: int) -> Iterator[Float[np.ndarray, "m e"]]:
        """All rows in order, `size` at a time, in the stored dtype."""
        for start in range(0, self.num_rows, size):
            yield self.slice(start, start + size)

    def check_finite(self) -> None:
        """Checks that every number is one.

        Raises:
          EmbeddingsError: with the count of rows that hold NaN or infinity.
        """
        check_finite(self.blocks(_BLOCK_ROWS), 0)


def check_finite(blocks: Iterable[Float[np.ndarray, "m e"]], first_chunk: int) -> None:
    """Checks that every number is one.

    Args:
      blocks: rows, in order.
      first_chunk: id of the first.

    Raises:
      EmbeddingsError: with the count of rows that hold NaN or infinity.
    """
    is_bad = np.concatenate([~np.isfinite(block).all(axis=1) for block in blocks])
    if is_bad.any():
        raise EmbeddingsError(
            f"{is_bad.sum()} of {len(is_bad)} embeddings are not finite, the first is "
            f"chunk {first_chunk + is_bad.argmax()}; check the passage tower, or embed "
            "with --config.encoder.compute_dtype=float32 and "
            "--config.embed.dtype=float32."
        )


def _open(path: epath.Path) -> np.ndarray:
    """One shard: `_header`, then the rows' bytes."""
    num_bytes = path.stat().length
    with path.open("rb") as file:
        header_bytes = 8 + int.from_bytes(file.read(8), "little")
        if header_bytes > num_bytes:
            raise _cut_short(path, num_bytes, header_bytes)
        header = json.loads(file.read(header_bytes - 8))
    tensor = header[_TENSOR]
    begin, end = (header_bytes + offset for offset in tensor["data_offsets"])
    if end > num_bytes:
        raise _cut_short(path, num_bytes, end)
    shape, dtype = tuple(tensor["shape"]), _DTYPES[tensor["dtype"]]
    if "://" in os.fspath(path):  # a bucket has no memory maps
        flat = np.frombuffer(path.read_bytes(), dtype, math.prod(shape), begin)
        return flat.reshape(shape)
    return np.memmap(path, dtype, "r", begin, shape)


def _cut_short(path: epath.Path, num_bytes: int, promised: int) -> EmbeddingsError:
    return EmbeddingsError(
        f"{path} is cut short: it has {num_bytes} bytes of at least {promised}; delete "
        "it and run stage embed_corpus again, it writes what is missing."
    )
