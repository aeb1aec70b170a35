"""How fast questions are answered from their chunks, against transformers.

python -m benchmarks.generation --model=SmolLM2.gguf --passages=psgs.tsv.gz \
  --questions=train.jsonl.gz --passage_embeddings=p.npy --query_embeddings=q.npy \
  [--quick] [--loads=0-shot] [--dtypes=float32] [--json=FILE]

Each question has ten prompts, one a retrieved chunk. From each a greedy answer of up to
16 tokens is decoded; the unique answers are scored under all ten chunks and mixed by
log p_R (RA-DIT, Eq. 2). A second load has five demonstrations before every prompt.

The peer is transformers: `generate` on left-padded batches of whole questions of like
length, SDPA, ended by the same stop tokens. It is run in several ways, and the fastest
is what we are compared to: rows a batch; answers scored by new forwards of prompt and
answer, or on the cache that `generate` leaves; demonstrations read in every prompt, or
once, their cache copied to every row of each batch.

`plain` is transformers as it is used: `generate` on whole prompts, then forwards of
prompt and answer, 16 at a time, at the peer's rows a batch.

A load in one precision takes 4 to 8 minutes. --loads and --dtypes choose; with --json
what that file holds of the others is kept, so that several runs fill it.

Each arm is a process of its own with two threads on the same two cores; they take
turns, a turn being four questions of their own: together 32. Both load the model from
the same safetensors. Our first runs, which compile, are apart, and so is the peer's
sweep, over the first turn's questions. Memory is the peak resident set once the model
is loaded, weights included.
"""

import json
import pathlib
import statistics

import numpy as np
from absl import flags, logging

from benchmarks import command, texts, turns

