"""What the report's template draws: results turned into rows, marks and labels."""

import json
import re
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from radit_jax.evaluation import charts, findings, systems

METRICS = {"em": "Exact match", "f1": "F1", "contains": "Answer contained"}
LM_LABELS = {"base": "untuned", "it": "plain IT", "ra_it": "RA-IT"}
_RETRIEVER_LABELS = {"none": "none", "base": "untuned", "tuned": "tuned"}
_PROBABILITIES = {
    "p_r_base": (Markup("p<sub>R</sub> before"), "base"),
    "p_r_tuned": (Markup("p<sub>R</sub> after"), "tuned"),
    "p_lsr": (Markup("p<sub>LSR</sub>"), "lsr"),
}


def systems_view(results: dict) -> dict:
    """The six systems in order, those not run included, then any others."""
    found = {(s["lm"], s["retriever"]): s for s in results["systems"]}
    order = [
        *systems.SYSTEM_NAMES,
        *(k for k in found if k not in systems.SYSTEM_NAMES),
    ]
    tops = [s[metric]["high"] for s in found.values() for metric in METRICS]
    scale = charts.Scale.around([0.0, *tops, 10.0])
    return {
        "scale": scale,
        "rows": [_system_row(key, found.get(key), scale) for key in order],
        "has_zero": any(s[m]["high"] == 0 for s in found.values() for m in METRICS),
    }


def _system_row(key: systems.System, system: dict | None, scale: charts.Scale) -> dict:
    row = {
        "name": system["name"] if system else systems.SYSTEM_NAMES[key],
        "lm": LM_LABELS.get(key[0], key[0]),
        "retriever": _RETRIEVER_LABELS.get(key[1], key[1]),
        "kind": "tuned" if key == ("ra_it", "tuned") else "base",
        "scores": None,
    }
    if system:
        row["scores"] = [
            {"label": label, "interval": system[m], "mark": scale.mark(system[m])}
            for m, label in METRICS.items()
        ]
    return row


def differences_view(results: dict) -> dict | None:
    """Paired differences in the order of `COMPARISONS`, then any others."""
    given = {
        difference["what"]: difference
        for difference in results.get("differences") or []
    }
    isolates = {c.what: c.isolates for c in systems.COMPARISONS}
    order = [what for what in isolates if what in given]
    order += [what for what in given if what not in isolates]
    shown = [m for m in METRICS if any(m in d for d in given.values())]
    ends = [d[m][end] for d in given.values() for m in shown if m in d for end in d[m]]
    if not ends:
        return None
    scale = charts.Scale.around([0.0, *ends], num_ticks=8)
    rows = [
        {
            "what": what,
            "isolates": isolates.get(what, ""),
            "scores": [_difference_cell(given[what].get(m), m, scale) for m in shown],
        }
        for what in order
    ]
    return {"scale": scale, "rows": rows, "labels": [METRICS[m] for m in shown]}


def _difference_cell(interval: dict | None, metric: str, scale: charts.Scale) -> dict:
    return {
        "label": METRICS[metric],
        "interval": interval,
        "mark": scale.mark(interval) if interval else None,
        "verdict": findings.verdict(interval),
    }


def retriever_view(results: dict) -> dict | None:
    """A row for each recall and for MRR; marks are on one axis from 0 to 1."""
    measured = results.get("retriever") or {}
    base, tuned = measured.get("base") or {}, measured.get("tuned") or {}
    difference = results.get("retriever_difference") or {}
    names = [name for name in (base or tuned) if name == "mrr" or "@" in name]
    if not names:
        return None
    rows = [
        _retriever_row(name, base.get(name), tuned.get(name), difference.get(name))
        for name in names
    ]
    counts = base or tuned
    return {
        "rows": rows,
        "has_tuned": bool(tuned),
        "has_difference": bool(difference),
        "num_questions": counts.get("num_questions"),
        "num_without_positives": counts.get("num_without_positives"),
    }


def _retriever_row(name, base, tuned, difference) -> dict:
    top = 1.0 if name == "mrr" else 100.0
    scale = charts.Scale(0.0, top, (0.0, top))
    return {
        "name": "MRR" if name == "mrr" else name.replace("@", " at "),
        "digits": 3 if name == "mrr" else 1,
        "base": base,
        "tuned": tuned,
        "difference": difference,
        "verdict": findings.verdict(difference),
        "base_mark": scale.mark(base) if base else None,
        "tuned_mark": scale.mark(tuned) if tuned else None,
    }


