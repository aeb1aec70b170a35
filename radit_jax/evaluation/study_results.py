"""The study's numbers: each arm against the base tower, question by question."""

from collections.abc import Mapping, Sequence
from typing import Any

from radit_jax.evaluation import findings
from radit_jax.evaluation.metrics import Interval, Scores, interval, paired_difference

MEASURES = {"mrr": "MRR@10"} | {f"recall@{k}": f"recall@{k}" for k in (1, 5, 10)}
_DIAGNOSTICS = ("entropy_p_lsr", "entropy_p_r", "agreement", "nearly_uniform")
_LAST_SHARE = 4  # diagnostics are means over the last quarter of the steps


def intervals(scores: Scores, num_resamples: int, seed: int) -> dict[str, Interval]:
    """The mean of each measure with its 95 % bootstrap interval."""
    return {
        name: interval(values, num_resamples, seed) for name, values in scores.items()
    }


def compare(
    after: Scores, before: Scores, num_resamples: int, seed: int
) -> dict[str, dict[str, Interval]]:
    """`after`, and `gain`: its paired difference to `before`, of every measure."""
    return {
        "after": intervals(after, num_resamples, seed),
        "gain": {
            name: paired_difference(values, before[name], num_resamples, seed)
            for name, values in after.items()
        },
    }


def diagnostics(records: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over the last quarter of the steps, of those diagnostics that there are.

    Args:
      records: lines of the run's metrics, oldest first.
    """
    steps = [record for record in records if "loss" in record]
    last = steps[-max(1, len(steps) // _LAST_SHARE) :]
    return {
        name: sum(record[name] for record in last) / len(last)
        for name in _DIAGNOSTICS
        if last and all(name in record for record in last)
    }


def verdicts(results: Mapping[str, Any]) -> dict[str, list[str]]:
    """The methods among the arms by `findings.verdict` of their gain in MRR."""
    found: dict[str, list[str]] = {"gain": [], "loss": [], "unclear": []}
    for arm in results["arms"]:
        if not arm["is_control"]:
            found[findings.verdict(arm["gain"]["mrr"])].append(arm["name"])
    return found


def headline(results: Mapping[str, Any]) -> str:
    """How many of the methods help, in a sentence."""
    found = verdicts(results)
    total = sum(map(len, found.values()))
    if not found["gain"] and not found["loss"]:
        return (
            f"None of {total} ways to learn from the LM moved MRR beyond its interval "
            f"on {results['num_questions']:,} questions"
        )
    parts = [f"{len(found['gain'])} of {total} ways to learn from the LM raised MRR"]
    if found["loss"]:
        parts.append(f"{len(found['loss'])} lowered it")
    return ", ".join(parts)


def sentences(results: Mapping[str, Any]) -> list[findings.Finding]:
    """What the controls, and the arm that was chosen, say."""
    arms = {arm["name"]: arm for arm in results["arms"]}
    texts = {
        "Shuffled scores": _sentence(arms.get("shuffled"), "must not help"),
        "Gold passages as scores": _sentence(arms.get("gold"), "is the upper bound"),
    }
    if answers := results["answers"]:
        gain = answers["gain"]
        parts = [
            f"{label} {_change(gain[name], 1)} points"
            for name, label in (("em", "exact match"), ("contains", "answer contained"))
        ]
        title = f"Answers behind {answers['arm']}"
        texts[title] = (
            f"The arm with the best MRR on validation questions, against the base "
            f"tower, {answers['num_questions']} dev questions: {'; '.join(parts)}."
        )
        if arms[answers["arm"]]["kept_step"] == 0:
            texts[title] += (
                " No step of it beat the base tower there, so it is the base tower."
            )
    return [findings.Finding(title, text) for title, text in texts.items() if text]


def _sentence(arm: Mapping[str, Any] | None, role: str) -> str:
    if arm is None:
        return ""
    return f"A control, which {role}: MRR {_change(arm['gain']['mrr'], 3)}."


def _change(gain: Interval, digits: int) -> str:
    value, low, high = (
        findings.signed(gain[end], digits) for end in ("value", "low", "high")
    )
    return f"{value} ({low} to {high})"


def render_markdown(results: Mapping[str, Any]) -> str:
    """A table of the arms, gains in MRR with their interval."""
    lines = [
        f"{results['num_questions']} dev questions over {results['num_chunks']} "
        f"passages; {results['judged_by']} count. MRR from 0 to 1, recall in percent.",
        "",
        "| arm | " + " | ".join(MEASURES.values()) + " | gain in MRR | kept step |",
        "|---|" + "---:|" * (len(MEASURES) + 2),
        _line("base tower", results["base"], "", ""),
    ]
    for arm in results["arms"]:
        name = arm["name"] + (" (control)" if arm["is_control"] else "")
        name += " (candidates alone)" if arm["searched"] == "candidates" else ""
        gain = _change(arm["gain"]["mrr"], 3)
        lines.append(_line(name, arm["after"], gain, arm["kept_step"]))
    for finding in sentences(results):
        lines += ["", f"{finding.title}: {finding.text}"]
    return "\n".join(lines) + "\n"


def _line(name: str, measured: Mapping[str, Interval], *ends: object) -> str:
    cells = [
        f"{measured[m]['value']:.{3 if m == 'mrr' else 1}f}" if m in measured else ""
        for m in MEASURES
    ]
    return "| " + " | ".join([name, *cells, *map(str, ends)]) + " |"