_MODEL = flags.DEFINE_string("model", None, "A .gguf file or a Hugging Face folder.")
_PASSAGES = flags.DEFINE_string("passages", None, "psgs_w100.tsv, or .tsv.gz.")
_QUESTIONS = flags.DEFINE_string("questions", None, "JSON lines; or .gz.")
_PASSAGE_EMBEDDINGS = flags.DEFINE_string(
    "passage_embeddings", None, ".npy, rows as the passages' lines."
)
_QUERY_EMBEDDINGS = flags.DEFINE_string(
    "query_embeddings", None, ".npy, rows as the questions' lines."
)
_QUICK = flags.DEFINE_bool("quick", False, "Two turns of one question, float32.")
_TURN_QUESTIONS = flags.DEFINE_integer("turn_questions", 4, "Eight turns of so many.")
_LOADS = flags.DEFINE_list("loads", ["0-shot", "5-shot"], "Which to measure.")
_DTYPES = flags.DEFINE_list("dtypes", ["float32", "bfloat16"], "Likewise.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 40, "Ours: predict.batch_size.")

_NUM_CHUNKS, _MAX_TOKENS, _NEW_TOKENS, _NUM_SHOTS = 10, 1024, 16, 5
_GOALS = {"0-shot": 1.5, "5-shot": 4.0}
_PLAIN = {"keeps_cache": False, "keeps_prefix": False}


def ours(folder: str, dtype: str) -> None:
    """A child process that answers with `inference.ensemble`."""
    from radit_jax.inference.decoding import Decoding
    from radit_jax.inference.ensemble import answer_ensemble
    from radit_jax.inference.questions import Question, Retrieval
    from radit_jax.inference.sampler import Sampler
    from radit_jax.inference.stops import Stops
    from radit_jax.models import compute_weights, pretrained

    decoder, tokenizer = pretrained.load_lm(f"{folder}/model", dtype)
    compute_weights.round_weights(decoder)  # as `inputs.load_lm` does
    sampler = Sampler(decoder, eos_id=tokenizer.eos_id)
    decoding = Decoding(_NEW_TOKENS, Stops(tokenizer, decoder.config.vocab_size))

    def answer(load: str, batch_size: int) -> None:
        part = _read(folder, load)
        asked = [
            Question(
                prompts, {"": Retrieval(rows, tuple(log_p_r))}, prefix=part["prefix"]
            )
            for prompts, log_p_r in zip(part["prompts"], part["log_p_r"], strict=True)
            for rows in [tuple(range(len(prompts)))]
        ]
        answers = answer_ensemble(sampler, tokenizer, asked, batch_size, decoding)
        found = [
            {
                "answer": answer[""].text,
                "log_probability": answer[""].log_probability,
                "chunk_answers": answer[""].chunk_answers,
            }
            for answer in answers
        ]
        _write(folder, f"ours-{load}-{dtype}", found)

    turns.serve(answer)


def peer(folder: str, dtype: str, arm: str) -> None:
    """A child process that answers with transformers, and writes it as `arm`."""
    from benchmarks.generation_peer import Peer

    lm = Peer(f"{folder}/model", dtype, _NEW_TOKENS)

    def answer(load: str, **how) -> None:
        _write(folder, f"{arm}-{load}-{dtype}", lm.answer(_read(folder, load), **how))

    turns.serve(answer)


def _read(folder: str, name: str):
    return json.loads(pathlib.Path(folder, f"{name}.json").read_text())


def _write(folder: str, name: str, found) -> None:
    pathlib.Path(folder, f"{name}.json").write_text(json.dumps(found))


def prepare(folder: pathlib.Path) -> dict[str, dict]:
    """Writes the model and the loads; returns what they are like."""
    from radit_jax.models import huggingface, pretrained
    from radit_jax.text import demonstrations

    decoder, tokenizer = pretrained.load_lm(_MODEL.value)
    huggingface.save_decoder(decoder, folder / "model", tokenizer)
    passages = texts.passages(_PASSAGES.value)
    questions = texts.records(_QUESTIONS.value)
    num = _turn_questions() * _num_turns()
    drawn = np.random.default_rng(0).permutation(len(questions))
    asked, shown = drawn[:num].tolist(), drawn[num : num + _NUM_SHOTS].tolist()
    queries = np.load(_QUERY_EMBEDDINGS.value)[asked]
    scores = queries @ np.load(_PASSAGE_EMBEDDINGS.value).T
    found = np.argsort(-scores, axis=1)[:, :_NUM_CHUNKS]
    weights = np.take_along_axis(scores, found, axis=1).astype(np.float64)
    log_p_r = weights - np.logaddexp.reduce(weights, axis=1, keepdims=True)
    solved = [
        demonstrations.encode_demonstration(
            tokenizer, questions[i]["question"], questions[i]["answers"][0]
        )
        for i in shown
    ]
    loads = {}
    for name, before in (("0-shot", []), ("5-shot", solved)):
        fitted = [
            [
                _prompt(tokenizer, questions[q]["question"], passages[c], before)
                for c in chunks
            ]
            for q, chunks in zip(asked, found.tolist(), strict=True)
        ]
        prompts = [[list(one.prompt_ids) for one in some] for some in fitted]
        prefix = list(fitted[0][0].prefix_ids)
        for i in range(_num_turns()):
            own = slice(i * _turn_questions(), (i + 1) * _turn_questions())
            turn = {"prompts": prompts[own], "log_p_r": log_p_r[own].tolist()}
            _write(str(folder), f"{name}-{i}", turn | {"prefix": prefix})
        num_tokens = [len(prompt) for some in prompts for prompt in some]
        loads[name] = {
            "questions": num,
            "prompts": len(num_tokens),
            "prompt_tokens": sum(num_tokens),
            "prefix_tokens": len(prefix),
        }
    return loads


def _num_turns() -> int:
    return 2 if _QUICK.value else 8


def _turn_questions() -> int:
    return 1 if _QUICK.value else _TURN_QUESTIONS.value


def _prompt(tokenizer, question: str, passage: str, solved: list[tuple[int, ...]]):
    from radit_jax.text import demonstrations, templates

    prompt = templates.encode_prompt(tokenizer, question, question, passage=passage)
    fitted = demonstrations.fit_few_shot(prompt, solved, _MAX_TOKENS, _NEW_TOKENS)
    if fitted.num_dropped:
        raise ValueError(f"{question!r} leaves no room for the demonstrations.")
    return fitted


def _sweep(peer: turns.Child, part: str) -> list[dict]:
    """The peer's ways of answering a turn, each with its seconds, the fastest first."""
    is_shared = part.startswith("5-shot")
    swept: list[dict] = []

    def run(num_rows: int, keeps_cache: bool, keeps_prefix: bool) -> None:
        way = {
            "num_rows": num_rows,
            "keeps_cache": keeps_cache,
            "keeps_prefix": keeps_prefix,
        }
        swept.append(way | {"seconds": peer.run(load=part, **way)["seconds"]})
        swept.sort(key=lambda one: one["seconds"])

    for num_rows in (20,) if _QUICK.value else (10, 20, 40):
        run(num_rows, True, is_shared)
    if not _QUICK.value:
        run(swept[0]["num_rows"], False, is_shared)
    if is_shared:
        run(20, True, False)
    return swept


def compare(folder: pathlib.Path, load: str, dtype: str, what: dict) -> dict:
    """Interleaved runs of all arms on one load."""
    given = str(folder), dtype
    arms = {"ours": turns.Child("benchmarks.generation", "ours", *given)}
    for arm in ("peer", "plain"):
        arms[arm] = turns.Child("benchmarks.generation", "peer", *given, arm)
    parts = [f"{load}-{i}" for i in range(_num_turns())]
    how: dict[str, dict] = {"ours": {"batch_size": _BATCH_SIZE.value}}
    first = [arms["ours"].run(load=part, **how["ours"])["seconds"] for part in parts]
    swept = _sweep(arms["peer"], parts[0])
    how["peer"] = {key: value for key, value in swept[0].items() if key != "seconds"}
    how["plain"] = how["peer"] | _PLAIN
    runs: dict[str, list[dict]] = {arm: [] for arm in arms}
    for part in parts:
        for arm, child in arms.items():
            runs[arm].append(child.run(load=part, **how[arm]))
    for child in arms.values():
        child.end()
    seconds = {arm: [run["seconds"] for run in some] for arm, some in runs.items()}
    ratios = {
        arm: [b / a for a, b in zip(seconds["ours"], seconds[arm], strict=True)]
        for arm in ("peer", "plain")
    }
    peaks = {arm: max(run["peak_bytes"] for run in some) for arm, some in runs.items()}
    found = {
        "load": load,
        "dtype": dtype,
        **{arm: what["questions"] / sum(some) for arm, some in seconds.items()},
        "ratio": statistics.median(ratios["peer"]),
        "ratio_range": [min(ratios["peer"]), max(ratios["peer"])],
        "plain_ratio": statistics.median(ratios["plain"]),
        "plain_ratio_range": [min(ratios["plain"]), max(ratios["plain"])],
        "memory_ratio": peaks["ours"] / peaks["peer"],
        "plain_memory_ratio": peaks["ours"] / peaks["plain"],
        "peak_mib": {arm: peak / 2**20 for arm, peak in peaks.items()},
        "first_runs_more_seconds": sum(first) - sum(seconds["ours"]),
        "peer_is": how["peer"],
        "peer_sweep": swept,
        "goal": f"ratio >= {_GOALS[load]}",
        **_agreement(folder, load, dtype),
    }
    logging.info("%s", found)
    return found


def _agreement(folder: pathlib.Path, load: str, dtype: str) -> dict:
    """How many chunks' answers and best answers are the same text."""
    pairs = []
    for i in range(_num_turns()):
        both = [_read(str(folder), f"{a}-{load}-{i}-{dtype}") for a in ("ours", "peer")]
        pairs += zip(*both, strict=True)
    said = [(a["chunk_answers"], b["chunk_answers"]) for a, b in pairs]
    differences = [
        abs(a["log_probability"] - b["log_probability"])
        for a, b in pairs
        if a["chunk_answers"] == b["chunk_answers"]
    ]
    return {
        "same_texts": sum(x == y for a, b in said for x, y in zip(a, b, strict=True)),
        "texts": sum(len(a) for a, _ in said),
        "same_best_answers": sum(a["answer"] == b["answer"] for a, b in pairs),
        "largest_difference_nats": max(differences, default=None),
    }


def measure(folder: pathlib.Path) -> dict:
    """All of it, as the JSON object that is printed."""
    what = prepare(folder)
    dtypes = ("float32",) if _QUICK.value else _DTYPES.value
    loads = [
        compare(folder, load, dtype, what[load])
        for load in _LOADS.value
        for dtype in dtypes
    ]
    how = (
        f"{_MODEL.value}; {_NUM_CHUNKS} chunks a question, up to {_NEW_TOKENS} new "
        "tokens, answers rescored and mixed; 2 threads; peer: transformers, SDPA, the "
        f"fastest of the ways in peer_sweep; ours: batch_size {_BATCH_SIZE.value}"
    )
    loads = _with_earlier(loads, what, how)
    exact = [load for load in loads if load["dtype"] == "float32"]
    agrees = all(load["same_texts"] == load["texts"] for load in exact)
    differences = [load["largest_difference_nats"] or 0.0 for load in exact]
    kept = {"ours", "peer", "plain", "memory_ratio", "goal"}
    kept |= {"ratio", "ratio_range", "plain_ratio", "plain_ratio_range"}
    return {
        "name": "generation",
        **{key: value for key, value in loads[0].items() if key in kept},
        "unit": f"questions/s, {loads[0]['load']}, {loads[0]['dtype']}",
        "agrees": "float32: every chunk's greedy text is the same, mixed log "
        f"probabilities within {max(differences):.1e} nats"
        if agrees and exact
        else False,
        "loads": loads,
        "parts": what,
        "how": how,
    }


def _with_earlier(loads: list[dict], what: dict, how: str) -> list[dict]:
    """What --json's file holds of other loads, where they were the same, and these."""
    path = pathlib.Path(command.JSON.value or "")
    earlier = json.loads(path.read_text()) if path.is_file() else {}
    measured = {(one["load"], one["dtype"]) for one in loads}
    if (earlier.get("parts"), earlier.get("how")) == (what, how):
        others = earlier["loads"]
        loads = loads + [o for o in others if (o["load"], o["dtype"]) not in measured]
    return sorted(loads, key=lambda one: (one["load"], one["dtype"] != "float32"))


if __name__ == "__main__":
    command.run(
        measure,
        "model",
        "passages",
        "questions",
        "passage_embeddings",
        "query_embeddings",
    )
