"""Directories of safetensors: one file, or shards named by an index.

The header is read here, because the library's NumPy front end knows no bfloat16 and
opens local files only.
"""

import json
from collections.abc import Iterable, Iterator, Mapping

import ml_dtypes
import numpy as np
import safetensors.numpy
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
    return tensors


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
    def read_data() -> np.ndarray:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(end - start)
        return np.frombuffer(data, _DTYPES[entry["dtype"]]).reshape(entry["shape"])

    return Tensor(tuple(entry["shape"]), read_data)


def write(
    directory: epath.Path,
    tensors: Iterable[tuple[str, Tensor]],
    max_shard_bytes: int,
) -> None:
    """Writes float32 tensors, as one file or as shards of at most `max_shard_bytes`.

    A tensor that is larger than that gets a shard of its own.
    """
    shards = list(_shards(tensors, max_shard_bytes))
    if len(shards) == 1:
        _write_file(directory / _SINGLE, shards[0])
        return
    weight_map = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_file(directory / name, shard)
        weight_map |= dict.fromkeys(shard, name)
    total = sum(_num_bytes(t) for shard in shards for t in shard.values())
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
    arrays = {name: tensor.read() for name, tensor in shard.items()}
    # transformers refuses files that do not say which framework wrote them.
    path.write_bytes(safetensors.numpy.save(arrays, metadata={"format": "pt"}))