def curves_view(curves: Mapping[str, Sequence[dict]]) -> list[dict]:
    """The charts of each training that ran."""
    titles = {"lm/ra_it": "RA-IT: the LM", "lm/it": "Plain instruction tuning: the LM"}
    names = [name for name in titles if name in curves]
    names += [name for name in curves if name not in titles and name != "retriever"]
    views = [_loss_view(titles.get(name, name), curves[name]) for name in names]
    if "retriever" in curves:
        views += _retriever_curves(curves["retriever"])
    return [view for view in views if view["svg"]]


def _loss_view(title: str, records: Sequence[dict]) -> dict:
    lines = [
        charts.line_of(records, "loss", "training", "base"),
        charts.line_of(records, "validation_loss", "validation", "tuned", dots=True),
    ]
    best = "min" if lines[1].points else ""
    return _figure(title, "loss, nats per answer token", lines, best)


def _retriever_curves(records: Sequence[dict]) -> list[dict]:
    loss = charts.line_of(records, "loss", "training", "base")
    mrr = charts.line_of(records, "validation_mrr", "validation", "tuned", dots=True)
    entropies = [
        charts.line_of(
            records, "entropy_p_lsr", Markup("p<sub>LSR</sub>, the target"), "lsr"
        ),
        charts.line_of(
            records, "entropy_p_r", Markup("p<sub>R</sub>, being trained"), "tuned"
        ),
    ]
    return [
        _figure("R-ft: the query tower", "KL divergence, nats", [loss], ""),
        _figure("R-ft: MRR on validation questions", "MRR", [mrr], "max"),
        _figure("R-ft: how sharp the two are", "entropy, nats", entropies, ""),
    ]


def _figure(title: str, unit: str, lines: list[charts.Line], best: str) -> dict:
    drawn = [line for line in lines if line.points]
    svg = charts.line_chart(f"{title}: {unit}, by step", lines, best)
    return {"title": title, "unit": unit, "lines": drawn, "svg": svg, "best": best}


def question_view(question: dict) -> dict:
    """One question with its passages, and only those bars that any of them has."""
    answers = [answer for answer in question["answers"] if answer.strip()]
    probabilities = {
        field: label
        for field, label in _PROBABILITIES.items()
        if any(passage.get(field) is not None for passage in question["passages"])
    }
    return {
        "question": question["question"],
        "answers": question["answers"],
        "systems": question["systems"],
        "passages": [
            {
                "title": passage["title"] or passage["document_id"],
                "text": highlight(passage["text"], answers),
                "is_positive": passage["is_positive"],
                "bars": [
                    {"label": label, "kind": kind, "value": passage.get(field)}
                    for field, (label, kind) in probabilities.items()
                ],
                "answers": [
                    (LM_LABELS.get(lm, lm), answer)
                    for lm, answer in passage["answers"].items()
                ],
            }
            for passage in question["passages"]
        ],
    }


def highlight(text: str, answers: Sequence[str]) -> Markup:
    """The escaped text, with the accepted answers in it marked as whole words."""
    if not answers:
        return escape(text)
    longest_first = sorted(answers, key=len, reverse=True)
    pattern = "|".join(re.escape(answer.strip()) for answer in longest_first)
    pieces = re.split(rf"(?<!\w)({pattern})(?!\w)", text, flags=re.IGNORECASE)
    marked = [
        Markup("<mark>{}</mark>").format(piece) if i % 2 else escape(piece)
        for i, piece in enumerate(pieces)
    ]
    return Markup("").join(marked)


def stages_view(stages: Sequence[dict]) -> dict:
    """The stages with their share of the longest, and the sum of their seconds."""
    longest = max((stage["seconds"] or 0.0 for stage in stages), default=0.0) or 1.0
    rows = [
        {
            "stage": stage["stage"],
            "output": stage.get("output") or "",
            "note": stage.get("note") or "",
            "seconds": stage["seconds"],
            "share": round(100 * (stage["seconds"] or 0.0) / longest, 2),
            "counts": [
                f"{name.replace('_', ' ')} {_number(value)}"
                for name, value in (stage.get("counts") or {}).items()
            ],
        }
        for stage in stages
    ]
    return {"rows": rows, "total": sum(stage["seconds"] or 0.0 for stage in stages)}


def _number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def environment_view(environment: Mapping[str, object]) -> dict:
    """Short values for a list; mappings, such as the config, to fold away."""
    short, long = [], []
    for name, value in environment.items():
        if isinstance(value, Mapping):
            long.append((name, json.dumps(value, indent=2, default=str)))
        else:
            is_list = isinstance(value, list | tuple)
            short.append((name, ", ".join(map(str, value)) if is_list else str(value)))
    return {"short": short, "long": long}
