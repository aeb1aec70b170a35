"""How fast packed rows are read, against what the quickstart LM's train step consumes.

python -m benchmarks.input_pipeline [--quick] [--json=FILE] [--consumption=TOKENS_PER_S]

Rows of random tokens, as long as the quickstart's, are written once. Then a train step
and a read of many batches take turns, so that both feel the same machine. The step is
the quickstart's LM's on its batch (its models are looked for in RADIT_CACHE); where
they are not there, `--consumption` states a number to compare with. Tokens are those of
whole rows on both sides. Beside it stands the pipeline's rate at the paper's row length
and batch.
"""

import itertools
import os
import pathlib
import resource
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np
from absl import flags
from flax import nnx

from benchmarks import command
from configs import quickstart
from radit_jax.instruct import packing
from radit_jax.instruct.batches import RowBatches
from radit_jax.instruct.packing import Example
from radit_jax.instruct.rows import RowStore, write_rows
from radit_jax.models import pretrained
from radit_jax.training import lm_loss, mesh, optimizer, state, train_step

_QUICK = flags.DEFINE_bool("quick", False, "Batches of one row, and fewer runs.")
_CONSUMPTION = flags.DEFINE_float(
    "consumption", None, "Tokens a second to compare with, instead of a train step."
)

_GOAL = 20  # times what the train step consumes
_PAPER_ROW_TOKENS, _PAPER_BATCH_ROWS = 2048, 64
_BATCHES = 200  # a run: many more than are read ahead


def random_examples(num: int, longest: int, seed: int = 0):
    """Examples of 40 … `longest` tokens, an eighth of them targets."""
    rng = np.random.default_rng(seed)
    for i in range(num):
        length = int(rng.integers(40, longest + 1))
        yield Example(
            str(i), rng.integers(3, 32_000, length), length - max(1, length // 8)
        )


def make_store(path: pathlib.Path, row_tokens: int, num_examples: int) -> RowStore:
    """Writes and opens rows of examples that are at most 320 tokens long."""
    packed = packing.pack(random_examples(num_examples, 320), row_tokens)
    return RowStore(path, write_rows(path, packed, row_tokens))


def check_equal(store: RowStore, batch_rows: int) -> int:
    """Checks that two simulated hosts' batches are one host's; returns how many.

    Raises:
      RuntimeError: they differ.
    """
    halves = np.array_split(np.arange(batch_rows), min(2, batch_rows))
    whole = RowBatches(store, batch_rows, seed=1)
    parts = [RowBatches(store, batch_rows, 1, places) for places in halves]
    for batch in itertools.islice(whole, 20):
        local = [next(part) for part in parts]
        for name, array in batch.items():
            joined = np.concatenate([one[name] for one in local])
            if not np.array_equal(array, joined):
                raise RuntimeError(f"1 and 2 hosts read other {name!r}.")
    for one in (whole, *parts):
        one.close()
    return 20


def reading_rate(batches: RowBatches, row_tokens: int) -> float:
    """Tokens a second over the next batches."""
    begin = time.perf_counter()
    for _ in range(_BATCHES):
        next(batches)
    seconds = time.perf_counter() - begin
    return _BATCHES * batches.num_rows * row_tokens / seconds


def step_rate(store: RowStore, batch_rows: int) -> tuple[Callable[[], float], float]:
    """What measures the tokens a second of one train step; seconds to compile it."""
    config = quickstart.get_config()
    devices = mesh.make_mesh()
    decoder, _ = pretrained.load_lm(config.lm.path, config.lm.compute_dtype)
    graphdef, params = nnx.split(decoder)
    adam = optimizer.make_optimizer(
        peak=1e-4, end=0.0, warmup=1, num_steps=99, weight_decay=0.1, clip_norm=1.0
    )
    loss_fn = lm_loss.NextTokenLoss(graphdef)
    step = train_step.make_train_step(loss_fn, adam, mesh=devices)
    held = [state.init_state(params, adam.transformation, devices)]
    batch = next(RowBatches(store, batch_rows, seed=0))
    batch = mesh.put_batch(batch, devices, batch_rows)

    def seconds() -> float:
        begin = time.perf_counter()
        held[0], metrics = step(held[0], batch)
        jax.block_until_ready((held[0], metrics))
        return time.perf_counter() - begin

    compiling = seconds()
    num_tokens = batch["tokens"].size
    return lambda: num_tokens / seconds(), compiling


def measure(folder: pathlib.Path) -> dict:
    """The result, as the JSON line has it."""
    config = quickstart.get_config()
    row_tokens = config.examples.row_tokens
    batch_rows = 1 if _QUICK.value else config.lm_training.batch_rows
    store = make_store(folder / "rows", row_tokens, 5_000 if _QUICK.value else 20_000)
    num_equal = check_equal(store, batch_rows)
    consume, compile_seconds = (lambda: _CONSUMPTION.value), 0.0
    if _CONSUMPTION.value is None:
        consume, compile_seconds = step_rate(store, batch_rows)
    batches = RowBatches(store, batch_rows, seed=0)
    ours, peer = [], []
    for _ in range(7):
        ours.append(reading_rate(batches, row_tokens))
        peer.append(consume())
    batches.close()
    ratios = [a / b for a, b in zip(ours, peer, strict=True)]
    return {
        "name": "input_pipeline",
        "ours": statistics.median(ours),
        "peer": statistics.median(peer),
        "unit": "tokens/s of whole rows",
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "memory_ratio": None,  # the peer is a rate, not another way to read
        "agrees": f"{num_equal} batches of 1 host equal those of 2 hosts",
        "goal": f"ratio of {_GOAL} or more",
        "reached": min(ratios) >= _GOAL,
        "compile_seconds": compile_seconds,
        "paper_shape": paper_shape(folder),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "how": f"rows of {row_tokens} tokens, batches of {batch_rows}, {len(store)} "
        f"rows; peer: {_peer()}; {os.cpu_count()} cores",
    }


def paper_shape(folder: pathlib.Path) -> dict:
    """The pipeline alone at the paper's row length and batch."""
    num_examples = 10_000 if _QUICK.value else 40_000
    store = make_store(folder / "paper", _PAPER_ROW_TOKENS, num_examples)
    batches = RowBatches(store, _PAPER_BATCH_ROWS, seed=0)
    rates = [reading_rate(batches, _PAPER_ROW_TOKENS) for _ in range(3)]
    batches.close()
    return {
        "tokens_per_second": statistics.median(rates),
        "row_tokens": _PAPER_ROW_TOKENS,
        "batch_rows": _PAPER_BATCH_ROWS,
    }


def _peer() -> str:
    if _CONSUMPTION.value is not None:
        return "a stated number"
    return "one update of SmolLM2-135M by the quickstart's recipe"


if __name__ == "__main__":
    command.run(measure)
