"""How fast a corpus is chunked, in how much memory, and how its store is read.

python -m benchmarks.corpus --passages=psgs_w100.tsv.gz [--quick] [--json=FILE]

DPR's passages are repeated with other ids until there are as many as wanted, and
chunked by `corpus.pipeline` on one worker and on two. The peer is what one would write
oneself: a loop of csv, split and json, which leaves no store to look chunks up in, and
has no check of its input. Memory is that of a run's processes together, sampled.
Everything runs in processes of its own, on as many cores as it has workers.
"""

import contextlib
import csv
import gzip
import hashlib
import itertools
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from absl import flags, logging

from benchmarks import command
from radit_jax.config import CorpusConfig
from radit_jax.corpus import pipeline, store

_PASSAGES = flags.DEFINE_string("passages", None, "psgs_w100.tsv, or .tsv.gz.")
_QUICK = flags.DEFINE_bool("quick", False, "Sizes that end in under two minutes.")
_WORKERS = flags.DEFINE_integer("workers", 64, "Workers to extrapolate to.")

_PAPER_CHUNKS = 399_000_000
_MAX_WORDS, _MIN_WORDS = 200, 5
_NUM_LOOKUPS = 2000
_NUM_COPIES = 20  # of a store, opened together
_GROUP_SIZES = (1, 16, 64)  # beside the store's own
_SECONDS_BETWEEN_SAMPLES = 0.1


def chunk(passages: str, folder: str, num_workers: str) -> None:
    """Ours: into a store."""
    corpus = CorpusConfig(passages, block_documents=1 << 14)
    if int(num_workers) > 1:
        corpus.runner = "DirectRunner"
        corpus.runner_options = (f"--direct_num_workers={num_workers}",)
    pipeline.write_store(corpus, folder)


