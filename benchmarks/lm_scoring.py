"""How fast answers are scored under retrieved chunks, against transformers.

python -m benchmarks.lm_scoring --model=SmolLM2.gguf --passages=psgs.tsv.gz \
  --questions=train.jsonl.gz --passage_embeddings=p.npy --query_embeddings=q.npy \
  [--quick] [--json=FILE]

Two loads of (question, chunk) pairs, ten chunks a question: (a) of unrelated questions,
where hardly any chunk comes twice, and (b) of all questions of a few articles. Of each
a part is scored again and again: of (a) the first questions; of (b) all pairs of every
n-th chunk in order of how often it was retrieved, so that chunks repeat as in the
whole. The peer gets the same token ids, sorted by length, 16 rows at a time, and
computes logits of the answers' positions alone.

Each arm is a process of its own with two threads on the same two cores; they take
turns. Both load the model from the same safetensors. Tokens are those of whole prompts
and answers on both sides, so what is shared counts as if it had been computed. Memory
is the peak resident set once the model is loaded, weights and libraries included; the
ratio without the weights, which are the same numbers on both sides, stands beside it.
"""

import collections
import json
import pathlib
import statistics
from collections.abc import Callable

import numpy as np
from absl import flags, logging

from benchmarks import command, texts, turns

_MODEL = flags.DEFINE_string("model", None, "A .gguf file or a Hugging Face folder.")
_PASSAGES = flags.DEFINE_string("passages", None, "psgs_w100.tsv, or .tsv.gz.")
_QUESTIONS = flags.DEFINE_string(
    "questions", None, "JSON lines: question, answers, positive_ids; or .gz."
)
_PASSAGE_EMBEDDINGS = flags.DEFINE_string(
    "passage_embeddings", None, ".npy, rows as the passages' lines."
)
_QUERY_EMBEDDINGS = flags.DEFINE_string(
    "query_embeddings", None, ".npy, rows as the questions' lines."
)
_PAIRS = flags.DEFINE_integer("pairs", 80, "About so many in each part.")
_LOADS = flags.DEFINE_list("loads", ["unrelated", "articles"], "(a), (b), or both.")
_DTYPES = flags.DEFINE_list("dtypes", ["float32", "bfloat16"], "Precisions.")
_QUICK = flags.DEFINE_bool("quick", False, "Smaller parts, fewer runs, float32 alone.")
_BATCH_TOKENS = flags.DEFINE_integer(
    "batch_tokens", 2048, "Ours: scoring.batch_tokens."
)

_NUM_CHUNKS, _MAX_TOKENS = 10, 1024
_NUM_UNRELATED = 64  # questions of load (a)
_NUM_ARTICLES, _ARTICLE_QUESTIONS = 4, 100  # of load (b); questions at least
_PEER_ROWS = 16
_GOALS = {"unrelated": 1.2, "articles": 2.0}


def score_ours(model: str, dtype: str, batch_tokens: str) -> Callable:
    """Returns what scores a part by `inference.scorer`."""
    from radit_jax.inference.scorer import Scorer
    from radit_jax.models import compute_weights, pretrained

    decoder = pretrained.load_lm(model, dtype)[0]
    compute_weights.round_weights(decoder)  # as stage `score_chunks` does
    scorer = Scorer(decoder)

    def score(part: dict) -> list[np.ndarray]:
        return scorer.score(
            part["prompts"], part["outputs"], int(batch_tokens), part["num_shared"]
        )

    return score


def score_peer(model: str, dtype: str, rows: str) -> Callable:
    """Returns what scores a part by transformers."""
    import torch
    import transformers

    torch.set_num_threads(2)
    lm = transformers.AutoModelForCausalLM.from_pretrained(
        model, dtype=getattr(torch, dtype), attn_implementation="sdpa"
    ).eval()

    @torch.inference_mode()
    def score_batch(texts: list[tuple[list[int], list[int]]]) -> list[np.ndarray]:
        longest = max(len(prompt) + len(output) for prompt, output in texts) - 1
        num_kept = max(len(output) for _, output in texts)
        tokens = torch.zeros(len(texts), longest, dtype=torch.long)
        mask = torch.zeros(len(texts), longest, dtype=torch.long)
        targets = torch.zeros(len(texts), num_kept, dtype=torch.long)
        # Padding is to the left, so that the answers' positions are the last ones.
        for i, (prompt, output) in enumerate(texts):
            fed = torch.tensor([*prompt, *output][:-1])
            tokens[i, -len(fed) :], mask[i, -len(fed) :] = fed, 1
            targets[i, -len(output) :] = torch.tensor(output)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        is_padded = not bool(mask.all())
        logits = lm(
            input_ids=tokens,
            attention_mask=mask if is_padded else None,
            position_ids=positions,
            logits_to_keep=num_kept,
            use_cache=False,
        ).logits.float()
        scores = logits.gather(2, targets[:, :, None])[:, :, 0] - logits.logsumexp(2)
        return [
            row[-len(output) :].numpy()
            for row, (_, output) in zip(scores, texts, strict=True)
        ]

    def score(part: dict) -> list[np.ndarray]:
        texts = list(zip(part["prompts"], part["outputs"], strict=True))
        order = sorted(range(len(texts)), key=lambda i: -sum(map(len, texts[i])))
        found: list[np.ndarray] = [np.empty(0)] * len(texts)
        for start in range(0, len(order), int(rows)):
            some = order[start : start + int(rows)]
            for i, row in zip(some, score_batch([texts[i] for i in some]), strict=True):
                found[i] = row
        return found

    return score


