"""How fast the query tower is tuned, against the same step in PyTorch.

python -m benchmarks.lsr_step --model=all-MiniLM-L6-v2 --questions=train.jsonl.gz \
  --passage_embeddings=p.npy --query_embeddings=q.npy [--quick] [--json=FILE]

A step is a batch of 32 real questions with their ten best passages: token ids padded,
the passages' rows gathered from a memory-mapped float32 matrix, the query tower's
forward and backward pass, KL(p_R ‖ p_LSR), a clip of the gradient's norm, AdamW. LM
scores are drawn: their values cost nothing. The peer is transformers' BertModel without
pooler and dropout, SDPA, fused AdamW, padded to the batch's longest question; ours is
what stage `finetune_retriever` runs. Both begin from the same weights and see the same
batches; the losses of the first three steps must agree.

Each mode is a process of its own with two threads on the same two cores; they take
turns of a few steps. The first pass over all batches, which compiles, is apart. Memory
is the peak resident set, weights and libraries included.
"""

import json
import pathlib
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import flags, logging

from benchmarks import command, texts, turns

_MODEL = flags.DEFINE_string("model", None, "A sentence-transformers directory.")
_QUESTIONS = flags.DEFINE_string("questions", None, "JSON lines: question; or .gz.")
_PASSAGE_EMBEDDINGS = flags.DEFINE_string(
    "passage_embeddings", None, ".npy, float32, one row a passage."
)
_QUERY_EMBEDDINGS = flags.DEFINE_string(
    "query_embeddings", None, ".npy, rows as the questions' lines."
)
_QUICK = flags.DEFINE_bool("quick", False, "Fewer steps and runs, float32 alone.")

_BATCH, _NUM_CHUNKS, _MAX_TOKENS = 32, 10, 64
_PEAK, _WARMUP, _NUM_STEPS = 1e-5, 10, 1000  # of the schedule
_LM_TEMPERATURE, _TEMPERATURE, _DECAY, _CLIP = 0.01, 0.05, 0.1, 1.0
_CHECKED = 3  # steps whose losses must agree
_GOAL = 1.3

Step = Callable[[int], Any]  # number of a batch → its loss, maybe still to come


def load_ours(folder: str, dtype: str) -> Step:
    """The step of stage `finetune_retriever`."""
    from flax import nnx

    from radit_jax.config import RetrieverTrainingConfig
    from radit_jax.models import pretrained
    from radit_jax.retrieval.embeddings import Embeddings
    from radit_jax.retrieval.lm_scores import LMScores
    from radit_jax.retrieval.lsr_batches import Batches, Frozen
    from radit_jax.retrieval.lsr_objective import Objective
    from radit_jax.retrieval.supervision import Supervised
    from radit_jax.training import mesh, optimizer, state, train_step

    work = _read_work(folder)
    settings = RetrieverTrainingConfig(
        batch_size=_BATCH, lm_temperature=_LM_TEMPERATURE
    ).resolved(_TEMPERATURE)
    tower = pretrained.load_tower(
        work["model"], max_tokens=_MAX_TOKENS, compute_dtype=dtype
    )
    devices = mesh.make_mesh()
    shape = work["chunk_ids"].shape
    scores = LMScores(
        work["lm_scores"],
        np.ones(shape, np.int32),
        np.zeros(shape, np.int64),
        np.empty(0, np.float32),
    )
    part = Supervised(work["queries"], {}, work["chunk_ids"], scores, {})
    batches = Batches([part], settings, tower, Frozen(Embeddings(folder, 1)), devices)
    tuned = optimizer.make_optimizer(
        peak=_PEAK,
        end=0.0,
        warmup=_WARMUP,
        num_steps=_NUM_STEPS,
        weight_decay=_DECAY,
        clip_norm=_CLIP,
    )
    graph, params = nnx.split(tower.encoder)
    step = train_step.make_train_step(
        Objective(settings, tower, graph), tuned, mesh=devices
    )
    states = [state.init_state({"query": params}, tuned.transformation, devices)]

    def run(number: int) -> Any:
        batches.set_state({"step": number})
        batch = mesh.put_batch(next(batches), devices, batches.num_rows)
        after, metrics = step(states.pop(), batch)
        states.append(after)
        return metrics["loss"]

    return run


