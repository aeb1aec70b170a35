"""How fast the LM is tuned on retrieval-augmented examples, against transformers.

python -m benchmarks.lm_training --model=SmolLM2.gguf --examples=RUN/examples/ra_it \
  [--quick] [--curve] [--json=FILE]

`--examples` is what stage `build_examples` wrote, e.g. in a workdir of
configs/quickstart.py. A step is a batch of packed rows: forward and backward pass, the
loss of the answers' tokens alone, a clip of the gradient's norm, AdamW. Ours is what
stage `finetune_lm` runs. The peer gets the same examples in every step, unpacked, and
sorted by length: micro-batches padded to their longest, logits of the answers'
positions alone (`logits_to_keep`), SDPA, fused AdamW; bfloat16 is autocast. Its
micro-batches have the size that was fastest here, of 2, 4 and 8 in float32, of 4 and 8
in bfloat16. Both begin from the same weights and see the same batches; the losses of
the first steps must agree.

Each side is a process of its own with two threads on the same two cores; they take
turns of one step. The first steps, which compile, are apart. Useful tokens are those of
the examples; padding does not count. Memory is the peak resident set, weights,
optimizer and libraries included.
"""

import json
import pathlib
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import flags, logging

from benchmarks import command, turns

_MODEL = flags.DEFINE_string("model", None, "A .gguf file or a Hugging Face folder.")
_EXAMPLES = flags.DEFINE_string("examples", None, "What `build_examples` wrote.")
_QUICK = flags.DEFINE_bool("quick", False, "Short rows, fewer runs, float32 alone.")
_CURVE = flags.DEFINE_bool("curve", False, "Only compare loss curves of precisions.")

_ROWS, _ROW_TOKENS = 1, 2048  # of a step; the paper's rows
_SHORT_ROW_TOKENS = 512  # or as many as the longest example needs
_PEAK, _WARMUP, _NUM_STEPS = 1e-5, 10, 1000  # of the schedule
_DECAY, _CLIP = 0.1, 1.0
_CHECKED = 5  # steps whose losses must agree
_PEER_SIZES = {"float32": 4, "bfloat16": 8}  # see above
_REMAT = "none"
_CURVE_STEPS = 100  # of both precisions, see --curve
_CURVE_WIDTH = 10  # steps whose mean is a point of the curve
_GOALS = {"ratio": 1.5, "memory_ratio": 0.6, "bfloat16_speedup": 1.4}

Step = Callable[[int], Any]  # number of a batch → its loss, maybe still to come


def load_ours(folder: str, dtype: str, setting: str) -> Step:
    """The step of stage `finetune_lm`."""
    from flax import nnx

    from radit_jax.models import pretrained
    from radit_jax.training import lm_loss, mesh, optimizer, state, train_step

    devices = mesh.make_mesh()
    decoder, _ = pretrained.load_lm(f"{folder}/model", dtype)
    graph, params = nnx.split(decoder)
    tuned = optimizer.make_optimizer(
        peak=_PEAK,
        end=0.0,
        warmup=_WARMUP,
        num_steps=_NUM_STEPS,
        weight_decay=_DECAY,
        clip_norm=_CLIP,
    )
    loss = lm_loss.NextTokenLoss(graph, setting)
    step = train_step.make_train_step(loss, tuned, mesh=devices)
    states = [state.init_state(params, tuned.transformation, devices)]
    del decoder, params

    def run(number: int) -> Any:
        batch = dict(np.load(f"{folder}/batch-{number}.npz"))
        after, metrics = step(states.pop(), mesh.put_batch(batch, devices))
        states.append(after)
        return metrics["loss"]

    return run


def load_peer(folder: str, dtype: str, setting: str) -> Step:
    """The same in PyTorch; `setting` is the examples of a micro-batch."""
    import torch
    import transformers

    torch.set_num_threads(turns.NUM_THREADS)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        f"{folder}/model", dtype=torch.float32, attn_implementation="sdpa"
    ).train()
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    is_matrix = {n: p.ndim == 2 and "embed" not in n for n, p in named}
    groups = [
        {"params": [p for n, p in named if is_matrix[n] == decays], "weight_decay": w}
        for decays, w in ((True, _DECAY), (False, 0.0))
    ]
    adam = torch.optim.AdamW(groups, lr=_PEAK, betas=(0.9, 0.95), fused=True)
    num_done = [0]

    def loss_sum(examples: list[tuple[list[int], int]]) -> torch.Tensor:
        """Of a micro-batch, padded to the left: targets are the last positions."""
        longest = max(len(tokens) for tokens, _ in examples) - 1
        num_kept = max(len(tokens) - prompt for tokens, prompt in examples)
        tokens = torch.zeros(len(examples), longest, dtype=torch.long)
        mask = torch.zeros(len(examples), longest, dtype=torch.long)
        targets = torch.full((len(examples), num_kept), -100)
        for i, (ids, prompt) in enumerate(examples):
            tokens[i, 1 - len(ids) :] = torch.tensor(ids[:-1])
            mask[i, 1 - len(ids) :] = 1
            targets[i, prompt - len(ids) :] = torch.tensor(ids[prompt:])
        is_padded = not bool(mask.all())
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = model(
                input_ids=tokens,
                attention_mask=mask if is_padded else None,
                position_ids=(mask.cumsum(1) - 1).clamp(min=0),
                logits_to_keep=num_kept,
                use_cache=False,
            ).logits
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), targets.flatten(), reduction="sum"
        )

    def run(number: int, size: int = int(setting)) -> Any:
        examples = json.loads(pathlib.Path(f"{folder}/batch-{number}.json").read_text())
        examples.sort(key=lambda example: len(example[0]))
        num_targets = sum(len(tokens) - prompt for tokens, prompt in examples)
        adam.zero_grad(set_to_none=True)
        total = 0.0
        for start in range(0, len(examples), size):
            loss = loss_sum(examples[start : start + size]) / num_targets
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP, foreach=True)
        for group in adam.param_groups:
            group["lr"] = _learning_rate(num_done[0])
        adam.step()
        num_done[0] += 1
        return total

    return run


