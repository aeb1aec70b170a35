"""How many questions a second the server answers, in batches and one at a time.

python -m benchmarks.serving --workdir=runs/quickstart [--quick] [--json=FILE]

Two hundred clients ask a server at once, each a dev question of the run, over HTTP on
this machine; every reply is looked at. The server is `launch.serve` in a process of its
own: once with `--max_batch=8`, and, as what one would have without batches, with
`--max_batch=1`, which is asked an eighth of the questions. A first round of some of
them, apart, compiles. Latency is from a client's request to its whole reply, the queue
included: as all come at once, the median client has waited for half of the others.
"""

import asyncio
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

import httpx2
import numpy as np
from absl import flags, logging

from benchmarks import command

_WORKDIR = flags.DEFINE_string("workdir", None, "Of a finished run.")
_CLIENTS = flags.DEFINE_integer("clients", 200, "Requests at once.", 1)
_MAX_BATCH = flags.DEFINE_integer("max_batch", 8, "Ours: launch.serve's flag.", 1)
_QUICK = flags.DEFINE_bool("quick", False, "24 requests.")
_ALONE_SHARE = 8  # so many times fewer questions, one at a time
_FIRST_SHARE = 8  # likewise, in the round that compiles
_START_SECONDS = 300


class Served:
    """`launch.serve` in a process of its own."""

    def __init__(self, max_batch: int):
        """Starts it; returns once it is warm."""
        flags_of_it = (f"--workdir={_WORKDIR.value}", "--port=0", "--max_waiting=1000")
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "launch.serve", *flags_of_it),
                f"--max_batch={max_batch}",
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        self.url = self._read_url()

    def _read_url(self) -> str:
        said = []
        for line in self._process.stderr:
            said.append(line)
            if found := re.search(r" at (http\S+)", line):
                return found[1]
        raise RuntimeError(f"launch.serve ended: {''.join(said)}")

    def peak_bytes(self) -> int:
        """The largest resident set so far."""
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024

    def cpu_seconds(self) -> float:
        """Of all its threads so far: what counts where others share the machine."""
        stat = pathlib.Path(f"/proc/{self._process.pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """Stops it."""
        self._process.terminate()
        self._process.stderr.read()
        self._process.wait()


async def ask_all(url: str, questions: list[str]) -> dict:
    """All questions at once; seconds of each, and what was answered."""
    limits = httpx2.Limits(max_connections=len(questions))
    async with httpx2.AsyncClient(
        base_url=url, timeout=3600, limits=limits, trust_env=False
    ) as client:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            try:
                await client.get("/healthz")
                break
            except httpx2.ConnectError:
                await asyncio.sleep(0.1)

        async def ask(question: str) -> tuple[float, dict]:
            begin = time.perf_counter()
            response = await client.post("/ask", json={"question": question})
            response.raise_for_status()
            return time.perf_counter() - begin, response.json()

        begin = time.perf_counter()
        found = await asyncio.gather(*map(ask, questions))
        spent = time.perf_counter() - begin
    for question, (_, reply) in zip(questions, found, strict=True):
        assert reply["question"] == question, reply
    seconds = [one for one, _ in found]
    return {
        "questions": len(questions),
        "seconds": spent,
        "questions_per_second": len(questions) / spent,
        "p50_seconds": float(np.percentile(seconds, 50)),
        "p95_seconds": float(np.percentile(seconds, 95)),
        "answers": [reply["answer"] for _, reply in found],
    }


def run(max_batch: int, questions: list[str]) -> dict:
    """A first round that compiles, and the one that counts."""
    served = Served(max_batch)
    try:
        some = questions[::_FIRST_SHARE]
        first = asyncio.run(ask_all(served.url, some))
        begin = served.cpu_seconds()
        found = asyncio.run(ask_all(served.url, questions))
        spent = served.cpu_seconds() - begin
        metrics = httpx2.get(f"{served.url}metrics", trust_env=False).text
        peak = served.peak_bytes()
    finally:
        served.end()
    batches = float(re.search(r"radit_batch_questions_count (\S+)", metrics)[1])
    found |= {
        "cpu_seconds_a_question": spent / len(questions),
        "first_round_seconds": first["seconds"],
        "questions_a_batch": (len(some) + len(questions)) / batches,
        "peak_mib": peak / 2**20,
    }
    logging.info("max_batch %d: %s", max_batch, found)
    return found


def measure(folder: pathlib.Path) -> dict:
    """Both servers, one after the other, as the JSON object that is printed."""
    del folder
    questions = _questions(24 if _QUICK.value else _CLIENTS.value)
    ours = run(_MAX_BATCH.value, questions)
    alone = run(1, questions[: len(questions) // _ALONE_SHARE])
    own, other = (one.pop("answers") for one in (ours, alone))
    same = sum(a == b for a, b in zip(own, other, strict=False))
    return {
        "name": "serving",
        "ours": ours["questions_per_second"],
        "peer": alone["questions_per_second"],
        "unit": "questions/s",
        "ratio": ours["questions_per_second"] / alone["questions_per_second"],
        "cpu_ratio": alone["cpu_seconds_a_question"] / ours["cpu_seconds_a_question"],
        "memory_ratio": ours["peak_mib"] / alone["peak_mib"],
        "agrees": f"{same} of {len(other)} answers are the same text; all "
        f"{len(questions)} requests were answered",
        "goal": "ratio > 1",
        "batched": ours,
        "one_at_a_time": alone,
        "mean_question_characters": statistics.fmean(map(len, questions)),
        "how": f"{_WORKDIR.value}; {len(questions)} clients at once over HTTP, "
        f"max_batch {_MAX_BATCH.value}; peer: the same server with max_batch 1",
    }


def _questions(num: int) -> list[str]:
    """Dev questions of the run, and the same again where it has fewer."""
    config = json.loads((pathlib.Path(_WORKDIR.value) / "config.json").read_text())
    lines = pathlib.Path(config["instructions"]["dev"]).read_text().splitlines()
    asked = [json.loads(line)["question"] for line in lines]
    return [asked[i % len(asked)] for i in range(num)]


if __name__ == "__main__":
    command.run(measure, "workdir")