def chunk_plainly(passages: str, folder: str) -> None:
    """The peer: into JSON lines."""
    path = pathlib.Path(folder) / "chunks.jsonl"
    with open(passages, newline="") as file, path.open("w") as out:
        rows = csv.reader(file, delimiter="\t")
        next(rows)
        for name, text, title in rows:
            words = text.split()
            count = -(-len(words) // (_MAX_WORDS - 1)) * (len(words) >= _MIN_WORDS)
            for i in range(count):
                some = words[len(words) * i // count : len(words) * (i + 1) // count]
                record = {"id": name, "text": " ".join(some), "title": title}
                out.write(json.dumps(record, ensure_ascii=False) + "\n")


def regroup(source: str, folder: str, group_size: str) -> None:
    """Copies a store, with another number of chunks compressed together."""
    store._WRITER_OPTIONS = f"group_size:{group_size}"
    store.write_chunks(folder, store.ChunkStore(source), 100_000)


def look_up(warm: str, folder: str) -> None:
    """Prints what a store takes to open and to read; `warm` is another one."""
    store.ChunkStore(warm)[0]  # starts the threads that any store has
    before, begin = _resident_bytes(os.getpid()), time.perf_counter()
    chunks = store.ChunkStore(folder)
    opened = time.perf_counter() - begin
    counts = [shard.num_chunks for shard in chunks.shards]
    firsts = list(itertools.accumulate(counts[:-1], initial=0))
    in_new_shards = sorted(_lookup_seconds(chunks, firsts))
    others = [store.ChunkStore(folder) for _ in range(_NUM_COPIES - 1)]
    for other in others:  # one store's index is too small to be measured
        other.get_many(firsts)
    memory = (_resident_bytes(os.getpid()) - before) / _NUM_COPIES
    draw = random.Random(0)
    drawn = [draw.randrange(len(chunks)) for _ in range(_NUM_LOOKUPS)]
    seconds = sorted(_lookup_seconds(chunks, drawn))
    begin, num_read = time.perf_counter(), min(len(chunks), 50_000)
    for _ in itertools.islice(chunks, num_read):
        pass
    found = {
        "chunks": len(chunks),
        "shards": len(counts),
        "disk_bytes_per_chunk": sum(s.num_bytes for s in chunks.shards) / len(chunks),
        "memory_bytes_per_chunk_all_shards_open": memory / len(chunks),
        "open_ms": 1e3 * opened,
        "first_lookup_in_a_shard_ms": 1e3 * in_new_shards[len(counts) // 2],
        "lookup_ms": 1e3 * statistics.median(seconds),
        "lookup_ms_p99": 1e3 * seconds[_NUM_LOOKUPS * 99 // 100],
        "read_in_order_chunks_per_second": num_read / (time.perf_counter() - begin),
    }
    print(json.dumps(found))


def _lookup_seconds(chunks: store.ChunkStore, ids: list[int]) -> Iterator[float]:
    for chunk_id in ids:
        begin = time.perf_counter()
        _ = chunks[chunk_id].text
        yield time.perf_counter() - begin


def _call(function, *args) -> tuple[str, float, int]:
    """Runs a function of this file as a process: its output, seconds, peak bytes."""
    program = f"import sys; from benchmarks import corpus; corpus.{function.__name__}"
    command = [sys.executable, "-c", f"{program}(*sys.argv[1:])", *map(str, args)]
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        with _sampling(process.pid) as samples:
            output, _ = process.communicate()
    seconds = time.perf_counter() - begin
    if process.returncode:
        raise RuntimeError(f"{function.__name__}{args} ended by {process.returncode}.")
    return output, seconds, max(samples)


@contextlib.contextmanager
def _sampling(pid: int) -> Iterator[list[int]]:
    samples, ended = [0], threading.Event()

    def sample() -> None:
        while not ended.wait(_SECONDS_BETWEEN_SAMPLES):
            samples.append(sum(map(_resident_bytes, _family(pid))))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    yield samples
    ended.set()
    thread.join()


def _family(pid: int) -> Iterator[int]:
    """A process and its descendants."""
    yield pid
    for file in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # it has ended
            for child in file.read_text().split():
                yield from _family(int(child))


def _resident_bytes(pid: int) -> int:
    """Its own memory: files that it maps, such as libraries, are not counted."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


def _write_passages(source: pathlib.Path, path: pathlib.Path, num: int) -> None:
    opened = gzip.open if source.suffix == ".gz" else open
    with opened(source, "rt", newline="") as file:
        header, *lines = file
    with path.open("w", newline="") as out:
        out.write(header)
        for number, line in enumerate(itertools.islice(itertools.cycle(lines), num)):
            out.write(f"{number}\t{line.partition(chr(9))[2]}")


def _hash(folder: pathlib.Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _texts_agree(ours: pathlib.Path, plain: pathlib.Path) -> bool:
    """Whether both have the same chunks, but for white space between words."""
    with (plain / "chunks.jsonl").open() as lines:
        return all(
            chunk.text.split() == json.loads(line)["text"].split()
            for chunk, line in itertools.zip_longest(store.ChunkStore(ours), lines)
        )


class _Bench:
    """The measurements, in a temporary folder."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder

    def passages(self, num: int) -> pathlib.Path:
        """A file of so many."""
        path = self._folder / f"{num}.tsv"
        if not path.exists():
            _write_passages(pathlib.Path(_PASSAGES.value), path, num)
        return path

    def chunked(self, num: int, num_workers: int) -> tuple[pathlib.Path, float, int]:
        """The store of so many passages; its seconds and peak bytes."""
        out = self._empty(f"{num}-{num_workers}")
        _, seconds, peak = _call(chunk, self.passages(num), out, num_workers)
        logging.info("%d passages, %d worker(s): %.1f s", num, num_workers, seconds)
        return out, seconds, peak

    def chunked_plainly(self, num: int) -> tuple[pathlib.Path, float, int]:
        """The same by the peer."""
        out = self._empty(f"{num}-plain")
        _, seconds, peak = _call(chunk_plainly, self.passages(num), out)
        return out, seconds, peak

    def _empty(self, name: str) -> pathlib.Path:
        out = self._folder / name
        for file in out.glob("*"):
            file.unlink()
        out.mkdir(exist_ok=True)
        return out

    def scaling(self, sizes: list[int]) -> list[dict]:
        """Speed and memory of each size, with one worker and with two."""
        found = []
        for num in sizes:
            hashes = set()
            for num_workers in (1, 2):
                out, seconds, peak = self.chunked(num, num_workers)
                hashes.add(_hash(out))
                num_chunks = len(store.ChunkStore(out))
                found.append(
                    {
                        "passages": num,
                        "workers": num_workers,
                        "chunks": num_chunks,
                        "seconds": seconds,
                        "chunks_per_second": num_chunks / seconds,
                        "peak_mib": peak / 2**20,
                    }
                )
            if len(hashes) > 1:
                raise RuntimeError(f"1 and 2 workers made other stores of {num}.")
        return found

    def against_peer(self, num: int, num_runs: int) -> dict:
        """Interleaved runs; the ratio is of chunks a second on one worker."""
        ours, peer = [], []
        for _ in range(num_runs):
            ours.append(self.chunked(num, 1))
            peer.append(self.chunked_plainly(num))
        num_chunks = len(store.ChunkStore(ours[0][0]))
        ratios = [b[1] / a[1] for a, b in zip(ours, peer, strict=True)]
        return {
            "ours": num_chunks / statistics.median(run[1] for run in ours),
            "peer": num_chunks / statistics.median(run[1] for run in peer),
            "unit": "chunks/s, one worker",
            "ratio": statistics.median(ratios),
            "ratio_range": [min(ratios), max(ratios)],
            "memory_ratio": max(run[2] for run in ours) / max(run[2] for run in peer),
            "agrees": "same words in every chunk"
            if _texts_agree(ours[0][0], peer[0][0])
            else False,
        }

    def stores(self, num: int, warm: int) -> dict[str, dict]:
        """What one look-up costs: as the store is, and with other group sizes."""
        source, small = self._folder / f"{num}-2", self._folder / f"{warm}-2"
        found = {"as written": json.loads(_call(look_up, small, source)[0])}
        for group_size in _GROUP_SIZES:
            out = self._empty(f"group-{group_size}")
            _call(regroup, source, out, group_size)
            found[f"group_size {group_size}"] = json.loads(
                _call(look_up, small, out)[0]
            )
        return found


def _extrapolated(fastest: dict, one: dict) -> dict:
    """The paper's corpus, from measurements of the largest one here."""
    per_worker = fastest["chunks_per_second"] / fastest["workers"]
    seconds = _PAPER_CHUNKS / per_worker / _WORKERS.value
    memory = _PAPER_CHUNKS * one["memory_bytes_per_chunk_all_shards_open"]
    return {
        "chunks": _PAPER_CHUNKS,
        "workers": _WORKERS.value,
        "hours": seconds / 3600,
        "worker_hours": seconds * _WORKERS.value / 3600,
        "disk_gb": _PAPER_CHUNKS * one["disk_bytes_per_chunk"] / 1e9,
        "store_memory_gb_all_shards_open": memory / 1e9,
        "how": f"{_PAPER_CHUNKS} chunks / ({per_worker:.0f} chunks/s a worker x "
        f"{_WORKERS.value} workers)",
    }


def measure(folder: pathlib.Path) -> dict:
    """All of it, as the JSON object that is printed."""
    sizes = [5_000, 50_000] if _QUICK.value else [100_000, 1_000_000]
    bench = _Bench(folder)
    compared = bench.against_peer(sizes[0], 3 if _QUICK.value else 7)
    scaling = bench.scaling(sizes)
    stores = bench.stores(sizes[1], sizes[0])
    own = stores["as written"]
    alone = [run["peak_mib"] for run in scaling if run["workers"] == 1]
    return {
        "name": "corpus",
        **compared,
        "goal": f"memory as flat as 1.2 from {sizes[0]} to {sizes[1]} passages; a "
        "look-up in under 1 ms; equal stores from 1 and 2 workers",
        "memory_growth": alone[1] / alone[0],
        "scaling": scaling,
        "stores": stores,
        "paper": _extrapolated(scaling[-1], own),
        "how": f"{_PASSAGES.value} repeated; {os.cpu_count()} cores; time includes "
        "starting Python and Beam",
    }


if __name__ == "__main__":
    command.run(measure, "passages")
