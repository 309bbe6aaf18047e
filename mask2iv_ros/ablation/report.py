"""What an ablation leaves behind: ablation.json, ablation.html, and the same table in words for a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

from markupsafe import Markup

from mask2iv_ros.ablation.compare import Compared, Comparison
from mask2iv_ros.ablation.measure import SPLIT, Results
from mask2iv_ros.ablation.plan import Ablation
from mask2iv_ros.ablation.resample import Interval
from mask2iv_ros.ablation.variants import VARIANTS, Step
from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.figures import figure_named, in_order
from mask2iv_ros.evaluation.html import Cell, Column, Row, Section, facts, page, paragraph, picture, table, write_value
from mask2iv_ros.evaluation.plots import interval_bars
from mask2iv_ros.evaluation.sheet import Strip, contact_sheet, write_png

_TONES = {"agrees": "good", "disagrees": "bad", "undecided": "", "": ""}
_NOTE = (
    "All rows are the same network trained with the same data in the same order, the same noise and for as many steps, "
    "from the same random weights, and measured on the same held-out clips with their true masks. Frame 0 is given and "
    "never scored, but for FVD. Means over clips and seeds; 95 % intervals draw both anew (crossed bootstrap), and "
    "differences are of the same seeds and clips."
)
_PAPER = (
    "The paper's figures are of human hands (HOI4D) at 320 x 512 by a fine-tuned DynamiCrafter: only the order of "
    "the rows can be compared."
)


def as_json(plan: Ablation, results: Results, comparison: Comparison) -> dict[str, Any]:
    """Return everything as JSON would have it."""
    return {
        "about": _about(plan, results) | {"experiment": plan.experiment.as_dict()},
        "not_measured": dict(results.absent),
        "figures": {
            name: {
                key: {"mean": value, "seeds": comparison.seeds[name][key]}
                for key, value in comparison.means[name].items()
            }
            for name in plan.variants
        },
        "difference_to_full": comparison.to_full,
        "steps": [
            {"part": step.part, "before": step.before, "after": step.after}
            | {
                key: {"ours": one.ours, "paper": one.paper, "verdict": one.verdict or None}
                for key, one in figures.items()
            }
            for step, figures in comparison.steps.items()
        ],
        "orders": {
            figure: {"ours": order.ours, "paper": order.paper, "tau": order.tau}
            for figure, order in comparison.orders.items()
        },
        "paper": {
            name: {"title": VARIANTS[name].paper.title} | dict(VARIANTS[name].paper.figures)
            for name in plan.variants
            if VARIANTS[name].paper
        },
    }


def write_reports(plan: Ablation, results: Results, comparison: Comparison) -> Path:
    """Write ablation.json, ablation.html and its contact sheets; return the page.

    Raises:
        Refused: the folder cannot be written to.
    """
    try:
        text = json.dumps(_without_nan(as_json(plan, results, comparison)), indent=1, allow_nan=False)
        (plan.out / "ablation.json").write_text(text + "\n")
        sections = [
            Section("What was compared", [facts(_about(plan, results)), paragraph(_NOTE), *_absent(results)]),
            Section("The rows", [_rows(plan, results, comparison)]),
            Section("Beside the paper's", list(_paper(plan, comparison))),
            Section("What each part does", list(_steps(comparison))),
            Section("Less the full row", list(_to_full(plan, comparison))),
            Section("Seeds", list(_plots(plan, comparison))),
            Section("To look at", list(_sheets(plan, results))),
        ]
        report = plan.out / "ablation.html"
        report.write_text(page("Ablation of stage 2", sections), encoding="utf-8", errors="replace")
    except OSError as error:
        raise Refused(f"{plan.out} cannot be written: {error.strerror}; expected a folder with room") from error
    return report


def in_words(plan: Ablation, results: Results, comparison: Comparison) -> str:
    """Return rows, and steps beside the paper's, as lines for a terminal."""
    figures = _figures(comparison)
    about = _about(plan, results)
    lines = [f"{about['clips']} clips, {about['seeds']} seeds, {about['steps']} steps: mean [95 % interval]"]
    for name in plan.variants:
        cells = "  ".join(f"{key} {_words(key, comparison.means[name][key])}" for key in figures)
        lines.append(f"  {name:16s} {cells}")
    lines += [f"  {figure}: {why}" for figure, why in results.absent.items()]
    if comparison.steps:
        lines.append("what each part does, beside the paper's table")
    for step, compared in comparison.steps.items():
        lines.append(f"  {step.part} ({step.before} -> {step.after})")
        for key in (key for key in figures if key in compared):
            told = " ".join(write_value(compared[key].ours, _difference(key).digits)).strip()
            lines.append(f"    {key:16s} {told}{_beside_paper(key, compared[key])}")
    for figure, order in comparison.orders.items():
        lines.append(f"order by {figure}, best first: {', '.join(order.ours)}")
        lines.append(f"  the paper's: {', '.join(order.paper)}; Kendall's tau {order.tau:.2f}")
    return "\n".join(lines)