_ARMS = {"ours": score_ours, "peer": score_peer}


def serve(arm: str, folder: str, dtype: str, setting: str) -> None:
    """An arm's process; see `turns.serve`."""
    score = _ARMS[arm](f"{folder}/model", dtype, setting)

    def work(part: str) -> None:
        read = json.loads(pathlib.Path(folder, f"{part}.json").read_text())
        np.save(f"{folder}/{part}-{arm}-{dtype}.npy", np.concatenate(score(read)))

    turns.serve(work)


def _weight_bytes(folder: pathlib.Path, dtype: str) -> int:
    """What the parameters take in this precision, however an arm holds them."""
    stored = sum(f.stat().st_size for f in (folder / "model").glob("*.safetensors"))
    return stored // (2 if dtype == "bfloat16" else 1)


def _start(arm: str, folder: pathlib.Path, dtype: str) -> turns.Child:
    setting = _BATCH_TOKENS.value if arm == "ours" else _PEER_ROWS
    rest = arm, str(folder), dtype, str(setting)
    return turns.Child("benchmarks.lm_scoring", "serve", *rest)


def _top(queries: np.ndarray, passages: np.ndarray) -> np.ndarray:
    scores = queries @ passages.T
    some = np.argpartition(-scores, _NUM_CHUNKS, axis=1)[:, :_NUM_CHUNKS]
    order = np.argsort(-np.take_along_axis(scores, some, axis=1), axis=1)
    return np.take_along_axis(some, order, axis=1)


class _Data:
    """Questions with their retrieved passages, as pairs of row numbers."""

    def __init__(self):
        self.passages = texts.passages(_PASSAGES.value)
        rows = texts.passage_rows(_PASSAGES.value)
        titles = {name: title for name, _, title in rows}
        self.questions = texts.records(_QUESTIONS.value)
        self._articles = collections.defaultdict(list)
        for i, question in enumerate(self.questions):
            self._articles[titles[str(question["positive_ids"][0])]].append(i)
        self._queries = np.load(_QUERY_EMBEDDINGS.value)
        self._matrix = np.load(_PASSAGE_EMBEDDINGS.value)
        self._draw = np.random.default_rng(0)

    def pairs(self, questions: list[int]) -> list[tuple[int, int]]:
        """Each question with each of its chunks."""
        found = _top(self._queries[questions], self._matrix)
        return [
            (q, int(c)) for q, row in zip(questions, found, strict=True) for c in row
        ]

    def unrelated(self) -> list[int]:
        """Questions of load (a)."""
        drawn = self._draw.choice(len(self.questions), _NUM_UNRELATED, replace=False)
        return drawn.tolist()

    def articles(self) -> list[int]:
        """Questions of load (b)."""
        large = [
            title
            for title, found in self._articles.items()
            if title and len(found) >= _ARTICLE_QUESTIONS
        ]
        drawn = self._draw.choice(len(large), _NUM_ARTICLES, replace=False)
        return [q for i in drawn for q in self._articles[large[i]]]


