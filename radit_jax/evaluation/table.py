"""The results as plain text, at most 100 columns wide, ASCII: for any terminal."""

from radit_jax.evaluation.metrics import Interval

_METRICS = {"em": "EM", "f1": "F1", "contains": "contains"}
_MAX_NAME = 16  # characters of a system's name


def render_table(results: dict) -> str:
    """Systems, paired differences and retrievers, each value with its interval.

    Args:
      results: as in `results.json`; see `report.write_report`.

    Returns:
      Lines joined by line ends, without a last one.
    """
    passages = f"{results['num_chunks']} passages each"
    title = f"{results['num_questions']} questions, {passages}; percent [95 % interval]"
    blocks = [_systems(results), _differences(results), _retrievers(results)]
    return "\n\n".join(
        [title, *(_aligned(block) for block in blocks if len(block) > 1)]
    )


def _systems(results: dict) -> list[list[str]]:
    rows = [["system", "LM", "retriever", *_METRICS.values()]]
    for system in results["systems"]:
        names = [_short(system["name"]), system["lm"], system["retriever"]]
        rows.append(names + [_cell(system.get(metric)) for metric in _METRICS])
    return rows


def _differences(results: dict) -> list[list[str]]:
    rows = [["paired difference", *_METRICS.values()]]
    for difference in results.get("differences") or []:
        cells = [_cell(difference.get(metric), sign="+") for metric in _METRICS]
        rows.append([_short(difference["what"], 2 * _MAX_NAME), *cells])
    return rows


def _retrievers(results: dict) -> list[list[str]]:
    """A row a metric, so that any number of them stays narrow."""
    measured = {name: m for name, m in (results.get("retriever") or {}).items() if m}
    columns = [
        (name, measured[name], "") for name in ("base", "tuned") if name in measured
    ]
    if results.get("retriever_difference"):
        columns.append(("tuned - base", results["retriever_difference"], "+"))
    rows = [["retriever", *(name for name, _, _ in columns)]]
    first = columns[0][1] if columns else {}
    for metric in (name for name in first if name == "mrr" or "@" in name):
        digits = 3 if metric == "mrr" else 1
        cells = [_cell(m.get(metric), digits, sign) for _, m, sign in columns]
        rows.append(["MRR (0 to 1)" if metric == "mrr" else metric, *cells])
    return rows


def _cell(interval: Interval | None, digits: int = 1, sign: str = "") -> str:
    if interval is None:
        return "-"
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    ends = {end: round(interval[end], digits) + 0.0 for end in ("value", "low", "high")}
    low, high = (f"{ends[end]:.{digits}f}" for end in ("low", "high"))
    return f"{ends['value']:{sign}.{digits}f} [{low}, {high}]"


def _short(name: str, most: int = _MAX_NAME) -> str:
    name = name.encode("ascii", "replace").decode("ascii")
    return name if len(name) <= most else name[: most - 2] + ".."


def _aligned(rows: list[list[str]]) -> str:
    """Columns of equal width: text to the left, and a rule under the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    rule = "-" * max(len(line.rstrip()) for line in lines)
    return "\n".join([lines[0].rstrip(), rule, *(line.rstrip() for line in lines[1:])])
