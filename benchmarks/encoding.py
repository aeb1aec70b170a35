"""How fast passages are embedded, against sentence-transformers.

python -m benchmarks.encoding --model=all-MiniLM-L6-v2 --passages=psgs_w100.tsv.gz \
  --questions=dev.jsonl.gz [--quick] [--json=FILE]

The sample holds passages that answer the questions, and others. Each side sorts by
length as it does for its users. The peer runs in all modes that are installed: PyTorch,
and its OpenVINO backend (`pip install optimum-intel[openvino]`), each in float32 and in
bfloat16, at the batch size that is fastest of a sweep; ours runs as configured. A mode
counts only if recall@20 and MRR@10 of the questions stay within 0.1 point of float32's.

Each mode is a process of its own with two threads on the same two cores; they take
turns. The first pass, which compiles, is apart. Memory is the peak resident set once
the model is loaded, weights and libraries included.
"""

import importlib.util
import json
import pathlib
import random
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import flags, logging

from benchmarks import command, texts, turns

_MODEL = flags.DEFINE_string("model", None, "A sentence-transformers directory.")
_PASSAGES = flags.DEFINE_string("passages", None, "psgs_w100.tsv, or .tsv.gz.")
_QUESTIONS = flags.DEFINE_string(
    "questions", None, "JSON lines: question, positives or positive_ids; or .gz."
)
_NUM_PASSAGES = flags.DEFINE_integer("num_passages", 4096, "Passages of the sample.")
_QUICK = flags.DEFINE_bool("quick", False, "128 passages, 3 runs, no OpenVINO.")

_BATCH_SIZES = (8, 16, 32, 64, 128)  # of the peer's sweep
_NUM_SWEPT, _QUICK_PASSAGES = 256, 128
_TOLERANCE = 0.1  # points of recall and MRR
_GOALS = {"float32": 1.1, "fastest": 1.3}

Embed = Callable[[list[str], int], np.ndarray]


def load_ours(model: str, dtype: str) -> Embed:
    """Our embedder."""
    from radit_jax.models import pretrained
    from radit_jax.retrieval.embedder import Embedder

    return Embedder(pretrained.load_tower(model, compute_dtype=dtype)).embed


def load_torch(model: str, dtype: str) -> Embed:
    """The peer as it comes."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(turns.NUM_THREADS)
    options = {"dtype": getattr(torch, dtype)}
    peer = SentenceTransformer(model, device="cpu", model_kwargs=options)
    return lambda texts, batch_size: peer.encode(texts, batch_size=batch_size)


def load_openvino(model: str, dtype: str) -> Embed:
    """The peer by its OpenVINO backend."""
    from sentence_transformers import SentenceTransformer

    precision = {"float32": "f32", "bfloat16": "bf16"}[dtype]
    options = {"ov_config": {"INFERENCE_PRECISION_HINT": precision}, "export": True}
    peer = SentenceTransformer(
        model, device="cpu", backend="openvino", model_kwargs=options
    )
    return lambda texts, batch_size: peer.encode(texts, batch_size=batch_size)


_LOADERS = {"ours": load_ours, "torch": load_torch, "openvino": load_openvino}


def serve(folder: str, side: str, dtype: str, model: str) -> None:
    """A mode's process; see `turns.serve`."""
    embed = _LOADERS[side](model, dtype)

    def work(texts: str, batch_size: int) -> None:
        wanted = json.loads(pathlib.Path(folder, f"{texts}.json").read_text())
        rows = np.asarray(embed(wanted, batch_size), np.float32)
        np.save(f"{folder}/{texts}-{side}-{dtype}.npy", rows)

    turns.serve(work)


class Mode:
    """One side in one precision, with its process."""

    def __init__(self, folder: pathlib.Path, side: str, dtype: str):
        """Starts the process, which loads the model."""
        self.name, self.side, self.dtype = f"{side} {dtype}", side, dtype
        self.batch_size, self.sweep = 0, {}
        self._folder = folder
        self._child = turns.Child(
            "benchmarks.encoding", "serve", str(folder), side, dtype, _MODEL.value
        )

    def encode(self, texts: str, **options: Any) -> dict[str, Any]:
        """Embeds a file's texts: seconds, and peak bytes."""
        options = {"batch_size": self.batch_size} | options
        return self._child.run(texts=texts, **options)

    def tune(self) -> None:
        """Takes the fastest batch size; ours has one that it chooses by itself."""
        if self.side == "ours":
            return
        sizes = _BATCH_SIZES[::2] if _QUICK.value else _BATCH_SIZES
        for _ in range(1 if _QUICK.value else 2):  # the last pass counts
            for size in sizes:
                found = self.encode("swept", batch_size=size)
                self.sweep[size] = len(self.rows("swept")) / found["seconds"]
        self.batch_size = max(self.sweep, key=self.sweep.get)
        logging.info("%s: batches of %d, %s", self.name, self.batch_size, self.sweep)

    def rows(self, texts: str) -> np.ndarray:
        """What it made of a file's texts."""
        return np.load(self._folder / f"{texts}-{self.side}-{self.dtype}.npy")

    def end(self) -> None:
        """Ends the process."""
        self._child.end()


