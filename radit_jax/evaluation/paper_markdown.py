"""A table of the paper with our column beside it, in Markdown.

Lines are drawn one under another, each with its tasks below each other, for ten tasks
with intervals do not fit a page's width. Cells that are empty say by number what it
takes to fill them.
"""

from collections.abc import Mapping
from typing import Any

from radit_jax.evaluation import paper_results
from radit_jax.evaluation.benchmarks.tasks import BENCHMARKS
from radit_jax.evaluation.metrics import Interval

_NONE = "–"
_HEAD = "| task | metric | ours [95 %] | {published} | difference | items | notes |"
_RULE = "|---|---|---:|---:|---:|---:|---|"


def render(results: Mapping[str, Any]) -> str:
    """The table, its differences and what is missing; ends in a line end.

    Args:
      results: of `beside_paper.beside`.
    """
    reasons: dict[str, int] = {}  # → its number
    blocks = [_opening(results)]
    is_known = results["source"] != paper_results.MEMORY
    head = _HEAD.format(published="published" if is_known else "published, unverified")
    blocks += [_line(line, head, reasons) for line in results["lines"]]
    if results["differences"]:
        blocks.append(_differences(results["differences"]))
    if reasons:
        listed = [
            f"{number}. {' '.join(reason.split())}"
            for reason, number in reasons.items()
        ]
        blocks.append("\n".join(["To fill what is missing:", "", *listed]))
    return "\n\n".join(blocks) + "\n"


def _opening(results: Mapping[str, Any]) -> str:
    lines = [
        f"## Table {results['table']}: {results['title']}",
        "",
        f"Percent. Published: LLaMA 65B ({results['source']}). Intervals cover the "
        "drawing of the questions.",
    ]
    if not results["number_is_known"]:
        lines += ["That the paper gives it this number is from memory, unverified."]
    if results["note"]:
        lines += [results["note"]]
    if results["setup"]:
        lines += ["", "What differs from the paper's set-up:", ""]
        lines += [f"- {sentence}" for sentence in results["setup"]]
    return "\n".join(lines)


def _line(line: Mapping[str, Any], head: str, reasons: dict[str, int]) -> str:
    rows = [_cell(cell, reasons) for cell in line["cells"]]
    mean = line["mean"]
    over = f"over {mean['num_filled']} of {mean['num_tasks']} tasks"
    rows.append(_row("mean", "", mean, "", over))
    return "\n".join(
        [f"### {line['system']}, {line['shots']}-shot", "", head, _RULE, *rows]
    )


def _cell(cell: Mapping[str, Any], reasons: dict[str, int]) -> str:
    names = cell["title"], cell["metric"]
    if cell["ours"] is None:
        number = reasons.setdefault(cell["missing"], len(reasons) + 1)
        return _row(*names, cell, _NONE, f"missing: see {number}")
    return _row(*names, cell, f"{cell['num_items']:,}", "; ".join(cell["notes"]))


def _row(title: str, metric: str, cell: Mapping[str, Any], *last: str) -> str:
    ours = _NONE if cell["ours"] is None else _interval(cell["ours"])
    columns = [title, metric, ours, _number(cell["published"])]
    columns += [_number(cell["difference"], "+"), *last]
    return "| " + " | ".join(columns) + " |"


def _differences(differences: list[Mapping[str, Any]]) -> str:
    tasks = [
        name for name in BENCHMARKS if any(name in d["tasks"] for d in differences)
    ]
    titles = [BENCHMARKS[name].title for name in tasks]
    lines = [
        "Paired differences of ours, on the same questions:",
        "",
        "| difference | shots | " + " | ".join(titles) + " |",
        "|---|---:|" + "---:|" * len(tasks),
    ]
    for difference in differences:
        cells = [
            _interval(found, "+") if (found := difference["tasks"].get(task)) else _NONE
            for task in tasks
        ]
        opening = [difference["what"], str(difference["shots"])]
        lines.append("| " + " | ".join(opening + cells) + " |")
    return "\n".join(lines)


def _interval(interval: Interval, sign: str = "") -> str:
    value, low, high = (
        _number(interval[end], sign) for end in ("value", "low", "high")
    )
    return f"{value} [{low}, {high}]"


def _number(value: float | None, sign: str = "") -> str:
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return _NONE if value is None else f"{round(value, 1) + 0.0:{sign}.1f}"
