"""A picture of differences: a dot and its interval in each row, and a line at zero.

Inline SVG in the manner of `charts`: colours are CSS classes, so they follow light and
dark mode.
"""

import dataclasses
from collections.abc import Sequence

from markupsafe import Markup

from radit_jax.evaluation.charts import Scale
from radit_jax.evaluation.metrics import Interval

_WIDTH, _ROW = 420, 21  # of the picture, and height of a row, in CSS pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 136, 14, 10, 34  # margins around the plot
_MAX_LABEL = 20  # characters that fit to the left


@dataclasses.dataclass(frozen=True, slots=True)
class Dot:
    """One row; `kind` is its CSS class."""

    label: str
    kind: str
    interval: Interval


def dot_plot(title: str, unit: str, dots: Sequence[Dot]) -> Markup:
    """Draws the rows from top to bottom; an empty Markup for none.

    Args:
      title: what a screen reader says of the picture.
      unit: of the axis, written under it.
      dots: their intervals share the axis, which has zero.

    Returns:
      An `<svg>` element; labels are escaped.
    """
    if not dots:
        return Markup()
    ends = [dot.interval[end] for dot in dots for end in ("value", "low", "high")]
    scale = Scale.around([0.0, *ends])
    height = _TOP + _ROW * len(dots) + _BOTTOM
    parts = [_axis(scale, height, unit)]
    parts += [_row(dot, scale, i) for i, dot in enumerate(dots)]
    return Markup(
        '<svg class="chart dots" viewBox="0 0 {} {}" role="img" aria-label="{}">{}'
        "</svg>"
    ).format(_WIDTH, height, title, Markup("").join(parts))


def _x(value: float, scale: Scale) -> float:
    return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * scale.percent(value) / 100, 1)


def _axis(scale: Scale, height: int, unit: str) -> Markup:
    bottom, parts = height - _BOTTOM, []
    for tick in scale.ticks:
        x = _x(tick, scale)
        kind = "zero" if tick == 0 else "grid"
        line = '<path class="{}" d="M{} {}V{}"/><text x="{}" y="{}" class="x">{}</text>'
        label = f"{tick:g}".replace("-", "−")
        where = (kind, x, _TOP, bottom, x, bottom + 15, label)
        parts.append(Markup(line).format(*where))
    text = '<text x="{}" y="{}" class="axis">{}</text>'
    parts.append(Markup(text).format(_WIDTH - _RIGHT, height - 4, unit))
    return Markup("").join(parts)


def _row(dot: Dot, scale: Scale, number: int) -> Markup:
    y = _TOP + _ROW * (number + 0.5)
    value, low, high = (
        _x(dot.interval[end], scale) for end in ("value", "low", "high")
    )
    row = (
        '<g class="{}"><title>{}</title><text x="{}" y="{}" class="row">{}</text>'
        '<path class="between" d="M{} {}H{}"/><circle cx="{}" cy="{}" r="4"/></g>'
    )
    return Markup(row).format(
        *(dot.kind, dot.label, _LEFT - 9, y + 4, _short(dot.label)),
        *(low, y, high, value, y),
    )


def _short(label: str) -> str:
    return label if len(label) <= _MAX_LABEL else label[: _MAX_LABEL - 1] + "…"
