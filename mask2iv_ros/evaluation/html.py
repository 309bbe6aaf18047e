"""What reports are built of: one HTML file that opens from disk, without a server, a network or others' scripts.

    page(title, sections) -> str          the whole document; a `Section` has a title and parts
    table(columns, rows) -> Markup        figures with intervals, the best of every column marked
    interval_bars(title, column, groups)  mean and interval of every series in every group (see `plots`)
    line_plot(title, x, y, series)        lines with bands (see `plots`)
    film(path, words), picture(path, words), link(path, words)     paths relative to the report
    card(title, *parts), fold(title, *parts), facts(pairs), paragraph(text)

Parts are what these functions return. Any other text is escaped wherever it is put, so names from datasets and
checkpoints may hold anything.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from importlib.resources import files
from itertools import groupby
from math import isfinite
from types import ModuleType
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

Interval = tuple[float, float, float]  # mean, low, high
Value = Interval | float | str | None

_NOTHING = "–"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # HTML allows none of them, not even escaped


@dataclass(frozen=True)
class Column:
    """What the figures in a column, or along an axis, are.

    Attributes:
        title: in words.
        unit: of the figures.
        better: "higher" or "lower" where one is; the best figure is then marked.
        digits: shown after the point.
        note: shown when the pointer rests on the title.
    """

    title: str
    unit: str = ""
    better: Literal["", "higher", "lower"] = ""
    digits: int = 2
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """One figure of a table.

    Attributes:
        value: mean with interval, a number, or a text; None and NaN are shown as a dash.
        note: below it, in place of the interval.
        tone: its colour.
    """

    value: Value
    note: str = ""
    tone: Literal["", "good", "bad"] = ""


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        title: in the first column.
        cells: one a column; values alone will do.
        group: rows in a row of the same group stand under its name, and the best are sought among them.
        strong: told from the others.
    """

    title: str
    cells: Sequence[Cell | Value]
    group: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Section:
    """A titled part of a page."""

    title: str
    parts: Sequence[Markup]


@dataclass
class _Shown:
    text: str
    note: str
    tone: str
    measured: bool
    best: bool = field(default=False)


def page(title: str, sections: Sequence[Section]) -> str:
    """Return a whole document, in light or dark as the reader's system is."""
    style, script = ((files(__package__) / "templates" / name).read_text() for name in ("style.css", "play.js"))
    # Only this one script may run: should an escape ever be forgotten, what slips through stays dead.
    digest = b64encode(sha256(script.encode()).digest()).decode()
    text = str(blocks().page(title, sections, Markup(style), Markup(script), digest))
    return _CONTROL.sub("\ufffd", text)


def paragraph(text: str | Markup) -> Markup:
    """Return a paragraph."""
    return blocks().paragraph(text)


def facts(pairs: Mapping[str, object]) -> Markup:
    """Return names and values, for the head of a report."""
    return blocks().facts(pairs.items())


def fold(title: str, *parts: Markup, opened: bool = False) -> Markup:
    """Return parts that a click on the title shows."""
    return blocks().fold(title, parts, opened)


def card(title: str, *parts: Markup) -> Markup:
    """Return parts in a frame."""
    return blocks().card(title, parts)


def film(path: str, words: str) -> Markup:
    """Return a looping video that plays while it is seen."""
    return blocks().film(path, words)


def picture(path: str, words: str) -> Markup:
    """Return a picture that leads to itself in full size."""
    return blocks().picture(path, words)


def link(path: str, words: str) -> Markup:
    """Return a link."""
    return blocks().link(path, words)


def table(columns: Sequence[Column], rows: Sequence[Row], heading: str = "", *, mark_best: bool = True) -> Markup:
    """Return a table.

    Args:
        columns: of the figures.
        rows: each with a cell a column.
        heading: over the rows' titles.
        mark_best: mark the best figure of every column that has a better.
    """
    bodies = []
    for group, members in groupby(rows, key=lambda row: row.group):
        shown = [(row, list(_cells(row, columns))) for row in members]
        for index, column in enumerate(columns if mark_best else ()):
            _mark_best([cells[index] for _, cells in shown], column)
        bodies.append((group, [(row, [cell for _, cell in cells]) for row, cells in shown]))
    return blocks().table(heading, columns, bodies, {"higher": "↑", "lower": "↓"})


def mean_of(value: Value) -> float | None:
    """Return the number that a value stands for, if it was measured."""
    number = value[0] if isinstance(value, tuple) else value
    return None if number is None or isinstance(number, str) or not isfinite(number) else float(number)


def write_value(value: Value, digits: int = 2) -> tuple[str, str]:
    """Return a value in words and its interval, empty if it has none."""
    if isinstance(value, str):
        return value, ""
    mean = mean_of(value)
    if mean is None:
        return _NOTHING, ""
    text = _number(mean, digits)
    if isinstance(value, tuple) and isfinite(value[1]) and isfinite(value[2]) and value[1] < value[2]:
        return text, f"[{_number(value[1], digits)}, {_number(value[2], digits)}]"
    return text, ""


def _cells(row: Row, columns: Sequence[Column]) -> Iterator[tuple[float | None, _Shown]]:
    for cell, column in zip(row.cells, columns, strict=True):
        one = cell if isinstance(cell, Cell) else Cell(cell)
        text, interval = write_value(one.value, column.digits)
        mean = mean_of(one.value)
        yield mean, _Shown(text, one.note or interval, one.tone, measured=mean is not None)


def _mark_best(cells: Sequence[tuple[float | None, _Shown]], column: Column) -> None:
    measured = [mean for mean, _ in cells if mean is not None]
    if column.better and len(measured) > 1:
        best = max(measured) if column.better == "higher" else min(measured)
        for mean, shown in cells:
            # Those that read the same are equally good to who reads.
            shown.best = mean is not None and shown.text == _number(best, column.digits)


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("mask2iv_ros.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def blocks() -> ModuleType:
    """Return the macros of the templates, as functions."""
    return _templates().get_template("blocks.html").module
