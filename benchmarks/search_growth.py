"""What ScaNN's index costs from ten thousand rows to two million, and what follows.

A larger corpus is the given one over and over, each time with other noise. Building
and searching run in processes of their own, so that each has its own memory.
"""

import contextlib
import dataclasses
import json
import math
import pathlib
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import logging
from etils import epath

from radit_jax.artifacts import Draft
from radit_jax.config import IndexConfig
from radit_jax.retrieval import embeddings, index

_SIZES = (10_000, 60_000, 600_000, 2_000_000)
_QUICK_SIZES = (10_000, 60_000)
_NOISE = 0.3  # of a row's length
_SHARD_ROWS = 250_000
_K = 10
_SECONDS_BETWEEN_SAMPLES = 0.02


@dataclasses.dataclass(frozen=True)
class Hosts:
    """Machines to extrapolate to."""

    cores: int = 64
    memory_bytes: int = 512 * 10**9
    usable: float = 0.8  # of the memory
    width: int = 768  # of the embeddings


_CORPORA = {"Wikipedia 2021": 37_000_000, "the paper's": 399_000_000}


def measure(
    rows: np.ndarray, queries: np.ndarray | None, folder: pathlib.Path, quick: bool
) -> dict[str, Any]:
    """Every size, and the arithmetic for the large corpora."""
    found = []
    for num_rows in _QUICK_SIZES if quick else _SIZES:
        place = folder / f"growth-{num_rows}"
        num_shards = _write(rows, num_rows, place)
        if queries is not None:
            np.save(place / "queries.npy", queries[:2048].astype(np.float32))
        built = _call("build", place, num_shards)
        found.append({"rows": num_rows} | built | _call("search", place, num_shards))
        logging.info("%s", found[-1])
        shutil.rmtree(place)
    return {
        "measured": found,
        "noise": f"rows over and over, with noise of {_NOISE} of their length",
        "extrapolated": [
            {"corpus": name} | _extrapolate(found[-2:], rows.shape[1], count, Hosts())
            for name, count in _CORPORA.items()
        ],
    }


def _write(rows: np.ndarray, num_rows: int, folder: pathlib.Path) -> int:
    """A corpus of so many rows; how many shards it has."""
    folder.mkdir()
    num_shards = -(-num_rows // _SHARD_ROWS)
    rng = np.random.default_rng(0)
    for shard, name in enumerate(embeddings.shard_names(num_shards)):
        start = shard * _SHARD_ROWS
        ids = np.arange(start, min(start + _SHARD_ROWS, num_rows))
        some = rows[ids % len(rows)].astype(np.float32)
        lengths = np.linalg.norm(some, axis=1, keepdims=True)
        noise = rng.standard_normal(some.shape, np.float32) / some.shape[1] ** 0.5
        moved = some + np.where(ids[:, None] < len(rows), 0, _NOISE) * lengths * noise
        moved *= lengths / np.linalg.norm(moved, axis=1, keepdims=True)
        embeddings.write_shard(epath.Path(folder / name), moved.astype(np.float32))
    return num_shards


def _call(function: str, folder: pathlib.Path, num_shards: int) -> dict[str, Any]:
    program = f"from benchmarks import search_growth as g; g.{function}"
    command = [sys.executable, "-c", f"{program}({str(folder)!r}, {num_shards})"]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(output.stdout.splitlines()[-1])


def build(folder: str, num_shards: int) -> None:
    """Prints what the stage's code takes to build, tune and measure an index."""
    stored = embeddings.Embeddings(folder, num_shards)
    given = pathlib.Path(folder) / "queries.npy"
    queries = np.load(given) if given.exists() else None
    config = IndexConfig(kind="scann", target_recall=0.95)
    with _peak_bytes() as peak:
        begin = time.perf_counter()
        path = epath.Path(folder) / "index"
        report = index.build(stored, config, Draft(path), queries)
        seconds = time.perf_counter() - begin
    part = report["parts"][0]
    num_bytes = sum(file.stat().length for file in path.glob("scann-*/*"))
    found = {
        "build_seconds": part["build_seconds"],
        "build_and_tune_seconds": seconds,
        "build_peak_bytes_per_row": peak[0] / stored.num_rows,
        "disk_bytes_per_row": num_bytes / stored.num_rows,
        "recall": report["recall"],
        "parameters": part["parameters"],
    }
    print(json.dumps(found))


def search(folder: str, num_shards: int) -> None:
    """Prints what the index takes to open, and how fast it is, 256 together."""
    stored = embeddings.Embeddings(folder, num_shards)
    given = pathlib.Path(folder) / "queries.npy"
    queries = np.load(given) if given.exists() else stored.rows(np.arange(2048))
    before, begin = _own_bytes(), time.perf_counter()
    loaded = index.load(pathlib.Path(folder) / "index", stored)
    seconds, memory = time.perf_counter() - begin, _own_bytes() - before
    rates = []
    for _ in range(8):
        begin = time.perf_counter()
        for start in range(0, len(queries), 256):
            loaded.search(queries[start : start + 256], _K)
        rates.append(len(queries) / (time.perf_counter() - begin))
    found = {
        "load_seconds": seconds,
        "memory_bytes_per_row": memory / stored.num_rows,
        "queries_per_second": float(np.median(rates[1:])),
    }
    print(json.dumps(found))


@contextlib.contextmanager
def _peak_bytes() -> Iterator[list[int]]:
    """The most memory of its own that this process has had, sampled."""
    peak, ended = [0], threading.Event()

    def sample() -> None:
        while not ended.wait(_SECONDS_BETWEEN_SAMPLES):
            peak[0] = max(peak[0], _own_bytes())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    yield peak
    ended.set()
    thread.join()


def _own_bytes() -> int:
    """Of this process' memory, what no file backs."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) * 1024 for x in lines if x.startswith("RssAnon"))


def _extrapolate(
    last: list[dict[str, Any]], width: int, num_rows: int, hosts: Hosts
) -> dict[str, Any]:
    """Powers of the rows through the two largest corpora measured; bytes by width."""
    small, large = last
    growth = math.log(large["rows"] / small["rows"])
    wider = hosts.width / width
    per_row = wider * large["memory_bytes_per_row"]
    peak_per_row = wider * large["build_peak_bytes_per_row"]
    count = math.ceil(num_rows * peak_per_row / (hosts.usable * hosts.memory_bytes))
    part_rows = num_rows / count
    power = {
        key: math.log(large[key] / small[key]) / growth
        for key in ("build_seconds", "queries_per_second")
    }
    scale = {key: (part_rows / large["rows"]) ** value for key, value in power.items()}
    cores = hosts.cores / 2  # times what was measured on
    return {
        "rows": num_rows,
        "hosts": f"{count} of {hosts.cores} cores, {hosts.memory_bytes / 1e9:.0f} GB",
        "index_gb": num_rows * per_row / 1e9,
        "index_gb_a_host": part_rows * per_row / 1e9,
        "build_peak_gb_a_host": part_rows * peak_per_row / 1e9,
        "build_hours": large["build_seconds"]
        * scale["build_seconds"]
        * wider
        / cores
        / 3600,
        "queries_per_second": large["queries_per_second"]
        * scale["queries_per_second"]
        / wider
        * cores,
        "powers": power,
        "how": "measured on 2 cores; rates taken to grow with the cores, costs with "
        "the width; one part a host, all search every query",
    }
