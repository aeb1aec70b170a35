"""What the numbers say, in sentences.

A difference whose 95 % interval holds 0 is never called a gain or a loss.
"""

import dataclasses

from radit_jax.evaluation.metrics import Interval

System = tuple[str, str]  # (LM, retriever)

SYSTEM_NAMES: dict[System, str] = {
    ("base", "none"): "LM alone",
    ("base", "base"): "REPLUG",
    ("it", "base"): "IT + retriever",
    ("ra_it", "base"): "RA-IT",
    ("base", "tuned"): "R-ft only",
    ("ra_it", "tuned"): "RA-DIT",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """Two systems that differ in one thing, and what that thing is."""

    with_it: System
    without_it: System
    subject: str  # of a sentence: "… raised exact match from … to …"
    isolates: str  # beside the difference in the table

    @property
    def what(self) -> str:
        """The name of the difference in `results.json`."""
        return f"{SYSTEM_NAMES[self.with_it]} minus {SYSTEM_NAMES[self.without_it]}"


COMPARISONS = (
    Comparison(
        ("ra_it", "tuned"),
        ("base", "base"),
        "Fine-tuning the LM and the retriever",
        "both fine-tunings together",
    ),
    Comparison(
        ("ra_it", "base"),
        ("base", "base"),
        "Fine-tuning the LM",
        "the LM’s fine-tuning as a whole",
    ),
    Comparison(
        ("it", "base"),
        ("base", "base"),
        "Plain instruction tuning",
        "learning to answer briefly: the same questions, no passages",
    ),
    Comparison(
        ("ra_it", "base"),
        ("it", "base"),
        "Training with passages in the prompt",
        "learning to read: passages in the training prompts",
    ),
    Comparison(
        ("ra_it", "tuned"),
        ("ra_it", "base"),
        "Fine-tuning the retriever under the tuned LM",
        "the retriever’s fine-tuning, under the tuned LM",
    ),
    Comparison(
        ("base", "tuned"),
        ("base", "base"),
        "Fine-tuning the retriever under the untuned LM",
        "the retriever’s fine-tuning, under the untuned LM",
    ),
    Comparison(
        ("base", "base"),
        ("base", "none"),
        "Retrieval",
        "retrieval itself, before any fine-tuning",
    ),
)
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
    """Splits RA-DIT's difference to REPLUG into its three steps, which add up to it."""
    total = _difference(results, _BOTH)
    steps = {
        "with plain instruction tuning": _difference(results, _BRIEF),
        "with passages in the training prompts": _difference(results, _READ),
        "with the new query tower": _difference(results, _RETRIEVER),
    }
    if total is None or None in steps.values():
        return ""
    *first, last = (
        f"{signed(step['value'])} came {name}"
        + (" (an interval that includes 0)" if verdict(step) == "unclear" else "")
        for name, step in steps.items()
    )
    points = f"Of these {signed(total['value'])} points"
    return f"{points}, {', '.join(first)} and {last}."


def findings(results: dict) -> list[Finding]:
    """One paragraph for the LM, one for the retriever, one apart from brevity."""
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
        "Brevity aside": brevity_aside,
    }
    texts = {
        title: " ".join(sentence for sentence in sentences if sentence)
        for title, sentences in paragraphs.items()
    }
    return [Finding(title, text) for title, text in texts.items() if text]


def brevity(results: dict) -> str:
    """Why exact match alone would mislead, with REPLUG's two numbers as the witness."""
    for system in results["systems"]:
        if (system["lm"], system["retriever"]) == ("base", "base"):
            contains, exact = system["contains"]["value"], system["em"]["value"]
            return (
                f"{contains:.1f} % of REPLUG’s answers contain a reference, "
                f"{exact:.1f} % are one."
            )
    return ""


def _sentence(
    results: dict, comparison: Comparison, subject: str, noun: str, metric: str = "em"
) -> str:
    difference = _difference(results, comparison, metric)
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


def _retrieval_sentence(results: dict) -> str:
    base, tuned = (results["retriever"].get(name) for name in ("base", "tuned"))
    if not base or not tuned:
        return ""
    text = (
        "Fine-tuning the query tower took MRR from "
        f"{base['mrr']['value']:.3f} to {tuned['mrr']['value']:.3f}"
    )
    difference = results.get("retriever_difference", {}).get("mrr")
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
    for difference in results.get("differences", []):
        if difference["what"] == comparison.what:
            return difference.get(metric)
    return None