def _about(plan: Ablation, results: Results) -> dict[str, object]:
    asked = plan.experiment
    return {
        "clips": len(results.clips),
        "split": SPLIT,
        "tasks": len({clip.task for clip in results.clips}),
        "seeds": plan.seeds,
        "steps": asked.optimiser.steps,
        "batch": asked.optimiser.batch,
        "widths": list(asked.network.widths),
        "size": list(asked.data.size),
        "frames": asked.data.windows.frames,
        "denoising steps": asked.sampling.steps,
        "autoencoder of": plan.base,
    }


def _absent(results: Results) -> Iterator[Markup]:
    for figure, why in results.absent.items():
        yield paragraph(f"{figure_named(figure).column.title}: {why}.")


def _figures(comparison: Comparison) -> list[str]:
    return in_order({key for row in comparison.means.values() for key in row})


def _rows(plan: Ablation, results: Results, comparison: Comparison) -> Markup:
    names = in_order({*_figures(comparison), *results.absent})
    cells = [
        Row(f"{name}: {VARIANTS[name].title}", [comparison.means[name].get(key, "not measured") for key in names])
        for name in plan.variants
    ]
    return table([figure_named(key).column for key in names], cells, "row")


def _paper(plan: Ablation, comparison: Comparison) -> Iterator[Markup]:
    """Yield ours and the paper's figures of every row that both have, and the order of both."""
    names = in_order(set(VARIANTS["full"].paper.figures))
    rows = []
    for name in plan.variants:
        if paper := VARIANTS[name].paper:
            ours = comparison.means[name]
            rows.append(Row(name, [ours.get(key, "not measured") for key in names], "ours"))
            rows.append(Row(paper.title, [paper.figures[key] for key in names], "the paper's"))
    yield paragraph(_PAPER)
    # Grouped, not in turn: the best are marked among rows of one table.
    columns = [figure_named(key).column for key in names]
    yield table(columns, sorted(rows, key=lambda row: row.group != "ours"), "row")
    for figure, order in comparison.orders.items():
        title = figure_named(figure).column.title
        yield paragraph(
            f"By {title}, best first: {', '.join(order.ours)}. By the paper's: {', '.join(order.paper)}. "
            f"Kendall's tau {order.tau:.2f}."
        )


def _steps(comparison: Comparison) -> Iterator[Markup]:
    names = _figures(comparison)
    yield paragraph(
        "The row with a part less the row without it. Beside it the same difference of the paper's rows, green where "
        "ours goes the same way and its interval leaves zero out, red where it goes the other way. The first step is "
        "of two tables of the paper, whose base was told a text too."
    )
    rows = [
        Row(f"{step.part}: {step.after} less {step.before}", [_cell(key, compared.get(key)) for key in names])
        for step, compared in comparison.steps.items()
    ]
    if rows:
        yield table([_difference(key) for key in names], rows, "part", mark_best=False)
    decided = [(step, key, one) for step, row in comparison.steps.items() for key, one in row.items() if one.verdict]
    for verdict in ("agrees", "disagrees", "undecided"):
        found = [_place(step, key) for step, key, one in decided if one.verdict == verdict]
        yield paragraph(f"{verdict.capitalize()} with the paper: {'; '.join(found) or 'nothing'}.")


