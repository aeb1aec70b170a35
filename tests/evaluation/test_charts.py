import re
from xml.etree import ElementTree

import pytest

from radit_jax.evaluation import charts


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.0, 43.0], (0, 20, 40, 60)),
        ([-4.0, 8.0], (-5, 0, 5, 10)),
        ([0.612, 0.671], (0.6, 0.62, 0.64, 0.66, 0.68)),
        ([0.0, 100.0], (0, 25, 50, 75, 100)),
    ],
)
def test_scale_is_round_and_holds_its_values(values, ticks):
    scale = charts.Scale.around(values)
    assert scale.ticks == pytest.approx(ticks)
    assert (scale.low, scale.high) == (scale.ticks[0], scale.ticks[-1])


@pytest.mark.parametrize("value", [0.0, 3.0, -2.0])
def test_scale_of_one_value_has_width(value):
    scale = charts.Scale.around([value, value])
    assert scale.low < value < scale.high


def test_mark_starts_at_zero_on_either_side():
    scale = charts.Scale(-20.0, 60.0, (-20.0, 60.0))
    gain = scale.mark({"value": 20.0, "low": 12.0, "high": 28.0})
    assert (gain.zero, gain.bar_left, gain.bar_width) == (25.0, 25.0, 25.0)
    assert (gain.low, gain.width) == (40.0, 20.0)
    loss = scale.mark({"value": -12.0, "low": -20.0, "high": -4.0})
    assert (loss.bar_left, loss.bar_width) == (10.0, 15.0)


def test_line_of_skips_missing_and_non_finite_values():
    records = [
        {"step": 0, "validation_loss": 3.0},
        {"step": 1, "loss": 2.0},
        {"step": 2, "loss": float("nan")},
        {"step": 3, "loss": None},
        {"step": 4, "loss": 1.0},
    ]
    line = charts.line_of(records, "loss", "training", "base")
    assert line.points == ((1.0, 2.0), (4.0, 1.0))


def test_long_lines_are_averaged_and_keep_their_mean():
    records = [{"step": i, "loss": float(i % 7)} for i in range(1000)]
    points = charts.line_of(records, "loss", "training", "base").points
    assert len(points) == 200
    assert sum(y for _, y in points) / 200 == pytest.approx(
        sum(record["loss"] for record in records) / 1000
    )


def test_line_chart_is_well_formed_and_rings_the_best():
    line = charts.Line(
        "<b>", "tuned", ((0.0, 3.0), (10.0, 1.5), (20.0, 2.0)), dots=True
    )
    svg = charts.line_chart('loss "<i>"', [line], best="min")
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"] == 'loss "<i>"'
    ring = root.find("circle[@class='ring tuned']")
    dots = root.findall("circle[@class='dot tuned']")
    assert ring.attrib["cx"] == dots[1].attrib["cx"]
    assert root.find("text[@class='best']").text == "1.5"
    assert float(dots[0].attrib["cy"]) < float(dots[2].attrib["cy"])


def test_line_chart_stays_inside_its_picture():
    line = charts.Line("a", "base", tuple((float(i), float(i**2)) for i in range(50)))
    svg = charts.line_chart("a", [line])
    numbers = re.search(r'points="([^"]*)"', svg).group(1).replace(",", " ").split()
    xs, ys = [float(x) for x in numbers[::2]], [float(y) for y in numbers[1::2]]
    assert 0 <= min(xs) < max(xs) <= 344
    assert 0 <= min(ys) < max(ys) <= 196


def test_line_chart_of_one_point_and_of_none():
    assert "circle" in charts.line_chart("a", [charts.Line("a", "base", ((0.0, 1.0),))])
    assert charts.line_chart("a", [charts.Line("a", "base", ())]) == ""
