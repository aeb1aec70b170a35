"""A picture of scores at a few named places, such as k: lines, dots and intervals.

Inline SVG in the manner of `charts`: colours are CSS classes, so they follow light and
dark mode.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from radit_jax.evaluation.charts import Scale
from radit_jax.evaluation.metrics import Interval

_WIDTH, _HEIGHT = 344, 196  # in CSS pixels at full size
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 14, 14, 34  # margins around the plot
_APART = 5  # pixels between the intervals of two lines at one place


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """One line; `kind` is its CSS class."""

    label: str
    kind: str
    points: Mapping[str, Interval]  # by place


def category_plot(
    title: str, unit: str, places: Sequence[str], series: Sequence[Series]
) -> Markup:
    """Draws every line over the places; an empty Markup when no line has points.

    Args:
      title: what a screen reader says of the picture.
      unit: of the places, written under their axis.
      places: from left to right, evenly spaced; a line may lack some.
      series: drawn in this order, the last on top.

    Returns:
      An `<svg>` element; labels are escaped.
    """
    series = [one for one in series if one.points]
    if not series:
        return Markup()
    tops = [point["high"] for one in series for point in one.points.values()]
    scale = Scale.around([0.0, *tops, 10.0])
    parts = [_axes(places, scale, unit)]
    for number, one in enumerate(series):
        shift = _APART * (number - (len(series) - 1) / 2)
        parts.append(_line(one, places, scale, shift))
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(_WIDTH, _HEIGHT, title, Markup("").join(parts))


def _x(places: Sequence[str], place: str) -> float:
    width = (_WIDTH - _LEFT - _RIGHT) / len(places)
    return round(_LEFT + width * (places.index(place) + 0.5), 1)


def _y(value: float, scale: Scale) -> float:
    plot = _HEIGHT - _TOP - _BOTTOM
    return round(_TOP + plot * (1 - scale.percent(value) / 100), 1)


def _axes(places: Sequence[str], scale: Scale, unit: str) -> Markup:
    parts = []
    for tick in scale.ticks:
        y = _y(tick, scale)
        grid = (
            '<path class="grid" d="M{} {}H{}"/><text x="{}" y="{}" class="y">{}</text>'
        )
        where = (_LEFT, y, _WIDTH - _RIGHT, _LEFT - 7, y + 3.5)
        parts.append(Markup(grid).format(*where, f"{tick:g}"))
    text = '<text x="{}" y="{}" class="{}">{}</text>'
    for place in places:
        where = (_x(places, place), _HEIGHT - _BOTTOM + 16, "x")
        parts.append(Markup(text).format(*where, place))
    where = (_WIDTH - _RIGHT, _HEIGHT - 4, "axis")
    parts.append(Markup(text).format(*where, unit))
    return Markup("").join(parts)


def _line(one: Series, places: Sequence[str], scale: Scale, shift: float) -> Markup:
    found = [
        (round(_x(places, place) + shift, 1), one.points[place])
        for place in places
        if place in one.points
    ]
    path = " ".join(f"{x},{_y(point['value'], scale)}" for x, point in found)
    parts = [Markup('<polyline class="line {}" points="{}"/>').format(one.kind, path)]
    dot = (
        '<path class="between {}" d="M{} {}V{}"/>'
        '<circle class="dot {}" cx="{}" cy="{}" r="3"/>'
    )
    for x, point in found:
        value, low, high = (_y(point[end], scale) for end in ("value", "low", "high"))
        parts.append(Markup(dot).format(one.kind, x, low, high, one.kind, x, value))
    return Markup("").join(parts)
