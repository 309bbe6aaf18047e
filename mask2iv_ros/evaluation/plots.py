"""Plots as SVG inside a page: they scale, turn dark with it and need nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, isfinite, log10
from operator import itemgetter
from typing import NamedTuple

from markupsafe import Markup

from mask2iv_ros.evaluation.html import Column, Value, blocks, mean_of, paragraph, write_value

_WIDTH, _LETTER, _LONGEST = 860, 6.6, 40  # in units of the picture, of a letter's mean width, in letters


class Tick(NamedTuple):
    """A place on an axis."""

    at: float
    text: str


@dataclass
class _Plot:
    title: str
    names: list[str]
    left: float
    right: float
    top: float
    bottom: float
    x_title: str
    x_ticks: list[Tick]
    height: float
    width: float = _WIDTH
    groups: list = field(default_factory=list)
    lines: list = field(default_factory=list)
    y_title: str = ""
    y_ticks: list[Tick] = field(default_factory=list)


class _Axis:
    """Puts numbers on a stretch of the picture."""

    def __init__(self, values: Sequence[float], start: float, end: float):
        low, high = min(values), max(values)
        spare = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
        self._low, self._high = low - spare, high + spare
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        """Return where a number stands."""
        share = (value - self._low) / (self._high - self._low)
        return round(self._start + share * (self._end - self._start), 1)

    def ticks(self, most: int) -> list[Tick]:
        """Return at most so many round numbers on it."""
        rough = (self._high - self._low) / most
        power = 10.0 ** floor(log10(rough))
        step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough)
        digits = max(0, -floor(log10(step) + 1e-9))
        numbers = [step * n for n in range(ceil(self._low / step), floor(self._high / step) + 1)]
        return [Tick(self.at(number), write_value(number, digits)[0]) for number in numbers]


def interval_bars(title: str, column: Column, groups: Mapping[str, Mapping[str, Value]]) -> Markup:
    """Return a plot of means with their intervals.

    Args:
        title: above it.
        column: what is measured.
        groups: by what stands on the left (a task), then by series (a method). What was not measured is left out.
    """
    names = list(dict.fromkeys(name for values in groups.values() for name in values))
    ends = [end for values in groups.values() for value in values.values() for end in _ends(value)]
    if not ends:
        return paragraph(f"{title}: not measured.")
    left = 24 + _LETTER * max(len(_short(name)) for name in groups)
    axis = _Axis(ends, left, _WIDTH - 16)
    drawn, top = [], 6.0
    for group, values in groups.items():
        shown = [(name, value) for name, value in values.items() if mean_of(value) is not None]
        height = 13.0 * max(1, len(shown)) + 12
        marks = []
        for place, (name, value) in enumerate(shown):
            mean, low, high = _ends(value)
            told = " ".join(write_value(value, column.digits)).strip()
            marks.append(
                {
                    "series": names.index(name),
                    "title": f"{group}, {name}: {told} {column.unit}".strip(),
                    "x": axis.at(mean),
                    "low": axis.at(low),
                    "high": axis.at(high),
                    "y": top + 12.5 + 13 * place,
                }
            )
        drawn.append(
            {
                "text": _short(group),
                "title": group,
                "top": top,
                "height": height,
                "middle": top + height / 2,
                "marks": marks,
            }
        )
        top += height
    return blocks().interval_bars(
        _Plot(title, names, left, _WIDTH - 16, 6, top, _words(column), axis.ticks(9), top + 44, groups=drawn)
    )


def line_plot(
    title: str,
    x: Column,
    y: Column,
    series: Mapping[str, Sequence[tuple[float, Value]]],
    *,
    marked: bool = True,
) -> Markup:
    """Return a plot of lines.

    Args:
        title: above it.
        x: what goes to the right.
        y: what goes up.
        series: points by name, from left to right; a value with an interval gets a band.
        marked: draw the points themselves.
    """
    kept = {
        name: [
            (at, _ends(up)) for at, up in sorted(points, key=itemgetter(0)) if isfinite(at) and mean_of(up) is not None
        ]
        for name, points in series.items()
    }
    everything = [point for points in kept.values() for point in points]
    if not everything:
        return paragraph(f"{title}: not measured.")
    left, right, top, bottom = 64, _WIDTH - 16, 26, 316
    across = _Axis([at for at, _ in everything], left, right)
    up = _Axis([end for _, ends in everything for end in ends], bottom, top)
    lines = []
    for index, (name, points) in enumerate(kept.items()):
        middle = [(across.at(at), up.at(mean)) for at, (mean, _, _) in points]
        band = [(across.at(at), up.at(low)) for at, (_, low, _) in points]
        band += [(across.at(at), up.at(high)) for at, (_, _, high) in reversed(points)]
        lines.append(
            {
                "series": index,
                "title": name,
                "points": _path(middle),
                "band": _path(band) if any(low < high for _, (_, low, high) in points) else "",
                "marks": middle if marked else [],
            }
        )
    return blocks().line_plot(
        _Plot(
            title,
            list(kept),
            left,
            right,
            top,
            bottom,
            _words(x),
            across.ticks(9),
            bottom + 44,
            lines=lines,
            y_title=_words(y),
            y_ticks=up.ticks(6),
        )
    )


def _ends(value: Value) -> tuple[float, float, float] | tuple[()]:
    """Return mean, low and high, the mean for ends that are not there; nothing for what was not measured."""
    mean = mean_of(value)
    if mean is None:
        return ()
    low, high = (end if isfinite(end) else mean for end in (value[1:] if isinstance(value, tuple) else (mean, mean)))
    return mean, low, high


def _words(column: Column) -> str:
    unit = f", {column.unit}" if column.unit else ""
    better = f" ({column.better} is better)" if column.better else ""
    return f"{column.title}{unit}{better}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)
