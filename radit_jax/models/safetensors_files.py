"""Directories of safetensors: one file, or shards named by an index.

The headers are read and written here, because the library's NumPy front end knows no
bfloat16, opens local files only, and holds all of a file that it writes.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import ml_dtypes
import numpy as np
from etils import epath

from radit_jax.models.weights import CheckpointError, Tensor

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def read(directory: epath.Path) -> dict[str, Tensor]:
    """The tensors of a model directory, by name; their data is read when asked for.

    Raises:
      CheckpointError: for no safetensors, missing shards or a damaged file.
    """
    tensors: dict[str, Tensor] = {}
    for path in _files(directory):
        tensors |= _read_header(path)
    _check_index(directory, tensors)
    return tensors


def read_file(path: epath.Path) -> dict[str, Tensor]:
    """The tensors of one file; see `read`."""
    return _read_header(path)


def _files(directory: epath.Path) -> list[epath.Path]:
    if (directory / _INDEX).exists():
        index = json.loads((directory / _INDEX).read_text())
        paths = [directory / name for name in sorted({*index["weight_map"].values()})]
        missing = [path.name for path in paths if not path.exists()]
        if missing:
            raise CheckpointError(
                f"{directory} lacks {missing}, which {_INDEX} names; copy them too."
            )
        return paths
    if (directory / _SINGLE).exists():
        return [directory / _SINGLE]
    pickles = sorted(p.name for s in ("*.bin", "*.pt*") for p in directory.glob(s))
    found = f"only {pickles}, which are pickles and never opened" if pickles else "none"
    raise CheckpointError(
        f"{directory} should hold {_SINGLE} or {_INDEX}, but has {found}. Convert it "
        "where you trust it: transformers' from_pretrained(...).save_pretrained(...)."
    )


def _check_index(directory: epath.Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuses shards of several savings: each whole, and together no model."""
    if not (directory / _INDEX).exists():
        return
    named = json.loads((directory / _INDEX).read_text())["weight_map"]
    missing = sorted({*named} - {*tensors})
    if missing:
        raise CheckpointError(
            f"{directory}/{_INDEX} names {len(missing)} tensor(s) that none of its "
            f"files has, {missing[0]} first; the files are of several savings, or one "
            "was not finished. Copy all of them again."
        )


def _read_header(path: epath.Path) -> dict[str, Tensor]:
    size = path.stat().length
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        if 8 + header_bytes > size:
            raise _damaged(path, f"a header of {header_bytes} bytes", size)
        header = json.loads(file.read(header_bytes))
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] not in _DTYPES:
            raise CheckpointError(
                f"{path}: tensor {name} has dtype {entry['dtype']}; supported are "
                f"{sorted(_DTYPES)}. Quantised models are read from GGUF."
            )
        start, end = (8 + header_bytes + offset for offset in entry["data_offsets"])
        if end > size:
            raise _damaged(path, f"tensor {name} up to byte {end}", size)
        tensors[name] = _tensor(path, entry, start, end)
    return tensors


def _damaged(path: epath.Path, what: str, size: int) -> CheckpointError:
    return CheckpointError(
        f"{path} names {what}, but has {size} bytes: it is cut short or is no "
        "safetensors file. Copy it again."
    )


def _tensor(path: epath.Path, entry: Mapping, start: int, end: int) -> Tensor:
    shape, dtype = tuple(entry["shape"]), _DTYPES[entry["dtype"]]

    def read_rows(first: int, last: int) -> np.ndarray:
        row_bytes = (end - start) // shape[0]
        with path.open("rb") as file:
            file.seek(start + first * row_bytes)
            data = file.read((last - first) * row_bytes)
        return np.frombuffer(data, dtype).reshape(-1, *shape[1:])

    def read() -> np.ndarray:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(end - start)
        return np.frombuffer(data, dtype).reshape(shape)

    return Tensor(shape, read, read_rows)


def write(
    directory: epath.Path,
    tensors: Iterable[tuple[str, Tensor]],
    max_shard_bytes: int,
) -> None:
    """Writes float32 tensors, as one file or as shards of at most `max_shard_bytes`.

    A tensor that is larger than that gets a shard of its own. One tensor is held at a
    time. All processes of a job read the tensors, which may be spread over them, and
    process 0 writes.
    """
    is_writer = jax.process_index() == 0
    shards = list(_shards(tensors, max_shard_bytes))
    names = [_SINGLE]
    if len(shards) > 1:
        names = [
            f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            for number in range(1, len(shards) + 1)
        ]
    for name, shard in zip(names, shards, strict=True):
        if is_writer:
            _write_file(directory / name, shard)
            continue
        for tensor in shard.values():
            tensor.read()
    if is_writer and len(shards) > 1:
        _write_index(directory, dict(zip(names, shards, strict=True)))


def _write_index(directory: epath.Path, shards: Mapping[str, Mapping]) -> None:
    weight_map = {name: file for file, shard in shards.items() for name in shard}
    total = sum(_num_bytes(t) for shard in shards.values() for t in shard.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (directory / _INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def _shards(tensors, max_shard_bytes: int) -> Iterator[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    for name, tensor in tensors:
        held = sum(map(_num_bytes, shard.values()))
        if shard and held + _num_bytes(tensor) > max_shard_bytes:
            yield shard
            shard = {}
        shard[name] = tensor
    yield shard


def _num_bytes(tensor: Tensor) -> int:
    return 4 * int(np.prod(tensor.shape, dtype=np.int64))


def _write_file(path: epath.Path, shard: Mapping[str, Tensor]) -> None:
    """The format's header, and tensor after tensor.

    The library's own writer wants all of a file's tensors at once, and then a copy.
    """
    # transformers refuses files that do not say which framework wrote them.
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in shard.items():
        offsets = [end, end + _num_bytes(tensor)]
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": offsets}
        end = offsets[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data is aligned
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in shard.values():
            file.write(np.ascontiguousarray(tensor.read(), "<f4").data)
