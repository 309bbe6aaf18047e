import math

import pytest

from mask2iv_ros.evaluation.html import Column
from mask2iv_ros.evaluation.plots import interval_bars, line_plot

from .html_reading import Element, read

PSNR = Column("PSNR", "dB", "higher")


def numbers(element: Element, *names: str) -> list[float]:
    return [float(element.attributes[name]) for name in names]


def test_intervals_stand_where_the_axis_says():
    groups = {
        "push": {"ours": (20.0, 18.0, 24.0), "nearest": (14.0, 13.0, 15.0)},
        "slide": {"nearest": 12.0, "ours": "not measured", "still": math.nan},
    }
    found = read(interval_bars("By task", PSNR, groups))
    (plot,) = found.all("svg", role="img")
    assert found.all("ul")[0].text == "ours nearest still"
    ticks = {float(tick.text): float(tick.attributes["x"]) for tick in plot.all("text") if tick.text.isdigit()}
    (a, at_a), (b, at_b) = min(ticks.items()), max(ticks.items())
    scale = (at_b - at_a) / (b - a)
    whiskers = [numbers(line, "x1", "x2") for line in plot.all("line") if line.attributes["class"] == "whisker"]
    wanted = [(18, 24), (13, 15), (12, 12)]
    assert whiskers == [pytest.approx([at_a + scale * (end - a) for end in ends], abs=0.2) for ends in wanted]
    (circle,) = plot.all("circle")
    assert float(circle.attributes["cx"]) == pytest.approx(at_a + scale * (20 - a), abs=0.2)
    titles = [title.text for title in plot.all("title")]
    assert "push, ours: 20.00 [18.00, 24.00] dB" in titles
    assert "slide, nearest: 12.00 dB" in titles
    assert "PSNR, dB (higher is better)" in plot.text


def test_everything_stays_inside_the_picture():
    groups = {f"task {n} " + "x" * 60: {"a": (n * 1e3, n * 1e3 - 50, n * 1e3 + 400)} for n in range(12)}
    (plot,) = read(interval_bars("By task", Column("FVD"), groups)).all("svg", role="img")
    _, _, width, height = map(float, plot.attributes["viewbox"].split())
    for line in plot.all("line"):
        x1, x2, y1, y2 = numbers(line, "x1", "x2", "y1", "y2")
        assert 0 <= x1 <= x2 <= width
        assert 0 <= y1 <= y2 <= height
    middles = [text for text in plot.all("text") if text.attributes["class"] == "name"]
    assert len(middles) == 12
    assert all("…" in text.text and "x" * 60 in text.all("title")[0].text for text in middles)


def test_a_line_goes_through_its_points_with_a_band():
    curve = [(0, (1.0, 0.5, 1.5)), (10, (2.0, 1.5, 2.5)), (5, math.nan), (20, 3.0)]
    found = read(line_plot("Curve", Column("step"), PSNR, {"ours": curve, "theirs": [(0, 0.5), (20, 0.6)]}))
    ours, theirs = found.all("polyline")
    points = [tuple(map(float, point.split(","))) for point in ours.attributes["points"].split()]
    assert len(points) == 3
    assert (points[1][0] - points[0][0]) * 2 == pytest.approx(points[2][0] - points[0][0], abs=0.3)
    assert points[0][1] - points[1][1] == pytest.approx(points[1][1] - points[2][1], abs=0.3)
    assert len(theirs.attributes["points"].split()) == 2
    (band,) = found.all("polygon")
    assert len(band.attributes["points"].split()) == 6
    assert len(found.all("svg", role="img")[0].all("circle")) == 3
    bare = read(line_plot("Curve", Column("step"), PSNR, {"ours": curve}, marked=False))
    assert not bare.all("svg", role="img")[0].all("circle")


def test_a_single_value_has_an_axis_too():
    found = read(interval_bars("One", PSNR, {"all": {"ours": 7.0}}))
    assert any(text.text.startswith("7") for text in found.all("text"))
    assert read(line_plot("One", Column("step"), PSNR, {"ours": [(3, 0.0)]})).all("polyline")


def test_nothing_measured_is_said():
    assert "FVD: not measured." in interval_bars("FVD", Column("FVD"), {"all": {"ours": "not measured: x"}})
    assert "Loss: not measured." in line_plot("Loss", Column("step"), PSNR, {"ours": [(0, None)]})


def test_names_are_text():
    hostile = "</svg><script>alert(1)</script>"
    for plot in (
        interval_bars(hostile, Column(hostile), {hostile: {hostile: 1.0}}),
        line_plot(hostile, Column(hostile), Column(hostile), {hostile: [(0, 1.0)]}),
    ):
        assert not read(plot).all("script")
