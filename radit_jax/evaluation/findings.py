"""What the numbers say, in sentences.

A difference whose 95 % interval holds 0 is never called a gain or a loss.
"""

import dataclasses

from radit_jax.evaluation.metrics import Interval
from radit_jax.evaluation.systems import COMPARISONS, Comparison

_BOTH, _LM, _BRIEF, _READ, _RETRIEVER, _RETRIEVER_ALONE, _RETRIEVAL = COMPARISONS


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One paragraph of the summary."""

    title: str
    text: str


def verdict(interval: Interval | None) -> str:
    """One of gain, loss, unclear (the interval holds 0) and unknown (there is none)."""
    if interval is None:
        return "unknown"
    if interval["low"] > 0:
        return "gain"
    return "loss" if interval["high"] < 0 else "unclear"


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign, a true minus, and no negative zero."""
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text[1:] if float(f"{value:.{digits}f}") == 0 else text


def headline(results: dict) -> str:
    """The first comparison that this run can make, as one sentence."""
    for comparison in (_BOTH, _LM, _BRIEF, _RETRIEVER_ALONE, _RETRIEVAL):
        values = _values(results, comparison)
        if values is not None:
            difference = _difference(results, comparison)
            return _headline(comparison.subject, values, difference, results)
    return "This run has no two systems to compare yet"


def _headline(subject, values, difference, results) -> str:
    before, after = (f"{value:.1f} %" for value in values)
    if verdict(difference) == "unclear":
        return (
            f"{subject} made no difference that {results['num_questions']} questions "
            f"can show: exact match {before} before, {after} after"
        )
    verb = {"gain": "raised exact match", "loss": "lowered exact match"}
    verb = verb.get(verdict(difference), "took exact match")
    return f"{subject} {verb} from {before} to {after}"


def decomposition(results: dict) -> str:
    """RA-DIT's difference to REPLUG as its three steps, which add up to it."""
    total = _difference(results, _BOTH)
    steps = {
        "with plain instruction tuning": _difference(results, _BRIEF),
        "with passages in the training prompts": _difference(results, _READ),
        "with the tuned query tower": _difference(results, _RETRIEVER),
    }
    if total is None or None in steps.values():
        return ""
    parts = [
        f"{signed(step['value'])} {name}"
        + (" (an interval that includes 0)" if verdict(step) == "unclear" else "")
        for name, step in steps.items()
    ]
    return f"Step by step: {', '.join(parts)}; {signed(total['value'])} points in all."


def findings(results: dict) -> list[Finding]:
    """One paragraph each for the LM, the retriever, the passages, and brevity."""
    em, share = "exact match", "the share of answers that contain a reference"
    language_model = (
        _sentence(results, _LM, "Fine-tuning it", em),
        _sentence(results, _BRIEF, "Plain instruction tuning, without passages,", em),
        _sentence(
            results,
            _READ,
            "Beyond that, putting passages into the training prompts",
            em,
        ),
    )
    retriever = (
        _retrieval_sentence(results),
        _sentence(results, _RETRIEVER, "Under the fine-tuned LM, it", em),
        _sentence(results, _RETRIEVER_ALONE, "Under the untuned LM, it", em),
    )
    beyond = "Passages in the training prompts, beyond plain tuning,"
    brevity_aside = (
        _sentence(results, _BOTH, "Together, the two", share, "contains"),
        _sentence(results, _READ, beyond, "it", "contains"),
    )
    paragraphs = {
        "The language model": language_model,
        "The retriever": retriever,
        "The passages": _passage_sentences(results),
        "Brevity aside": brevity_aside,
    }
    texts = {
        title: " ".join(sentence for sentence in sentences if sentence)
        for title, sentences in paragraphs.items()
    }
    return [Finding(title, text) for title, text in texts.items() if text]


def brevity(results: dict) -> str:
    """Why exact match alone would mislead, with REPLUG's two numbers as the witness."""
    keyed = {(s["lm"], s["retriever"]): s for s in results["systems"]}
    if (replug := keyed.get(_RETRIEVAL.with_it)) is None:
        return ""
    contains, exact = replug["contains"]["value"], replug["em"]["value"]
    numbers = (
        f"{contains:.1f} % of its answers contain a reference, {exact:.1f} % are one"
    )
    if contains <= exact:
        return f"The untuned LM answers briefly already: with retrieval, {numbers}."
    return (
        "The untuned LM answers in sentences, so it seldom matches a reference "
        f"exactly even when it is right: with retrieval, {numbers}. Much of any gain "
        "in exact match is therefore learning to answer briefly."
    )


def _sentence(
    results: dict, comparison: Comparison, subject: str, noun: str, metric: str = "em"
) -> str:
    return _change(_difference(results, comparison, metric), subject, noun)


def _change(difference: Interval | None, subject: str, noun: str) -> str:
    if difference is None:
        return ""
    value, low, high = (difference[end] for end in ("value", "low", "high"))
    if not (value or low or high):
        return f"{subject} left {noun} as it was, question by question."
    if verdict(difference) == "unclear":
        return (
            f"{subject} changed {noun} by {signed(value)} points, but the interval "
            f"({signed(low)} to {signed(high)}) includes 0: these questions do not "
            "tell it from no effect."
        )
    if verdict(difference) == "gain":
        return (
            f"{subject} raised {noun} by {value:.1f} points ({low:.1f} to {high:.1f})."
        )
    return (
        f"{subject} lowered {noun} by {-value:.1f} points ({-high:.1f} to {-low:.1f})."
    )


def _passage_sentences(results: dict) -> tuple[str, ...]:
    """What a right and a random passage do to the tuned LM's answers."""
    effects = (results.get("probes") or {}).get("effects") or {}
    found = effects.get("ra_it", {})
    right, random = (found.get(name, {}).get("em") for name in ("right", "random"))
    return (
        _change(
            right, "Under the RA-IT LM, the right passage, against none,", "exact match"
        ),
        _change(random, "A random passage", "it"),
    )


def _retrieval_sentence(results: dict) -> str:
    base, tuned = (
        (results.get("retriever") or {}).get(name) for name in ("base", "tuned")
    )
    if not base or not tuned:
        return ""
    text = (
        "Fine-tuning the query tower took MRR from "
        f"{base['mrr']['value']:.3f} to {tuned['mrr']['value']:.3f}"
    )
    difference = (results.get("retriever_difference") or {}).get("mrr")
    ends = {
        "gain": ", a gain beyond its interval.",
        "loss": ", a loss beyond its interval.",
        "unclear": ", a change whose interval includes 0.",
        "unknown": ".",
    }
    return text + ends[verdict(difference)]


def _values(results: dict, comparison: Comparison) -> tuple[float, float] | None:
    """Exact match without it and with it; None where one system was not run."""
    found = {(s["lm"], s["retriever"]): s["em"]["value"] for s in results["systems"]}
    pair = comparison.without_it, comparison.with_it
    return tuple(found[key] for key in pair) if found.keys() >= set(pair) else None


def _difference(
    results: dict, comparison: Comparison, metric: str = "em"
) -> Interval | None:
    for difference in results.get("differences") or []:
        if difference["what"] == comparison.what:
            return difference.get(metric)
    return None