def load_peer(folder: str, dtype: str) -> Step:
    """The same in PyTorch; "bfloat16" is autocast."""
    import torch
    import transformers

    torch.set_num_threads(turns.NUM_THREADS)
    work = _read_work(folder)
    model = transformers.BertModel.from_pretrained(
        work["model"],
        add_pooling_layer=False,
        attn_implementation="sdpa",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    ).train()
    matrix = np.load(f"{folder}/passages.npy", mmap_mode="r")
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    is_matrix = {n: p.ndim == 2 and "embeddings" not in n for n, p in named}
    groups = [
        {"params": [p for n, p in named if is_matrix[n] == decays], "weight_decay": w}
        for decays, w in ((True, _DECAY), (False, 0.0))
    ]
    adam = torch.optim.AdamW(groups, lr=_PEAK, betas=(0.9, 0.95), fused=True)
    num_done = [0]

    def embed(rows: np.ndarray) -> torch.Tensor:
        some = [work["ids"][row] for row in rows]
        longest = max(map(len, some))
        ids = torch.zeros(len(some), longest, dtype=torch.long)
        mask = torch.zeros(len(some), longest, dtype=torch.long)
        for i, one in enumerate(some):
            ids[i, : len(one)], mask[i, : len(one)] = torch.tensor(one), 1
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        hidden, weights = hidden.float(), mask[:, :, None].float()
        mean = (hidden * weights).sum(1) / weights.sum(1)
        return torch.nn.functional.normalize(mean, dim=1)

    def run(number: int) -> Any:
        rows = work["rows"][number]
        passages = torch.from_numpy(matrix[work["chunk_ids"][rows]])
        lm_scores = torch.from_numpy(work["lm_scores"][rows])
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            query = embed(rows)
        scores = torch.einsum("be,bke->bk", query, passages) / _TEMPERATURE
        log_p_r = scores.log_softmax(1)
        log_p_lsr = (lm_scores / _LM_TEMPERATURE).log_softmax(1)
        loss = (log_p_r.exp() * (log_p_r - log_p_lsr)).sum(1).mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
        for group in adam.param_groups:
            group["lr"] = _learning_rate(num_done[0])
        adam.step()
        num_done[0] += 1
        return loss.detach()

    return run


def _learning_rate(step: int) -> float:
    """As `training.optimizer.warmup_cosine`."""
    if step < _WARMUP:
        return _PEAK * (step + 1) / _WARMUP
    share = (step - _WARMUP + 1) / (_NUM_STEPS - _WARMUP)
    return _PEAK * 0.5 * (1 + np.cos(np.pi * share))


_LOADERS = {"ours": load_ours, "peer": load_peer}


def serve(folder: str, side: str, dtype: str) -> None:
    """A mode's process; see `turns.serve`."""
    step = _LOADERS[side](folder, dtype)

    def work(first: int, num: int) -> None:
        losses = [step(number) for number in range(first, first + num)]
        found = {"losses": [float(loss) for loss in losses]}
        path = pathlib.Path(folder, f"{side}-{dtype}.json")
        path.write_text(json.dumps(found))

    turns.serve(work)


def _read_work(folder: str) -> dict[str, Any]:
    work = json.loads(pathlib.Path(folder, "work.json").read_text())
    arrays = np.load(f"{folder}/work.npz")
    return work | {name: arrays[name] for name in arrays}


def prepare(folder: pathlib.Path, num_batches: int) -> None:
    """Writes the batches: token ids, chunks and drawn LM scores."""
    from radit_jax.config import RetrieverTrainingConfig
    from radit_jax.instruct.batches import MixedBatches
    from radit_jax.models import pretrained
    from radit_jax.retrieval import embeddings

    queries = [one["question"] for one in texts.records(_QUESTIONS.value)]
    settings = RetrieverTrainingConfig(batch_size=_BATCH)
    mixed = MixedBatches([len(queries)], (1.0,), _BATCH, settings.seed)
    rows = np.stack([next(mixed) for _ in range(num_batches)])
    matrix = np.load(_PASSAGE_EMBEDDINGS.value)
    np.save(folder / "passages.npy", matrix)
    embeddings.write_shard(folder / embeddings.shard_names(1)[0], matrix)
    chunk_ids = np.zeros((len(queries), _NUM_CHUNKS), np.int32)
    asked = np.load(_QUERY_EMBEDDINGS.value)
    for some in rows:
        scores = asked[some] @ matrix.T
        chunk_ids[some] = np.argsort(-scores, axis=1)[:, :_NUM_CHUNKS]
    draw = np.random.default_rng(0)
    lm_scores = draw.normal(-2.0, 0.02, chunk_ids.shape).astype(np.float32)
    np.savez(folder / "work.npz", rows=rows, chunk_ids=chunk_ids, lm_scores=lm_scores)
    tower = pretrained.load_tower(_MODEL.value, max_tokens=_MAX_TOKENS)
    used = set(rows.reshape(-1).tolist())
    kept = [query if i in used else "" for i, query in enumerate(queries)]
    ids, mask = tower.tokenize(kept)
    tokens = [row[m].tolist() for row, m in zip(ids, mask, strict=True)]
    work = {"model": _MODEL.value, "queries": kept, "ids": tokens}
    (folder / "work.json").write_text(json.dumps(work))


