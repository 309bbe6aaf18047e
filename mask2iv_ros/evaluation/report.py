"""The report of an evaluation: one folder with a page, films and contact sheets, to open from disk."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from math import isnan
from pathlib import Path

from markupsafe import Markup

from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.cases import RANKED_BY, Case, by_chance, by_rank, rank
from mask2iv_ros.evaluation.claims import Claim
from mask2iv_ros.evaluation.comparison import comparison_film, comparison_sheet
from mask2iv_ros.evaluation.figures import KINDS, Kind, figure_named, in_order
from mask2iv_ros.evaluation.html import (
    Cell,
    Column,
    Row,
    Section,
    Value,
    card,
    facts,
    film,
    fold,
    link,
    page,
    paragraph,
    picture,
    table,
    write_value,
)
from mask2iv_ros.evaluation.measure import CHAINED, GUIDED, Measured
from mask2iv_ros.evaluation.paired import difference
from mask2iv_ros.evaluation.plots import interval_bars, line_plot
from mask2iv_ros.evaluation.sheet import write_png
from mask2iv_ros.evaluation.video import write_mp4

Methods = Mapping[str, Mapping[str, Value]]

OURS = (GUIDED, CHAINED, "stage 1")
REPEAT = "repeat first frame"
PLOTTED = ("psnr_foreground", "lpips", "iou_object", "iou_object_last", "iou_interactor")
_NOTE = (
    "Frame 0 is given and never scored. Intervals are 95 % bootstrap intervals of the mean over clips. The best figure "
    "of a column is marked among the methods that were given the same."
)


def write_report(
    out: Path,
    measured: Sequence[Measured],
    summary: Mapping[str, Methods],
    about: Mapping[str, object],
    claimed: Sequence[Claim] = (),
    sampled: int = 8,
    seed: int = 0,
) -> Path:
    """Write `report.html`, `clips.csv` and the folder `media` into `out`, which may exist.

    Films and sheets are made for the clips that are shown alone, one after the other.

    Args:
        out: folder.
        measured: of every clip.
        summary: figures by task ("all" first), method and name: mean with interval, or a text that says why there
            is none.
        about: what was measured, in words, for the head.
        claimed: what the evaluation is read for, shown first.
        sampled: clips that are shown by chance, beside the best, the median and the worst of every task.
        seed: of that chance.

    Returns:
        The page.

    Raises:
        Refused: the folder cannot be written to.
    """
    cases = rank(measured)
    try:
        (out / "media").mkdir(parents=True, exist_ok=True)
        sections = [
            Section("What was measured", [facts(about), paragraph(_NOTE)]),
            *([Section("In short", [_claims(claimed)])] if claimed else []),
            Section("Clip by clip", list(_differences(measured))),
            Section("Overall", list(_tables(summary["all"], KINDS))),
            Section("By task", list(_by_task(summary, measured))),
            Section("Best, median and worst", list(_ranked_cases(cases, out))),
            Section("At random", list(_random_cases(cases, out, sampled, seed))),
            Section("Every clip", list(_every_clip(cases, out))),
            Section("What the figures are", [_glossary(summary)]),
        ]
        report = out / "report.html"
        text = page(f"{about.get('checkpoint', 'a checkpoint')}: imagined and true", sections)
        report.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise Refused(f"{out} cannot be written: {error.strerror}; expected a folder with room") from error
    return report


def _claims(claimed: Sequence[Claim]) -> Markup:
    columns = [Column("mean", digits=3), Column("clips", digits=0)]
    return table(columns, [Row(one.text, [one.value, one.clips]) for one in claimed], "what", mark_best=False)


def _differences(measured: Sequence[Measured]) -> Iterator[Markup]:
    """Yield a table a kind: each of ours less each baseline that was given the same."""
    yield paragraph(
        "Each of ours less a baseline on the same clip: mean of the differences, its interval, and on how many clips "
        "ours is the better one. Green where the interval shows ours better, red where it shows it worse."
    )
    methods = measured[0].figures
    rows: dict[Kind, list[tuple[str, str]]] = {"frames": [], "masks": []}
    for ours in OURS:
        mine = _kinds(methods[ours])
        for other in methods:
            given_the_same = _sees_truth(other) == _sees_truth(ours) or other == REPEAT
            if other not in OURS and given_the_same:
                for kind in rows.keys() & mine & _kinds(methods[other]):
                    rows[kind].append((ours, other))
    for kind, pairs in rows.items():
        names = _names_of(kind, methods)
        if pairs:
            columns = [figure_named(name).column for name in names]
            cells = [Row(f"less {b}", [_difference(measured, a, b, n) for n in names], a) for a, b in pairs]
            yield table(columns, cells, KINDS[kind], mark_best=False)


def _difference(measured: Sequence[Measured], ours: str, other: str, figure: str) -> Cell:
    found = difference(measured, ours, other, figure)
    if found is None:
        return Cell(None)
    _, interval = write_value(found.mean, figure_named(figure).column.digits)
    return Cell(found.mean, f"{interval}\nbetter on {found.better} of {found.clips}", found.verdict)


def _tables(methods: Methods, kinds: Collection[Kind] = ("frames", "masks")) -> Iterator[Markup]:
    """Yield a table of methods for every kind of figure that was asked for, and what could be done about gaps."""
    for kind in kinds:
        names = _names_of(kind, methods)
        if not names:
            continue
        rows, advice = [], {}
        for truthful, group in ((True, "given the true masks of every frame"), (False, "given what a robot has")):
            for method, figures in _ours_first(methods).items():
                if _sees_truth(method) == truthful and any(name in figures for name in names):
                    cells = [figures.get(name) for name in names]
                    advice |= {n: v for n, v in zip(names, cells, strict=True) if isinstance(v, str) and ";" in v}
                    # In a cell there is room for the reason alone; what to do about it is said once below.
                    cells = [cell.partition(";")[0] if isinstance(cell, str) else cell for cell in cells]
                    rows.append(Row(method, cells, group if kind == "frames" else "", strong=method in OURS))
        yield table([figure_named(name).column for name in names], rows, KINDS[kind])
        for name, text in advice.items():
            yield paragraph(f"{figure_named(name).column.title}: {text}.")


def _by_task(summary: Mapping[str, Methods], measured: Sequence[Measured]) -> Iterator[Markup]:
    for name in PLOTTED:
        groups = {
            task: {method: figures[name] for method, figures in _ours_first(methods).items() if name in figures}
            for task, methods in summary.items()
        }
        if any(groups.values()):
            column = figure_named(name).column
            yield interval_bars(f"{column.title}, {column.unit}".strip(", "), column, groups)
    for task, methods in summary.items():
        if task != "all":
            count = sum(one.clip.task == task for one in measured)
            yield fold(f"{task}, {count} {'clip' if count == 1 else 'clips'}", *_tables(methods))


def _ranked_cases(cases: Sequence[Case], out: Path) -> Iterator[Markup]:
    yield paragraph(
        "By the foreground PSNR of both stages chained, within every task. Above the frames, below the masks over the "
        "source frame; the goal is outlined in yellow."
    )
    for number, (task, shown) in enumerate(groupby(by_rank(cases), key=lambda case: case.one.clip.task)):
        yield card(task, *(part for case in shown for part in _show(case, out, f"{number:02d}-{_slug(task)}")))


def _random_cases(cases: Sequence[Case], out: Path, count: int, seed: int) -> Iterator[Markup]:
    drawn = by_chance(cases, count, seed)
    yield paragraph(f"{len(drawn)} of {len(cases)} clips, drawn with seed {seed}.")
    for number, case in enumerate(drawn):
        yield card(case.one.clip.task, *_show(case, out, f"{number:02d}"))


def _show(case: Case, out: Path, stem: str) -> Iterator[Markup]:
    """Write a case's film and sheet, and yield what shows them."""
    one, files = case.one, f"media/{stem}-{case.name}"
    write_mp4(out / f"{files}.mp4", comparison_film(one), one.clip.fps)
    write_png(out / f"{files}.png", comparison_sheet(one))
    place = "without a rank" if case.rank is None else f"rank {case.rank} of {case.of}"
    column = figure_named(RANKED_BY).column
    figure = write_value(one.figures[CHAINED][RANKED_BY], column.digits)[0]
    scores = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in sorted(one.chained.scores.items()))
    words = f"{case.name}, {place}: {column.title} {figure} {column.unit}. {one.clip.instruction}"
    yield film(f"{files}.mp4", words)
    yield fold(
        f"{case.name}: contact sheet and figures",
        facts(
            {
                "clip": one.clip.id,
                "instruction": one.clip.instruction,
                "seed of noise": one.chained.seed,
                "scores": scores or "none",
                "verdict": one.chained.verdict or "none",
            }
        ),
        picture(f"{files}.png", f"{one.clip.id}: frames and masks of every method"),
        *_tables(one.figures),
    )


