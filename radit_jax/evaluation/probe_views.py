"""What the report's template draws of the probes, and of what an answer cost."""

from collections.abc import Mapping
from typing import Any

from radit_jax.evaluation import findings, probes
from radit_jax.evaluation.category_plot import Series, category_plot
from radit_jax.evaluation.views import LM_LABELS, METRICS

_SHOWN = ("em", "contains")  # of the probes; F1 lies between them
_LINES = (  # probe, LM, label, CSS class
    ("depth", "base", "untuned LM, weighed", "base"),
    ("depth", "ra_it", "RA-IT LM, weighed", "tuned"),
    ("concatenate", "ra_it", "RA-IT LM, in one prompt", "lsr"),
)
_PASSAGES = {"none": "No passage", "right": "The right one", "random": "A random one"}


def probes_view(results: Mapping[str, Any]) -> dict[str, Any]:
    """Charts over k, and tables of concatenation, of right and wrong passages."""
    found = results.get("probes") or {}
    return {
        "charts": [chart for m in _SHOWN if (chart := _chart(found, m))["svg"]],
        "together": [_together(row) for row in found.get("together") or []],
        "passages": _passages(found),
        "columns": list(_PASSAGES.values()),
        "truncated": _truncated(found),
    }


def _chart(found: Mapping[str, Any], metric: str) -> dict[str, Any]:
    series = [
        Series(label, kind, _by_k((found.get(probe) or {}).get(lm, ()), metric))
        for probe, lm, label, kind in _LINES
    ]
    series = [one for one in series if one.points]
    places = sorted({place for one in series for place in one.points}, key=int)
    label = METRICS[metric]
    title = f"{label} against the number of passages"
    return {
        "title": label,
        "unit": "percent, with 95 % intervals",
        "lines": series,
        "svg": category_plot(title, "k, passages", places, series),
    }


def _by_k(rows: Any, metric: str) -> dict[str, Any]:
    return {row["name"].removeprefix("k="): row[metric] for row in rows}


def _together(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "lm": LM_LABELS.get(row["lm"], row["lm"]),
        "k": row["name"].removeprefix("k="),
        "num_questions": row["num_questions"],
        "scores": [_difference(row, metric) for metric in _SHOWN],
    }


def _difference(row: Mapping[str, Any], metric: str) -> dict[str, Any]:
    return {
        "label": METRICS[metric],
        "interval": row.get(metric),
        "verdict": findings.verdict(row.get(metric)),
    }


def _passages(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each LM and metric, of the probe "passages"."""
    rows = []
    for lm, measured in (found.get("passages") or {}).items():
        by_name = {row["name"]: row for row in measured}
        effects = (found.get("effects") or {}).get(lm, {})
        if by_name.keys() < set(probes.PASSAGES):
            continue  # no question has a right passage
        for metric in _SHOWN:
            rows.append(
                {
                    "lm": LM_LABELS.get(lm, lm),
                    "metric": METRICS[metric],
                    "num_questions": by_name["none"]["num_questions"],
                    "scores": [by_name[name][metric] for name in _PASSAGES],
                    "effects": [
                        _difference(effects.get(name, {}), metric)
                        for name in ("right", "random")
                    ],
                }
            )
    return rows


def _truncated(found: Mapping[str, Any]) -> list[str]:
    """Where the concatenated passages did not fit, which the comparison must say."""
    return [
        f"{row['num_truncated']} of {row['num_questions']} at k = "
        f"{row['name'].removeprefix('k=')}"
        for row in (found.get("concatenate") or {}).get("ra_it", ())
        if row["num_truncated"]
    ]


def gold_view(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each system's exact match where it read a gold passage, and where it did not."""
    return [
        {
            "name": row["name"],
            "kind": "tuned"
            if (row["lm"], row["retriever"]) == ("ra_it", "tuned")
            else "",
            "cells": [
                {
                    "label": label,
                    "interval": row[key].get("em"),
                    "num_questions": row[key]["num_questions"],
                }
                for key, label in (("found", "read it"), ("missed", "did not"))
            ],
        }
        for row in results.get("gold") or []
    ]


def cost_view(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tokens read and written a question, beside what they bought."""
    scores = {
        (s["lm"], s["retriever"]): s["em"]["value"] for s in results.get("systems", ())
    }
    rows = results.get("cost") or []
    longest = max((row["num_prompt_tokens"] or 0 for row in rows), default=0) or 1
    return [
        {
            "name": row["name"],
            "read": row["num_prompt_tokens"],
            "share": round(100 * (row["num_prompt_tokens"] or 0) / longest, 1),
            "written": row["num_answer_tokens"],
            "seconds": row["lm_seconds_per_question"],
            "retrievers": row["lm_retrievers"],
            "em": scores.get((row["lm"], row["retriever"])),
        }
        for row in rows
    ]