def prepare(folder: pathlib.Path) -> list[set[int]]:
    """Writes the sample and its questions; returns each question's right rows."""
    names = [name for name, _, _ in texts.passage_rows(_PASSAGES.value)]
    passages = dict(zip(names, texts.passages(_PASSAGES.value), strict=True))
    questions = texts.records(_QUESTIONS.value)
    for question in questions:
        right = question.get("positives") or question.get("positive_ids")
        question["right"] = [str(name) for name in right]
    draw = random.Random(0)
    draw.shuffle(questions)
    num = _QUICK_PASSAGES if _QUICK.value else _NUM_PASSAGES.value
    chosen: dict[str, None] = {}
    kept = []
    for question in questions:
        if len({*chosen, *question["right"]}) <= num * 9 // 10:
            chosen |= dict.fromkeys(question["right"])
            kept.append(question)
    others = [name for name in passages if name not in chosen]
    sample = [*chosen, *draw.sample(others, num - len(chosen))]
    draw.shuffle(sample)
    chosen_texts = [passages[name] for name in sample]
    for name, value in {
        "passages": chosen_texts,
        "swept": chosen_texts[:_NUM_SWEPT],
        "questions": [question["question"] for question in kept],
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    place = {name: row for row, name in enumerate(sample)}
    return [{place[name] for name in question["right"]} for question in kept]


def quality(mode: Mode, right: list[set[int]]) -> dict[str, float]:
    """recall@20 and MRR@10 of the questions over the sample, in percent."""
    scores = mode.rows("questions") @ mode.rows("passages").T
    recalls, ranks = [], []
    for row, wanted in zip(scores, right, strict=True):
        best = np.argsort(-row, kind="stable")[:20].tolist()
        recalls.append(len(wanted.intersection(best)) / len(wanted))
        places = [place for place, found in enumerate(best[:10], 1) if found in wanted]
        ranks.append(1 / places[0] if places else 0.0)
    return {
        "recall@20": 100 * statistics.mean(recalls),
        "MRR@10": 100 * statistics.mean(ranks),
    }


def survey(folder: pathlib.Path, right: list[set[int]]) -> tuple[list[Mode], dict]:
    """Every mode tuned, with its quality and its first pass; whether it counts."""
    sides = ["ours", "torch"]
    if importlib.util.find_spec("optimum") and not _QUICK.value:
        sides += ["openvino"] if importlib.util.find_spec("openvino") else []
    modes = [
        Mode(folder, side, dtype) for side in sides for dtype in ("float32", "bfloat16")
    ]
    found = {}
    for mode in modes:
        mode.tune()
        mode.encode("questions")
        first = mode.encode("passages")
        found[mode.name] = quality(mode, right) | {
            "first_pass_seconds": first["seconds"],
            "batch_size": mode.batch_size,
            "swept_passages_per_second": mode.sweep,
        }
        exact = found[f"{mode.side} float32"]
        found[mode.name]["counts"] = all(
            abs(found[mode.name][measure] - exact[measure]) <= _TOLERANCE
            for measure in ("recall@20", "MRR@10")
        )
        logging.info("%s: %s", mode.name, found[mode.name])
    return modes, found


def race(modes: list[Mode], num_passages: int) -> dict[str, dict]:
    """Interleaved runs of all: passages a second of each run, and peak MiB."""
    runs: dict[str, list[dict]] = {mode.name: [] for mode in modes}
    for _ in range(3 if _QUICK.value else 7):
        for mode in modes:
            runs[mode.name].append(mode.encode("passages"))
    return {
        name: {
            "rates": [num_passages / run["seconds"] for run in some],
            "peak_mib": max(run["peak_bytes"] for run in some) / 2**20,
        }
        for name, some in runs.items()
    }


def _compare(raced: dict[str, dict], candidates: list[str], goal: float) -> dict:
    """The fastest of ours against the fastest of the peer's, among candidates."""
    best = {}
    for name in candidates:
        side = "ours" if name.startswith("ours") else "peer"
        median = statistics.median(raced[name]["rates"])
        best[side] = max(best.get(side, (0.0, "")), (median, name))
    (ours, ours_name), (peer, peer_name) = best["ours"], best["peer"]
    pairs = zip(raced[ours_name]["rates"], raced[peer_name]["rates"], strict=True)
    ratios = [a / b for a, b in pairs]
    peaks = raced[ours_name]["peak_mib"], raced[peer_name]["peak_mib"]
    return {
        "ours": ours,
        "ours_mode": ours_name,
        "peer": peer,
        "peer_mode": peer_name,
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "memory_ratio": peaks[0] / peaks[1],
        "goal": f"ratio >= {goal}",
    }


def measure(folder: pathlib.Path) -> dict[str, Any]:
    """All of it, as the JSON object that is printed."""
    right = prepare(folder)
    modes, found = survey(folder, right)
    ours, peer = (
        next(mode for mode in modes if mode.name == f"{side} float32")
        for side in ("ours", "torch")
    )
    rows = ours.rows("passages"), peer.rows("passages")
    largest = float(np.abs(rows[0] - rows[1]).max())
    raced = race(modes, len(rows[0]))
    for mode in modes:
        mode.end()
    counting = [mode.name for mode in modes if found[mode.name]["counts"]]
    exact = [name for name in counting if name.endswith("float32")]
    plain = [name for name in counting if not name.startswith("openvino")]
    return {
        "name": "encoding",
        "unit": "passages/s",
        **_compare(raced, counting, _GOALS["fastest"]),
        "float32": _compare(raced, exact, _GOALS["float32"]),
        "fastest_against_pytorch": _compare(raced, plain, _GOALS["fastest"]),
        "float32_against_pytorch": _compare(
            raced, [name for name in exact if name in plain], _GOALS["float32"]
        ),
        "agrees": f"float32 embeddings within {largest:.1e} of PyTorch's"
        if largest <= 1e-5
        else False,
        "modes": {name: found[name] | raced[name] for name in found},
        "how": f"{_MODEL.value}; {len(rows[0])} passages, {len(right)} questions; "
        f"{turns.NUM_THREADS} threads; first passes, which compile, apart",
    }


if __name__ == "__main__":
    command.run(measure, "model", "passages", "questions")
