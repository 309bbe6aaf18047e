"""The report of a labeller: figures.json, report.html, pictures and the model card, beside its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from mask2iv_ros.actions.measure import Interval, Measured, baselines
from mask2iv_ros.actions.scatter import scatter
from mask2iv_ros.actions.settings import LabellerExperiment
from mask2iv_ros.evaluation.html import Cell, Column, Row, Section, facts, page, paragraph, picture, table, write_value
from mask2iv_ros.evaluation.plots import line_plot
from mask2iv_ros.evaluation.sheet import write_png

if TYPE_CHECKING:
    from mask2iv_ros.actions.labeller import Labeller

OURS, BLIND = "labeller", "without masks"


@dataclass(frozen=True)
class Findings:
    """What a training found out, all on episodes that nothing was learned from or set by.

    Attributes:
        labeller: as written.
        experiment: of its training.
        data: what it learned from.
        episodes: learned from, calibrated on, measured on.
        action: its estimates.
        mean: of the actions learned from.
        without_masks: those of a network without masks, where one was trained.
        state: its estimates of the states, where it makes any.
    """

    labeller: Labeller
    experiment: LabellerExperiment
    data: Path
    episodes: tuple[int, int, int]
    action: Measured
    mean: Sequence[float]
    without_masks: Measured | None
    state: Measured | None

    def figures(self) -> dict[str, dict[str, dict[str, float | Interval]]]:
        """Return figures by method, the labeller first, and column."""
        methods = {OURS: self.action}
        if self.without_masks is not None:
            methods[BLIND] = self.without_masks
        nothing = [np.zeros_like(one) for one in self.action.truth]
        for name, values in baselines(self.action.truth, self.mean).items():
            methods[name] = Measured(self.action.names, self.action.truth, values, nothing)
        return {name: one.figures() for name, one in methods.items()}


def write_report(folder: Path, findings: Findings) -> None:
    """Write `figures.json`, `report.html`, its picture and `README.md` into a folder."""
    figures = findings.figures()
    told = {
        "action": figures,
        "coverage": findings.action.coverage(),
        "state": None if findings.state is None else findings.state.figures(),
        "limits": asdict(findings.labeller.gate.limits),
        "episodes": dict(zip(("learned", "calibrating", "measured"), findings.episodes, strict=True)),
        "source": findings.labeller.source,
    }
    (folder / "figures.json").write_text(json.dumps(_plain(told), indent=1, allow_nan=False) + "\n")
    write_png(folder / "estimates.png", scatter(findings.action))
    (folder / "report.html").write_text(page("Labeller", _sections(findings, figures)))
    (folder / "README.md").write_text(_card(findings, figures))


def _sections(findings: Findings, figures: Mapping[str, Mapping[str, Mapping[str, float | Interval]]]) -> list[Section]:
    labeller, (learned, calibrating, measured) = findings.labeller, findings.episodes
    head = facts(
        {
            "labeller": labeller.source,
            "learned from": f"{learned} episodes of {findings.data.name}",
            "calibrated on": f"{calibrating} others",
            "measured on": f"{measured} others",
            "camera": labeller.settings.camera,
            "fps": labeller.fps,
            "states": "estimated" if labeller.states is not None else "not estimated",
        }
    )
    constant = [labeller.settings.action[column] for column in labeller.actions.constant]
    said = (
        [paragraph(f"Constant in the demonstrations and kept as they are: {', '.join(constant)}.")] if constant else []
    )
    sections = [
        Section("Labeller", [head, *said]),
        Section(
            "Error",
            [
                table(_columns(labeller.settings.action), _rows(figures, "rmse"), "RMSE in the action's unit"),
                table(
                    [Column(name, better="higher", digits=3) for name in labeller.settings.action],
                    _rows(figures, "r2"),
                    "R²",
                ),
                paragraph("“repeat the last” is told the true action of the frame before, which no picture tells."),
            ],
        ),
        Section(
            "Slopes",
            [
                paragraph(
                    "Of the estimate on the truth (below 1: actions too small) and of the truth on the estimate. "
                    "Estimates are stretched on the episodes for calibration until they vary as the truth does; "
                    "both slopes then are the correlation."
                ),
                _slopes(findings, figures),
                picture("estimates.png", "Every action of the episodes measured on: truth to the right, estimate up."),
            ],
        ),
        Section("Deviations", [_coverage(findings.action), _gate(findings)]),
    ]
    if findings.state is not None:
        rows = findings.state.figures()
        cells = [Row(name, [rows[name][key] for key in ("rmse", "r2", "slope", "slope_of_truth")]) for name in rows]
        titles = ("RMSE in its unit", "R²", "slope of the estimate", "slope of the truth")
        sections.append(
            Section("States", [table([Column(one, digits=3) for one in titles], cells), _coverage(findings.state)])
        )
    return sections


def _columns(names: Sequence[str]) -> list[Column]:
    return [Column(name, better="lower", digits=3) for name in names]


def _rows(figures: Mapping[str, Mapping[str, Mapping[str, float | Interval]]], key: str) -> list[Row]:
    return [
        Row(method, [columns[name][key] for name in columns], strong=method == OURS)
        for method, columns in figures.items()
    ]


def _slopes(findings: Findings, figures: Mapping[str, Mapping[str, Mapping[str, float | Interval]]]) -> Markup:
    rows = [
        Row(f"{words}, {method}", [_toned(columns[name][key]) for name in columns])
        for method, columns in figures.items()
        if method in (OURS, BLIND)
        for key, words in (("slope", "estimate on truth"), ("slope_of_truth", "truth on estimate"))
    ]
    return table([Column(name, digits=3) for name in findings.labeller.settings.action], rows)


def _toned(slope: float) -> Cell:
    return Cell(slope, tone="" if np.isnan(slope) else "good" if 0.9 <= slope <= 1.1 else "bad")


def _coverage(measured: Measured) -> Markup:
    series = {name: list(points) for name, points in measured.coverage().items()}
    diagonal = {"as it should be": [(0.0, 0.0), (1.0, 1.0)]}
    return line_plot(
        "How often the truth lies in the interval that should hold it",
        Column("nominal share"),
        Column("observed share"),
        series | diagonal,
    )


def _gate(findings: Findings) -> Markup:
    limits = asdict(findings.labeller.gate.limits)
    rows = [Row(name, [value]) for name, value in limits.items()]
    return table([Column("doubtful above", digits=3)], rows, "the gate")


def _card(findings: Findings, figures: Mapping[str, Mapping[str, Mapping[str, float | Interval]]]) -> str:
    labeller, (learned, calibrating, measured) = findings.labeller, findings.episodes
    names = labeller.settings.action
    lines = [
        f"# Labeller {labeller.source}",
        "",
        f"Estimates the actions ({', '.join(names)}) of videos from camera `{labeller.settings.camera}`, "
        f"{labeller.size[0]} x {labeller.size[1]} pixels at {labeller.fps} fps, with masks of arm and object, as "
        "`mask2iv actions label` gives it. It knows one robot before one fixed camera and nothing else.",
        "",
        f"Learned from {learned} episodes of `{findings.data.name}`, calibrated on {calibrating} others, "
        f"measured on {measured} others ([report](report.html)):",
        "",
        "| RMSE | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    lines += [
        f"| {one} | {' | '.join(_words(columns[name]['rmse']) for name in names)} |" for one, columns in figures.items()
    ]
    lines += ["", "| labeller | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for key, words in (
        ("r2", "R²"),
        ("slope", "slope, estimate on truth"),
        ("slope_of_truth", "slope, truth on estimate"),
        ("within_1", "truths within one deviation (0.68)"),
        ("within_2", "within two (0.95)"),
    ):
        lines.append(f"| {words} | {' | '.join(_words(figures[OURS][name][key]) for name in names)} |")
    return "\n".join([*lines, "", "![Estimates and truth](estimates.png)", ""])


def _words(value: float | Interval) -> str:
    return " ".join(write_value(value, 3)).strip()


def _plain(value: object) -> object:
    """Return it as JSON can hold it: None for what was not measured."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
