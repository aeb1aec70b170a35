"""Drawings of the report: interval marks on a scale, and line charts as inline SVG.

Marks are plain percentages that the page's CSS turns into bars, so they follow the
width of a phone. Colours are CSS classes, so they follow light and dark mode.
"""

import dataclasses
import math
from collections.abc import Sequence

from markupsafe import Markup

from radit_jax.evaluation.metrics import Interval

Point = tuple[float, float]

_WIDTH, _HEIGHT = 344, 196  # of a line chart, in CSS pixels at full size
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 14, 14, 34  # margins around the plot
_MAX_POINTS = 200  # a line keeps; more are averaged in buckets


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """Where a value, its bar and its interval lie on a track, in percent of it."""

    value: float
    bar_left: float
    bar_width: float
    low: float
    width: float  # of the interval
    zero: float


@dataclasses.dataclass(frozen=True, slots=True)
class Scale:
    """A linear axis whose ends are round numbers."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def around(cls, values: Sequence[float], num_ticks: int = 4) -> "Scale":
        """The smallest round axis that holds all the values."""
        low, high = min(values), max(values)
        if low == high:
            low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
        step = _round_step((high - low) / num_ticks)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        ticks = tuple(round(i * step, 12) for i in range(first, last + 1))
        return cls(ticks[0], ticks[-1], ticks)

    def percent(self, value: float) -> float:
        """The place of a value on the axis: 0 at its low end, 100 at its high end."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)

    def mark(self, interval: Interval) -> Mark:
        """The bar from zero to the value, and the interval over it."""
        value, zero = self.percent(interval["value"]), self.percent(0.0)
        low, high = self.percent(interval["low"]), self.percent(interval["high"])
        return Mark(
            value=value,
            bar_left=min(value, zero),
            bar_width=round(abs(value - zero), 2),
            low=low,
            width=round(high - low, 2),
            zero=zero,
        )


def _round_step(step: float) -> float:
    """The next of 1, 2, 2.5, 5 or 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return power * next(m for m in (1, 2, 2.5, 5, 10) if step <= m * power * (1 + 1e-9))


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart; `kind` is its CSS class, and dots are drawn for few."""

    label: str
    kind: str
    points: tuple[Point, ...]
    dots: bool = False


def line_of(
    records: Sequence[dict], field: str, label: str, kind: str, dots: bool = False
) -> Line:
    """The line of one field over `step`; records without a finite value are skipped."""
    points = [
        (float(record["step"]), float(record[field]))
        for record in records
        if record.get(field) is not None and math.isfinite(record[field])
    ]
    return Line(label, kind, tuple(_averaged(points)), dots)


def _averaged(points: list[Point]) -> list[Point]:
    """At most `_MAX_POINTS` points: the means of equal runs of steps."""
    size = -(-len(points) // _MAX_POINTS) if points else 1
    runs = [points[i : i + size] for i in range(0, len(points), size)]
    return [
        tuple(sum(axis) / len(run) for axis in zip(*run, strict=True)) for run in runs
    ]


def line_chart(title: str, lines: Sequence[Line], best: str = "") -> Markup:
    """Draws the lines over their steps; an empty Markup when no line has points.

    Args:
      title: what a screen reader says of the picture.
      lines: drawn in this order, the last on top.
      best: "min" or "max" rings that point of the last line and writes its value.

    Returns:
      An `<svg>` element; labels are escaped.
    """
    lines = [line for line in lines if line.points]
    if not lines:
        return Markup()
    points = [point for line in lines for point in line.points]
    x_scale = Scale.around([0.0, *(x for x, _ in points)], num_ticks=3)
    y_scale = Scale.around([y for _, y in points])
    x_scale = dataclasses.replace(x_scale, high=max(x for x, _ in points) or 1.0)
    parts = [_axes(x_scale, y_scale)]
    parts += [_polyline(line, x_scale, y_scale) for line in lines]
    if best:
        parts.append(_best(lines[-1], best, x_scale, y_scale))
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(_WIDTH, _HEIGHT, title, Markup("").join(parts))


def _place(point: Point, x_scale: Scale, y_scale: Scale) -> Point:
    plot_width, plot_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    x = _LEFT + plot_width * x_scale.percent(point[0]) / 100
    y = _TOP + plot_height * (1 - y_scale.percent(point[1]) / 100)
    return round(x, 1), round(y, 1)


def _axes(x_scale: Scale, y_scale: Scale) -> Markup:
    parts = []
    for tick in y_scale.ticks:
        _, y = _place((0.0, tick), x_scale, y_scale)
        grid = (
            '<path class="grid" d="M{} {}H{}"/><text x="{}" y="{}" class="y">{}</text>'
        )
        where = (_LEFT, y, _WIDTH - _RIGHT, _LEFT - 7, y + 3.5)
        parts.append(Markup(grid).format(*where, f"{tick:g}"))
    for tick in x_scale.ticks:
        if tick <= x_scale.high:
            x, _ = _place((tick, 0.0), x_scale, y_scale)
            text = '<text x="{}" y="{}" class="x">{}</text>'
            parts.append(Markup(text).format(x, _HEIGHT - _BOTTOM + 16, f"{tick:,g}"))
    label = '<text x="{}" y="{}" class="axis">step</text>'
    parts.append(Markup(label).format(_WIDTH - _RIGHT, _HEIGHT - 4))
    return Markup("").join(parts)


def _polyline(line: Line, x_scale: Scale, y_scale: Scale) -> Markup:
    places = [_place(point, x_scale, y_scale) for point in line.points]
    path = " ".join(f"{x},{y}" for x, y in places)
    drawn = Markup('<polyline class="line {}" points="{}"/>').format(line.kind, path)
    dots = places if line.dots or len(places) == 1 else []
    circle = Markup('<circle class="dot {}" cx="{}" cy="{}" r="2.6"/>')
    return drawn + Markup("").join(circle.format(line.kind, x, y) for x, y in dots)


def _best(line: Line, best: str, x_scale: Scale, y_scale: Scale) -> Markup:
    choose = {"min": min, "max": max}[best]
    point = choose(line.points, key=lambda point: point[1])
    x, y = _place(point, x_scale, y_scale)
    anchor = "end" if x > _WIDTH / 2 else "start"
    above = best == "max"
    text_y = max(y - 9, 10) if above else min(y + 17, _HEIGHT - _BOTTOM - 4)
    ring = (
        '<circle class="ring {}" cx="{}" cy="{}" r="5"/>'
        '<text class="best" x="{}" y="{}" text-anchor="{}">{}</text>'
    )
    return Markup(ring).format(line.kind, x, y, x, text_y, anchor, f"{point[1]:.3g}")
