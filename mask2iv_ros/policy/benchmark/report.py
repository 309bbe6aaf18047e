"""The benchmark as a table for the terminal and as an HTML page."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.html import (
    Cell,
    Column,
    Row,
    Section,
    card,
    facts,
    film,
    fold,
    link,
    page,
    paragraph,
    table,
    write_value,
)
from mask2iv_ros.evaluation.plots import interval_bars, line_plot
from mask2iv_ros.evaluation.video import write_mp4
from mask2iv_ros.masks import outline
from mask2iv_ros.policy.benchmark.figures import FIGURES, difference, summary
from mask2iv_ros.policy.benchmark.plan import ARMS, MADE, REAL, Plan
from mask2iv_ros.policy.benchmark.results import Result, read_results

_FILMS = 2  # of successes and of failures, per arm and task
_IMAGINED = 4  # films of imagined episodes per task
_RECORDED = ("success", "distance_m", "goal_iou")
_GENERATOR = (
    "What the generator has seen: 160 clips of each of its training tasks from Meta-World, from other views, in other "
    "colours and under other light, and none of the scenes of this benchmark. It has thus seen the same arm, the same "
    "objects and the same scripted experts at work; a lab's own robot would be further from what it knows."
)
_MEASURE = (
    "Every policy is trained by lerobot-train with the same gradient steps, batch size, network and options, and tried "
    "by lerobot-eval in a fresh process on the same scenes, none of which is in any dataset. Scenes that the "
    "scripted expert fails are left out for all. Intervals are 95 % percentile intervals over training seeds and "
    "scenes, both drawn with replacement; with three training seeds they are rough."
)


def in_words(plan: Plan, results: Sequence[Result]) -> str:
    """Return the table of success and of differences to `real`, for a terminal or a README."""
    lines = [
        "| task | arm | episodes | success, % | less `real` | placed, % | final distance, cm | goal IoU |",
        "|---" * 8 + "|",
    ]
    for title, tasks in _groups(plan):
        for arm in _arms(plan):
            cells = [_told(summary(results, arm, tasks, name), name) for name in FIGURES]
            apart = None if arm == REAL else difference(results, arm, tasks, "success")
            less = "" if apart is None else _told(apart.mean, "success") + (" *" if apart.decided else "")
            episodes = _episodes(results, arm, tasks)
            lines.append(f"| {title} | {arm} | {episodes} | {cells[0]} | {less} | {' | '.join(cells[1:])} |")
    return "\n".join([*lines, "", "\\* the 95 % interval leaves zero out"])


def write_report(plan: Plan) -> Path:
    """Write `report.html`, the films it shows and `episodes.csv` from the results that there are.

    Raises:
        Refused: there are none, or one cannot be read.
    """
    results = read_results(plan)
    if not results:
        raise Refused(f"{plan.out} has no results of this benchmark; run it without --report first")
    shown = plan.out / "films"
    shutil.rmtree(shown, ignore_errors=True)
    shown.mkdir(parents=True)
    _write_csv(plan.out / "episodes.csv", results)
    (plan.out / "table.md").write_text(in_words(plan, results) + "\n")
    sections = [
        Section("What was measured", list(_head(plan, results))),
        Section("Success", list(_success(plan, results))),
        Section("Learning curves", list(_curves(plan, results))),
        Section("What the policies do", list(_policy_films(plan, results, shown))),
        Section("What was imagined", list(_imagined_films(plan, shown))),
        Section("Every run", [_every_run(results), paragraph(link("episodes.csv", "Every episode, as CSV."))]),
    ]
    path = plan.out / "report.html"
    path.write_text(page("Policies from demonstrations and imagined episodes", [one for one in sections if one.parts]))
    return path


def _head(plan: Plan, results: Sequence[Result]) -> Iterator[Markup]:
    yield paragraph(_MEASURE)
    yield facts(
        {arm: ARMS[arm] for arm in plan.arms}
        | {
            one.name: f"{one.pattern}, {'alone' if one.alone else 'merged with the demonstrations'}"
            for one in plan.extra
        }
    )
    yield facts(
        {
            "demonstrations": plan.demonstrations,
            "gradient steps": f"{plan.steps} of {plan.batch} samples",
            "scenes": f"{plan.episodes} per policy",
            "training seeds": ", ".join(map(str, plan.seeds)),
            "further options": " ".join(plan.options) or "none",
            "runs": f"{len(results)} of {len(plan.runs)}",
            "CPU time": f"{sum(_seconds(one) for one in results) / 3600:.1f} h in all",
        }
    )
    if any(arm in plan.arms for arm in MADE):
        yield paragraph(_GENERATOR)


def _success(plan: Plan, results: Sequence[Result]) -> Iterator[Markup]:
    rows, apart_rows = [], []
    for title, tasks in _groups(plan):
        for arm in _arms(plan):
            cells = [summary(results, arm, tasks, name) for name in FIGURES]
            rows.append(Row(arm, [_episodes(results, arm, tasks), *cells], title, strong=arm in MADE))
            if arm != REAL:
                apart_rows.append(Row(arm, [_apart(results, arm, tasks, name) for name in FIGURES], title))
    yield table([Column("episodes", digits=0), *FIGURES.values()], rows, "arm")
    for name, column in FIGURES.items():
        groups = {
            title: {arm: summary(results, arm, tasks, name) for arm in _arms(plan)} for title, tasks in _groups(plan)
        }
        yield interval_bars(f"{column.title}, {column.unit}".strip(", "), column, groups)
    if apart_rows:
        yield paragraph("Less the arm `real`, on the same scenes with the same training seeds:")
        yield table(list(FIGURES.values()), apart_rows, "arm", mark_best=False)


def _curves(plan: Plan, results: Sequence[Result]) -> Iterator[Markup]:
    yield paragraph("The training loss tells how well an arm's own dataset is fitted, not how well the task is done.")
    for task in plan.tasks:
        series = {}
        for arm in _arms(plan):
            runs = [one.training["losses"] for one in results if (one.run.task, one.run.arm) == (task, arm)]
            by_step: dict[int, list[float]] = {}
            for step, loss in (pair for losses in runs for pair in losses):
                by_step.setdefault(step, []).append(loss)
            series[arm] = [(s, (float(np.mean(v)), min(v), max(v))) for s, v in sorted(by_step.items())]
        yield line_plot(
            f"{task}: mean over seeds, least and most",
            Column("gradient step", digits=0),
            Column("training loss (L1)"),
            series,
            marked=False,
        )


def _policy_films(plan: Plan, results: Sequence[Result], shown: Path) -> Iterator[Markup]:
    yield paragraph(
        "The goal is outlined in white; a green bar on top tells that it was reached. Of the first ten scenes, "
        f"the first {_FILMS} successes and failures of every arm's first seed."
    )
    for result in results:
        run = result.run
        if run.seed != plan.seeds[0]:
            continue
        parts, left = [], {1.0: _FILMS, 0.0: _FILMS}
        for seed, success in sorted(result.values("success").items()):
            source = plan.result(run).with_suffix("") / f"{seed}.mp4"
            if left[success] and source.is_file():
                left[success] -= 1
                name = f"{run.name}-{seed}.mp4"
                shutil.copyfile(source, shown / name)
                parts.append(film(f"films/{name}", f"scene {seed}: {'reached' if success else 'not reached'}"))
        if parts:
            yield card(f"{run.task}, {run.arm}", *parts)


def _imagined_films(plan: Plan, shown: Path) -> Iterator[Markup]:
    for task, arm in [(task, arm) for task in plan.tasks for arm in MADE if arm in plan.arms]:
        source = plan.source(task, arm)
        if not source.is_dir():
            yield paragraph(f"{task}: the dataset of the arm {arm} is not on this machine.")
            continue
        dataset, parts = LabelledDataset.open(source), []
        for one in dataset.episodes[:_IMAGINED]:
            episode, name = dataset.read(one.index), f"{arm}-{task}-{one.index}.mp4"
            frames = episode.video
            if episode.goal_mask is not None:
                frames = np.stack([outline(frame, episode.goal_mask, (255, 255, 255)) for frame in frames])
            write_mp4(shown / name, frames.repeat(3, axis=1).repeat(3, axis=2), dataset.fps)
            parts.append(film(f"films/{name}", f"episode {one.index}: {one.task}"))
        yield card(f"{task}, {arm}: the first {len(parts)} of {len(dataset.episodes)} imagined episodes", *parts)


def _every_run(results: Sequence[Result]) -> Markup:
    columns = [
        Column("seed", digits=0),
        Column("episodes", digits=0),
        Column("last loss", digits=3),
        *FIGURES.values(),
        Column("CPU time", "s", digits=0),
    ]
    rows = []
    for one in results:
        losses = one.training["losses"]
        means = [summary([one], one.run.arm, [one.run.task], name) for name in FIGURES]
        cells = [one.run.seed, one.training["episodes"], losses[-1][1] if losses else None]
        cells += [None if mean is None else mean[0] for mean in means]
        rows.append(Row(one.run.arm, [*cells, _seconds(one)], one.run.task))
    rows.sort(key=lambda row: row.group)
    return fold(f"All {len(rows)} runs", table(columns, rows, "arm", mark_best=False))


def _write_csv(path: Path, results: Sequence[Result]) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["task", "arm", "training_seed", "scene", *_RECORDED])
        for one in results:
            for episode in one.evaluation["episodes"]:
                figures = [float(episode[name]) for name in _RECORDED]
                rows.writerow([one.run.task, one.run.arm, one.run.seed, episode["scene"], *figures])


def _apart(results: Sequence[Result], arm: str, tasks: Sequence[str], figure: str) -> Cell:
    found = difference(results, arm, tasks, figure)
    if found is None:
        return Cell(None)
    better = (found.mean[0] < 0) if FIGURES[figure].better == "lower" else (found.mean[0] > 0)
    _, interval = write_value(found.mean, FIGURES[figure].digits)
    tone = ("good" if better else "bad") if found.decided else ""
    return Cell(found.mean, f"{interval}\nbetter on {found.better}, worse on {found.worse} of {found.pairs}", tone)


def _groups(plan: Plan) -> list[tuple[str, tuple[str, ...]]]:
    each = [(task, (task,)) for task in plan.tasks]
    return [*each, ("all tasks", plan.tasks)] if len(plan.tasks) > 1 else each


def _arms(plan: Plan) -> list[str]:
    return [*plan.arms, *(one.name for one in plan.extra)]


def _episodes(results: Sequence[Result], arm: str, tasks: Sequence[str]) -> str:
    found = [one.training["episodes"] for one in results if one.run.arm == arm and one.run.task in tasks]
    return " to ".join(str(n) for n in sorted({min(found), max(found)})) if found else "–"


def _seconds(result: Result) -> float:
    return result.training.get("cpu_s", 0.0) + result.evaluation["cpu_s"]


def _told(value: tuple[float, float, float] | None, figure: str) -> str:
    return " ".join(write_value(value, FIGURES[figure].digits)).strip()