def _difference(key: str) -> Column:
    """Return what a difference of two rows is: smaller than either figure, so with a digit more."""
    column = figure_named(key).column
    return replace(column, digits=column.digits + 1)


def _place(step: Step, key: str) -> str:
    return f"{step.part} by {figure_named(key).column.title}"


def _cell(key: str, one: Compared | None) -> Cell:
    if one is None:
        return Cell("not measured")
    _, span = write_value(one.ours, _difference(key).digits)
    return Cell(one.ours, f"{span}{_beside_paper(key, one, chr(10))}".strip(), _TONES[one.verdict])


def _beside_paper(key: str, one: Compared, gap: str = "  ") -> str:
    if one.paper is None:
        return ""
    told = write_value(one.paper, _difference(key).digits)[0]
    return f"{gap}paper {told}{': ' + one.verdict if one.verdict else ''}"


def _to_full(plan: Ablation, comparison: Comparison) -> Iterator[Markup]:
    if not comparison.to_full:
        yield paragraph("The full row was not trained.")
        return
    names = _figures(comparison)
    rows = [
        Row(name, [_toned(key, comparison.to_full[name].get(key)) for key in names])
        for name in plan.variants
        if name in comparison.to_full
    ]
    yield paragraph("Green where the row is better than the full one, red where it is worse.")
    yield table([_difference(key) for key in names], rows, "row", mark_best=False)


def _toned(key: str, value: Interval | None) -> Cell:
    if value is None:
        return Cell("not measured")
    better = figure_named(key).column.better
    if value[1] <= 0 <= value[2] or not better or isnan(value[0]):
        return Cell(value)
    return Cell(value, tone="good" if (value[0] > 0) == (better == "higher") else "bad")


def _plots(plan: Ablation, comparison: Comparison) -> Iterator[Markup]:
    """Yield a plot a figure: every row's mean with its interval, and each seed's alone."""
    for key in _figures(comparison):
        column = figure_named(key).column
        groups = {
            name: {"all seeds": comparison.means[name][key]}
            | {f"seed {seed}": value for seed, value in enumerate(comparison.seeds[name][key])}
            for name in plan.variants
            if key in comparison.means[name]
        }
        yield interval_bars(f"{column.title}, {column.unit}".strip(", "), column, groups)


def _sheets(plan: Ablation, results: Results) -> Iterator[Markup]:
    """Write a contact sheet for the first clip of every task, and yield what shows them."""
    folder = plan.out / "sheets"
    folder.mkdir(exist_ok=True)
    yield paragraph("The first clip of every task, by the first seed of every row; below the truth its masks.")
    for place, number in enumerate(results.shown):
        clip = results.clips[number]
        strips = [Strip(f"{clip.id}: truth", clip.video), Strip("truth and true masks", clip.video, clip.labels)]
        strips += [Strip(f"{name}: {VARIANTS[name].title}", results.videos[name][place]) for name in plan.variants]
        path = folder / f"{place:02d}.png"
        write_png(path, contact_sheet(strips))
        yield picture(f"{folder.name}/{path.name}", f"{clip.id}, every row")


def _words(key: str, value: Interval) -> str:
    return " ".join(write_value(value, figure_named(key).column.digits)).strip()


def _without_nan(value: Any) -> Any:
    """Return nested figures with null for what could not be measured: JSON knows no NaN."""
    if isinstance(value, Mapping):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and isnan(value) else value