class Mode:
    """One side in one precision, with its process."""

    def __init__(self, folder: pathlib.Path, side: str, dtype: str):
        """Starts the process, which loads the model."""
        self.name = f"{side} {dtype}"
        self._path = folder / f"{side}-{dtype}.json"
        self._child = turns.Child(
            "benchmarks.lsr_step", "serve", str(folder), side, dtype
        )

    def run(self, first: int, num: int) -> dict[str, Any]:
        """Does some steps: seconds, seconds of processor, losses, peak bytes."""
        found = self._child.run(first=first, num=num)
        return found | json.loads(self._path.read_text())

    def end(self) -> None:
        """Ends the process."""
        self._child.end()


def _compare(runs: dict[str, list[dict]], modes: list[str], num_queries: int) -> dict:
    """The fastest of ours against the fastest of the peer's, among some modes."""
    rates = {n: [num_queries / run["seconds"] for run in runs[n]] for n in modes}
    best = {}
    for side in ("ours", "peer"):
        own = [name for name in modes if name.startswith(side)]
        best[side] = max(own, key=lambda name: statistics.median(rates[name]))
    ours, peer = best["ours"], best["peer"]
    ratios = [a / b for a, b in zip(rates[ours], rates[peer], strict=True)]
    cpu = {
        name: statistics.median(run["cpu_seconds"] for run in runs[name])
        for name in (ours, peer)
    }
    peaks = {name: max(run["peak_bytes"] for run in runs[name]) for name in cpu}
    return {
        "ours": statistics.median(rates[ours]),
        "ours_mode": ours,
        "peer": statistics.median(rates[peer]),
        "peer_mode": peer,
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "cpu_ratio": cpu[peer] / cpu[ours],
        "memory_ratio": peaks[ours] / peaks[peer],
        "peak_mib": {name: peak / 2**20 for name, peak in peaks.items()},
    }


def measure(folder: pathlib.Path) -> dict[str, Any]:
    """All of it, as the JSON object that is printed."""
    steps, repeats = (4, 3) if _QUICK.value else (8, 9)
    num_batches = 8 if _QUICK.value else 24
    prepare(folder, num_batches)
    dtypes = ("float32",) if _QUICK.value else ("float32", "bfloat16")
    modes = [Mode(folder, side, dtype) for dtype in dtypes for side in _LOADERS]
    first = {mode.name: mode.run(0, num_batches) for mode in modes}
    for name, run in first.items():
        logging.info("%s: first losses %s", name, run["losses"][:_CHECKED])
    runs: dict[str, list[dict]] = {mode.name: [] for mode in modes}
    for turn in range(repeats):
        for mode in modes:
            runs[mode.name].append(mode.run(turn * steps % num_batches, steps))
    for mode in modes:
        mode.end()
    losses = [
        np.array(first[f"{side} float32"]["losses"][:_CHECKED]) for side in _LOADERS
    ]
    largest = float(np.abs(losses[0] / losses[1] - 1).max())
    num_queries = steps * _BATCH
    exact = [name for name in runs if name.endswith("float32")]
    return {
        "name": "lsr_step",
        "unit": "queries/s, float32",
        **_compare(runs, exact, num_queries),
        "fastest": _compare(runs, [*runs], num_queries),
        "agrees": f"losses of the first {_CHECKED} steps within {largest:.1e} of theirs"
        if largest < 1e-4
        else False,
        "goal": f"ratio >= {_GOAL}",
        "modes": {
            name: {
                "queries_per_second": [num_queries / run["seconds"] for run in some],
                "first_pass_seconds": first[name]["seconds"],
                "first_losses": first[name]["losses"][:_CHECKED],
            }
            for name, some in runs.items()
        },
        "how": f"{_MODEL.value}; {_BATCH} questions, {_NUM_CHUNKS} chunks each; turns "
        f"of {steps} steps, {repeats} of each mode; {turns.NUM_THREADS} threads; "
        "cpu_ratio: of processor time, less sensitive to other work on the machine",
    }


if __name__ == "__main__":
    command.run(measure, "model", "questions", "passage_embeddings", "query_embeddings")