def _part_of(pairs: list[tuple[int, int]], num_texts: int) -> list[tuple[int, int]]:
    """About so many pairs, in which chunks come as often as in all."""
    by_chunk = collections.defaultdict(list)
    for question, chunk in pairs:
        by_chunk[chunk].append((question, chunk))
    groups = sorted(by_chunk.values(), key=len)
    step = max(1, round(len(pairs) / num_texts))
    return [pair for group in groups[step // 2 :: step] for pair in group]


def _encode(data: _Data, tokenizer, pairs: list[tuple[int, int]]) -> dict:
    """Token ids of prompts and answers, as stage `score_chunks` makes them."""
    from radit_jax.text import templates

    part = {"prompts": [], "outputs": [], "num_shared": []}
    for question, chunk in pairs:
        whole = templates.encode_prompt(
            tokenizer,
            str(question),
            data.questions[question]["question"],
            passage=data.passages[chunk],
            answer=data.questions[question]["answers"][0],
        )
        num_output = whole.num_target_tokens
        prompt, _ = templates.shorten(whole, _MAX_TOKENS, num_output)
        part["prompts"].append(prompt.ids[:-num_output])
        part["outputs"].append(prompt.ids[-num_output:])
        part["num_shared"].append(len(prompt.bos_ids) + len(prompt.background_ids))
    return part


def prepare(folder: pathlib.Path) -> dict[str, dict]:
    """Writes the model and the parts; returns what the loads are like."""
    from radit_jax.models import huggingface, pretrained

    decoder, tokenizer = pretrained.load_lm(_MODEL.value)
    huggingface.save_decoder(decoder, folder / "model", tokenizer)
    data, found = _Data(), {}
    num_texts = 20 if _QUICK.value else _PAIRS.value
    for name, questions in (
        ("unrelated", data.unrelated()),
        ("articles", data.articles()),
    ):
        if name not in _LOADS.value:
            continue
        pairs = data.pairs(questions)
        part = pairs[:num_texts]
        if name == "articles":
            part = _part_of(pairs, num_texts)
        encoded = _encode(data, tokenizer, part)
        (folder / f"{name}.json").write_text(json.dumps(encoded))
        found[name] = {
            "questions": len(questions),
            "repeats_of_a_chunk": len(pairs) / len({chunk for _, chunk in pairs}),
            "part_pairs": len(part),
            "part_repeats_of_a_chunk": len(part) / len({chunk for _, chunk in part}),
            "part_tokens": sum(
                len(text) for field in ("prompts", "outputs") for text in encoded[field]
            ),
        }
    return found


def compare(folder: pathlib.Path, load: str, dtype: str, part: dict) -> dict:
    """Interleaved runs of both arms on one part."""
    arms = {arm: _start(arm, folder, dtype) for arm in _ARMS}
    first = {arm: child.run(part=load) for arm, child in arms.items()}
    runs: dict[str, list[dict]] = {arm: [] for arm in arms}
    for _ in range(3 if _QUICK.value else 7):
        for arm, child in arms.items():
            runs[arm].append(child.run(part=load))
    for child in arms.values():
        child.end()
    seconds = {arm: [run["seconds"] for run in some] for arm, some in runs.items()}
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["peer"], strict=True)]
    peaks = {arm: max(run["peak_bytes"] for run in some) for arm, some in runs.items()}
    weights = _weight_bytes(folder, dtype)
    scores = [np.load(folder / f"{load}-{arm}-{dtype}.npy") for arm in arms]
    rates = {a: part["part_tokens"] / statistics.median(s) for a, s in seconds.items()}

    def median(some: list[dict], field: str) -> float:
        return statistics.median(run[field] for run in some)

    found = {
        "load": load,
        "dtype": dtype,
        **rates,
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "cpu_ratio": median(runs["peer"], "cpu_seconds")
        / median(runs["ours"], "cpu_seconds"),
        "memory_ratio": peaks["ours"] / peaks["peer"],
        "memory_ratio_less_weights": (peaks["ours"] - weights)
        / (peaks["peer"] - weights),
        "peak_mib": {arm: peak / 2**20 for arm, peak in peaks.items()},
        "loading_peak_mib": {a: r["loading_bytes"] / 2**20 for a, r in first.items()},
        "first_run_more_seconds": {
            arm: first[arm]["seconds"] - statistics.median(seconds[arm]) for arm in arms
        },
        "largest_difference_nats": float(np.abs(scores[0] - scores[1]).max()),
        "goal": f"ratio >= {_GOALS[load]}, memory_ratio <= 0.5",
    }
    logging.info("%s", found)
    return found


def measure(folder: pathlib.Path) -> dict:
    """All of it, as the JSON object that is printed."""
    parts = prepare(folder)
    dtypes = ("float32",) if _QUICK.value else _DTYPES.value
    loads = [
        compare(folder, load, dtype, parts[load]) for load in parts for dtype in dtypes
    ]
    main_load = next((one for one in loads if one["load"] == "articles"), loads[0])
    differences = [
        load["largest_difference_nats"] for load in loads if load["dtype"] == "float32"
    ]
    agrees = None  # bfloat16 alone: each load has its largest difference
    if differences:
        text = f"float32 scores of every token within {max(differences):.1e} nats"
        agrees = text if max(differences) < 1e-3 else False
    same = {"ours", "peer", "ratio", "ratio_range", "memory_ratio", "goal"}
    return {
        "name": "lm_scoring",
        **{key: value for key, value in main_load.items() if key in same},
        "unit": f"useful tokens/s, {main_load['load']}, {main_load['dtype']}",
        "agrees": agrees,
        "loads": loads,
        "parts": parts,
        "how": f"{_MODEL.value}; {_NUM_CHUNKS} chunks a question; 2 threads; peer: "
        f"transformers, SDPA, {_PEER_ROWS} rows, sorted by length, logits_to_keep; "
        f"ours: {_BATCH_TOKENS.value} batch_tokens; first runs, which compile, apart; "
        "cpu_ratio: of processor time, less sensitive to other work on the machine",
    }


if __name__ == "__main__":
    command.run(
        measure,
        "model",
        "passages",
        "questions",
        "passage_embeddings",
        "query_embeddings",
    )