def _every_clip(cases: Sequence[Case], out: Path) -> Iterator[Markup]:
    measured = [case.one for case in cases]
    _write_csv(out / "clips.csv", measured)
    yield paragraph(link("clips.csv", "Every figure of every clip and method, as CSV."))
    column = figure_named(RANKED_BY).column
    reached = {}
    for method, figures in _ours_first(measured[0].figures).items():
        if RANKED_BY in figures:
            values = sorted(v for one in measured if not isnan(v := one.figures[method][RANKED_BY]))
            reached[method] = [(v, 100 * (len(values) - place) / len(values)) for place, v in enumerate(values)]
    share = Column("share of clips that reach it", "%", digits=0)
    yield line_plot(f"How many clips reach a {column.title}", column, share, reached, marked=False)
    names = ["iou_object", "iou_object_last", "iou_interactor"]
    scores = sorted({name for one in measured for name in one.chained.scores})
    columns = [Column("rank", digits=0), column, *(figure_named(n).column for n in names)]
    columns += [Column(name.replace("_", " "), note="A score that travels with the rollout.") for name in scores]
    columns.append(Column("verdict"))
    rows = [
        Row(
            one.clip.id,
            [case.rank, one.figures[CHAINED][RANKED_BY]]
            + [one.figures["stage 1"].get(name) for name in names]
            + [one.chained.scores.get(name) for name in scores]
            + [one.chained.verdict.partition(":")[0] or None],
            one.clip.task,
        )
        for case, one in zip(cases, measured, strict=True)
    ]
    yield fold(f"All {len(rows)} rollouts, best first", table(columns, rows, "clip", mark_best=False))


