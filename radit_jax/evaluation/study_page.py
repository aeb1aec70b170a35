"""The study's page: a picture and a table of the arms, in the report's style."""

from collections.abc import Mapping
from typing import Any

from etils import epath
from markupsafe import Markup

from radit_jax.evaluation import dot_plot, findings, report, study_results
from radit_jax.evaluation.dot_plot import Dot
from radit_jax.evaluation.study_results import MEASURES

_TAUGHT = (
    *("Entropy, nats", "Same favourite", "Nearly uniform"),
    *("Step kept", "Validation MRR, last step"),
)
_ANSWERS = {"em": "Exact match", "f1": "F1", "contains": "Answer contained"}


def write_page(
    path: epath.PathLike, results: Mapping[str, Any], settings: Mapping[str, object]
) -> None:
    """Writes `study.html`: one file that opens without a network and holds no script.

    Args:
      path: the file to write.
      results: as in `results.json`; see `stages.study`.
      settings: what the arms share, name to value.
    """
    page = (
        report.template_environment()
        .get_template("study.html.jinja")
        .render(
            headline=study_results.headline(results),
            findings=study_results.sentences(results),
            results=results,
            picture=_picture(results),
            measures=MEASURES.values(),
            base=_base_row(results),
            rows=[_row(arm) for arm in results["arms"]],
            taught=_TAUGHT,
            answers=_answers(results["answers"]),
            settings=settings,
        )
    )
    epath.Path(path).write_bytes(page.encode("utf-8", "replace"))


def _picture(results: Mapping[str, Any]) -> Markup:
    dots = [
        Dot(arm["name"], _kind(arm), arm["gain"]["mrr"])
        for arm in results["arms"]
        if "mrr" in arm["gain"]
    ]
    title = "Gain in MRR over the base tower, by arm, with 95 % intervals"
    return dot_plot.dot_plot(title, "gain in MRR at 10", dots)


def _kind(arm: Mapping[str, Any]) -> str:
    return "control" if arm["is_control"] else findings.verdict(arm["gain"]["mrr"])


def _base_row(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"label": label, "digits": _digits(name), "interval": results["base"].get(name)}
        for name, label in MEASURES.items()
    ]


def _row(arm: Mapping[str, Any]) -> dict[str, Any]:
    cells = [
        {
            "label": label,
            "digits": _digits(name),
            "after": arm["after"].get(name),
            "gain": arm["gain"].get(name),
            "verdict": findings.verdict(arm["gain"].get(name)),
        }
        for name, label in MEASURES.items()
    ]
    return {
        "name": arm["name"],
        "what": arm["what"],
        "kind": "control" if arm["is_control"] else "method",
        "searched": arm["searched"],
        "cells": cells,
        "taught": _taught(arm),
    }


def _digits(name: str) -> int:
    return 3 if name == "mrr" else 1


def _taught(arm: Mapping[str, Any]) -> list[str]:
    """Cells for `_TAUGHT`; "" where there is no number."""
    forms = {
        "entropy_p_lsr": lambda nats: f"{nats:.2f}",
        "agreement": lambda share: f"{100 * share:.0f} %",
        "nearly_uniform": lambda share: f"{100 * share:.0f} %",
    }
    found = arm["diagnostics"]
    cells = [form(found[name]) if name in found else "" for name, form in forms.items()]
    return [*cells, str(arm["kept_step"]), _last_step(arm)]


def _last_step(arm: Mapping[str, Any]) -> str:
    """What training did by its last step, whichever was kept."""
    before, last = arm["validation_mrr_before"], arm["validation_mrr_at_last_step"]
    if before is None or last is None:
        return ""
    return f"{last:.3f} ({findings.signed(last - before, 3)})"


def _answers(answers: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if answers is None:
        return None
    rows = [
        {
            "label": label,
            "base": answers["base"][name],
            "after": answers["after"][name],
            "gain": answers["gain"][name],
            "verdict": findings.verdict(answers["gain"][name]),
        }
        for name, label in _ANSWERS.items()
    ]
    return dict(answers) | {"rows": rows}