def _learning_rate(step: int) -> float:
    """As `training.optimizer.warmup_cosine`."""
    if step < _WARMUP:
        return _PEAK * (step + 1) / _WARMUP
    share = (step - _WARMUP + 1) / (_NUM_STEPS - _WARMUP)
    return _PEAK * 0.5 * (1 + np.cos(np.pi * share))


_LOADERS = {"ours": load_ours, "peer": load_peer}


def serve(folder: str, side: str, dtype: str, setting: str) -> None:
    """A mode's process; see `turns.serve`."""
    step = _LOADERS[side](folder, dtype, setting)

    def work(first: int, num: int) -> None:
        losses = [step(number) for number in range(first, first + num)]
        found = {"losses": [float(loss) for loss in losses]}
        path = pathlib.Path(folder, f"{side}-{dtype}-{setting}.json")
        path.write_text(json.dumps(found))

    turns.serve(work)


def prepare(
    folder: pathlib.Path, num_batches: int, num_rows: int, row_tokens: int
) -> dict[str, Any]:
    """Writes the model and the batches, packed and unpacked; returns what they are."""
    from radit_jax.instruct import packing
    from radit_jax.models import huggingface, pretrained

    decoder, tokenizer = pretrained.load_lm(_MODEL.value)
    huggingface.save_decoder(decoder, folder / "model", tokenizer)
    examples = list(_examples())
    longest = max(len(example.tokens) for example in examples)
    row_tokens = max(row_tokens, -(-longest // 128) * 128)
    packed = list(packing.pack(examples, row_tokens))
    order = np.random.default_rng(0).permutation(len(packed)).tolist()
    order *= -(-num_batches * num_rows // len(order))
    slots = max(packing.target_slots(row.num_targets) for row in packed)
    num_tokens, num_targets = [], []
    for number in range(num_batches):
        some = [packed[i] for i in order[number * num_rows :][:num_rows]]
        arrays = [row.arrays(row_tokens, slots) for row in some]
        batch = {name: np.stack([one[name] for one in arrays]) for name in arrays[0]}
        np.savez(folder / f"batch-{number}.npz", **batch)
        texts = [text for row in some for text in _unpack(row)]
        (folder / f"batch-{number}.json").write_text(json.dumps(texts))
        num_tokens.append(sum(len(row.tokens) for row in some))
        num_targets.append(sum(row.num_targets for row in some))
    return {
        "rows": num_rows,
        "row_tokens": row_tokens,
        "useful_tokens": num_tokens,
        "useful_share": float(np.mean(num_tokens)) / (num_rows * row_tokens),
        "target_tokens": num_targets,
    }


def _examples():
    """The stored examples, to be packed anew."""
    from radit_jax import artifacts
    from radit_jax.instruct.packing import Example
    from radit_jax.instruct.rows import RowCounts, RowStore

    examples = artifacts.load(_EXAMPLES.value, "build_examples")
    counts = RowCounts.from_record(examples.counts["train"])
    store = RowStore(examples.path / "train.array_record", counts)
    for i in range(len(store)):
        for j, (tokens, num_prompt) in enumerate(_unpack(store.row(i))):
            yield Example(f"{i}/{j}", tokens, num_prompt)


def _unpack(row) -> list[tuple[list[int], int]]:
    parts = np.split(row.tokens, np.cumsum(row.num_tokens)[:-1])
    return [
        (part.tolist(), int(num_prompt))
        for part, num_prompt in zip(parts, row.num_prompt_tokens, strict=True)
    ]


class Mode:
    """One side in one precision, with its process."""

    def __init__(self, folder: pathlib.Path, side: str, dtype: str):
        """Starts the process, which loads the model."""
        setting = _REMAT if side == "ours" else str(_PEER_SIZES[dtype])
        self.name = f"{side} {dtype}"
        self._path = folder / f"{side}-{dtype}-{setting}.json"
        self._child = turns.Child(
            "benchmarks.lm_training", "serve", str(folder), side, dtype, setting
        )

    def run(self, first: int, num: int) -> dict[str, Any]:
        """Does some steps: seconds, seconds of processor, losses, peak bytes."""
        found = self._child.run(first=first, num=num)
        found |= json.loads(self._path.read_text())
        logging.info("%s, step %d: %s", self.name, first, found)
        return found

    def end(self) -> None:
        """Ends the process."""
        self._child.end()


def _compare(runs: dict[str, list[dict]], tokens: list[int], dtype: str) -> dict:
    """Ours against the peer's in one precision; first runs, which compile, apart."""
    names = {side: f"{side} {dtype}" for side in _LOADERS}
    rates = {
        side: [t / run["seconds"] for t, run in zip(tokens, runs[name], strict=True)]
        for side, name in names.items()
    }
    ratios = [a / b for a, b in zip(rates["ours"], rates["peer"], strict=True)][1:]
    cpu = {
        side: statistics.median(run["cpu_seconds"] for run in runs[name][1:])
        for side, name in names.items()
    }
    peaks = {
        side: max(run["peak_bytes"] for run in runs[name])
        for side, name in names.items()
    }
    losses = {
        side: np.array([run["losses"][0] for run in runs[name][:_CHECKED]])
        for side, name in names.items()
    }
    return {
        **{side: statistics.median(some[1:]) for side, some in rates.items()},
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "cpu_ratio": cpu["peer"] / cpu["ours"],
        "memory_ratio": peaks["ours"] / peaks["peer"],
        "peak_mib": {side: peak / 2**20 for side, peak in peaks.items()},
        "first_losses": {side: some.tolist() for side, some in losses.items()},
        "largest_difference": float(np.abs(losses["ours"] / losses["peer"] - 1).max()),
        "first_run_more_seconds": {
            side: runs[name][0]["seconds"]
            - statistics.median(run["seconds"] for run in runs[name][1:])
            for side, name in names.items()
        },
    }


def compare_speed(folder: pathlib.Path) -> dict[str, Any]:
    """Interleaved steps of both sides, one precision after the other, as is printed."""
    num_steps = 1 + (3 if _QUICK.value else 7)
    length = _SHORT_ROW_TOKENS if _QUICK.value else _ROW_TOKENS
    batches = prepare(folder, num_steps, _ROWS, length)
    dtypes = ("float32",) if _QUICK.value else ("float32", "bfloat16")
    found = {}
    for dtype in dtypes:
        modes = [Mode(folder, side, dtype) for side in _LOADERS]
        runs: dict[str, list[dict]] = {mode.name: [] for mode in modes}
        for number in range(num_steps):
            for mode in modes:
                runs[mode.name].append(mode.run(number, 1))
        for mode in modes:
            mode.end()
        found[dtype] = _compare(runs, batches["useful_tokens"], dtype)
    main, largest = found["float32"], found["float32"].pop("largest_difference")
    if "bfloat16" in found:
        main["bfloat16_speedup"] = found["bfloat16"]["ours"] / main["ours"]
    return {
        "name": "lm_training",
        "unit": "useful tokens/s, float32",
        **main,
        "agrees": f"losses of the first {min(_CHECKED, num_steps)} steps within "
        f"{largest:.1e} of theirs"
        if largest < 1e-3
        else False,
        "goal": _GOALS,
        "bfloat16": found.get("bfloat16"),
        "batches": batches,
        "how": f"{_MODEL.value}; {num_steps - 1} steps of each mode, in turns, after "
        f"one that compiles; {_ROWS} rows of {batches['row_tokens']} tokens a step; "
        f"{turns.NUM_THREADS} threads; peer: transformers, SDPA, micro-batches of "
        f"{_PEER_SIZES} examples by length, logits_to_keep, fused AdamW, autocast; "
        f"ours: remat {_REMAT}; cpu_ratio: of processor time, less sensitive to other "
        "work on the machine",
    }


def compare_curves(folder: pathlib.Path) -> dict[str, Any]:
    """Ours in both precisions over many steps of a row, from the same weights."""
    num_steps = 6 if _QUICK.value else _CURVE_STEPS
    batches = prepare(folder, num_steps, 1, _SHORT_ROW_TOKENS)
    losses = {}
    for dtype in ("float32", "bfloat16"):
        mode = Mode(folder, "ours", dtype)
        losses[dtype] = mode.run(0, num_steps)["losses"]
        mode.end()
    means = {dtype: float(np.mean(some)) for dtype, some in losses.items()}
    width = min(_CURVE_WIDTH, num_steps)
    points = {
        dtype: np.reshape(some, (-1, width)).mean(1) for dtype, some in losses.items()
    }
    return {
        "name": "lm_training_curve",
        "unit": "nats a target token",
        "losses": losses,
        "means": means,
        "difference_of_means": means["bfloat16"] / means["float32"] - 1,
        "steps_a_point": width,
        "differences": (points["bfloat16"] / points["float32"] - 1).tolist(),
        "goal": "within 1 %",
        "batches": batches,
    }


def measure(folder: pathlib.Path) -> dict[str, Any]:
    """What the flags ask for."""
    return compare_curves(folder) if _CURVE.value else compare_speed(folder)


if __name__ == "__main__":
    command.run(measure, "model", "examples")