def _write_csv(path: Path, measured: Sequence[Measured]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="replace") as file:
        rows = csv.writer(file)
        rows.writerow(["task", "seed", "method", "figure", "value"])
        for one in measured:
            for method, figures in one.figures.items():
                rows.writerows([one.clip.task, one.clip.seed, method, name, v] for name, v in figures.items())


def _glossary(summary: Mapping[str, Methods]) -> Markup:
    names = in_order({name for figures in summary["all"].values() for name in figures})
    columns = [figure_named(name).column for name in names]
    return facts({column.title: column.note for column in columns if column.note})


def _ours_first(methods: Methods) -> Methods:
    return {method: methods[method] for method in sorted(methods, key=lambda method: method not in OURS)}


def _names_of(kind: Kind, methods: Methods) -> list[str]:
    names = in_order({name for figures in methods.values() for name in figures})
    return [name for name in names if figure_named(name).kind == kind]


def _kinds(figures: Mapping[str, Value]) -> set[Kind]:
    return {figure_named(name).kind for name in figures}


def _sees_truth(method: str) -> bool:
    """Return whether a method is given masks that a robot would not have; its name says so."""
    return "true masks" in method


def _slug(text: str) -> str:
    """Return a name as a file's: other characters than these would want care in paths and links."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "task"
