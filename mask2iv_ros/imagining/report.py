"""The report of imagined rollouts: how many were kept, why the rest was not, pictures and films of both."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup

from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.html import Column, Row, Section, facts, film, fold, page, paragraph, picture, table
from mask2iv_ros.evaluation.sheet import caption_line, write_png
from mask2iv_ros.evaluation.video import side_by_side, write_mp4
from mask2iv_ros.export import read_provenance
from mask2iv_ros.imagining.ledger import Summary
from mask2iv_ros.imagining.settings import ImaginingSettings
from mask2iv_ros.imagining.source import Source
from mask2iv_ros.masks import outline
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory

_SHOWN = 12
_COLUMNS = 3  # of a sheet
_TILE = 256  # pixels: width of a picture on it
_LISTED = 2000  # of those left out, that are named


def write_report(summary: Summary, settings: ImaginingSettings) -> Path:
    """Write `report.html` and the folder `report` with its pictures beside the dataset.

    Args:
        summary: what became of the rollouts.
        settings: of the run.

    Returns:
        The page.

    Raises:
        Refused: the folder cannot be written to.
    """
    media = settings.out / "report"
    try:
        shutil.rmtree(media, ignore_errors=True)
        media.mkdir()
        sections = [
            Section("What was imagined", [facts(_about(summary, settings))]),
            Section("Kept", list(_shown(_kept(summary, settings), media, "kept"))),
            Section("Left out", [*_reasons(summary), *_shown(_left(settings), media, "left")]),
        ]
        path = settings.out / "report.html"
        path.write_text(page(f"{settings.out.name}: imagined", sections), encoding="utf-8", errors="replace")
    except OSError as error:
        raise Refused(f"{settings.out} cannot be written: {error.strerror}; expected a folder with room") from error
    return path


def _about(summary: Summary, settings: ImaginingSettings) -> dict[str, object]:
    made = len(summary.outcomes)
    each = summary.cpu / max(made, 1)
    return {
        "rollouts": made,
        "kept": f"{len(summary.kept)} ({100 * len(summary.kept) / max(made, 1):.0f} %)",
        "source": settings.source,
        **({} if settings.scenes is None else {"first frames": settings.scenes}),
        "checkpoint": settings.checkpoint,
        "actions": f"estimated by {settings.labeller}" if settings.labeller else "none",
        "goals": ", ".join(settings.goals),
        "work": f"{summary.wall:.0f} s, {summary.cpu:.0f} s of processors; {each:.1f} s a rollout",
        "command": shlex.join(["mask2iv", *sys.argv[1:]]),
    }


def _reasons(summary: Summary) -> Iterator[Markup]:
    if not summary.left:
        yield paragraph("Nothing was left out.")
        return
    rows = [Row(kind, [float(count)]) for kind, count in summary.reasons.items()]
    yield table([Column("count", digits=0)], rows, "why", mark_best=False)
    named = [Row(one.id, [one.words]) for one in summary.left[:_LISTED]]
    more = f"; the first {_LISTED}" if len(summary.left) > _LISTED else ""
    yield fold(f"All of them{more}", table([Column("why")], named, "which", mark_best=False))


def _shown(rollouts: Sequence[tuple[str, Rollout]], media: Path, name: str) -> Iterator[Markup]:
    """Yield a sheet and a film of some rollouts with their captions."""
    if not rollouts:
        return
    write_png(media / f"{name}.png", goal_sheet(rollouts))
    write_mp4(media / f"{name}.mp4", side_by_side([one for _, one in rollouts]), rollouts[0][1].fps)
    yield paragraph(
        f"{len(rollouts)}, drawn by chance: the first frame with the goal outlined, and the last that was imagined."
    )
    yield picture(f"{media.name}/{name}.png", "goals over first frames, and what the last frames show")
    yield film(f"{media.name}/{name}.mp4", "imagined masks over the first frame, above what was imagined")


def goal_sheet(rollouts: Sequence[tuple[str, Rollout]]) -> UInt8[np.ndarray, "h w 3"]:
    """Return a sheet: a caption over first frame and last imagined frame of each rollout, the goal outlined in both."""
    cells = []
    for caption, one in rollouts:
        size = (_TILE, round(_TILE * one.video.shape[1] / one.video.shape[2]))
        region = cv2.resize(one.goal.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        pair = [
            outline(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), region)
            for image in (one.scene.image, one.video[-1])
        ]
        shown = np.concatenate(pair, axis=1)
        cells.append(np.concatenate([caption_line(caption, shown.shape[1]), shown]))
    columns = min(_COLUMNS, len(cells))
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % columns)
    rows = [np.concatenate(cells[first : first + columns], axis=1) for first in range(0, len(cells), columns)]
    return np.concatenate(rows)


def _kept(summary: Summary, settings: ImaginingSettings) -> list[tuple[str, Rollout]]:
    chosen = {one.id for one in sorted(summary.kept, key=lambda one: _draw(one.id))[:_SHOWN]}
    if not chosen:
        return []
    source = Source.open(settings.begun)
    numbers = {known.id: episode for episode, known in source.known.items()}
    dataset, shown = LabelledDataset.open(settings.dataset), []
    for one in read_provenance(settings.dataset):
        if one.id in chosen:
            begun, frame, _ = one.id.rsplit(".", 2)
            scene, _ = source.scene(numbers[begun], int(frame))
            video, labels, goal = dataset.read(one.episode)
            rollout = _rollout(one.id, scene, goal, one.task, labels, video, float(dataset.fps))
            shown.append((f"{one.id}: {one.task}", rollout))
    return shown


def _left(settings: ImaginingSettings) -> list[tuple[str, Rollout]]:
    shown = []
    for path in sorted((settings.notes / "samples").glob("*.npz")):
        with np.load(path) as kept:
            name, kind, task = map(str, kept["told"])
            scene = Scene(kept["image"], kept["labels"][0])
            rollout = _rollout(name, scene, kept["goal"], task, kept["labels"], kept["video"], float(kept["fps"]))
        shown.append((f"{name}: {kind}", rollout))
    return shown


def _rollout(
    name: str, scene: Scene, goal: np.ndarray | None, task: str, labels: np.ndarray, video: np.ndarray, fps: float
) -> Rollout:
    return Rollout(name, scene, Goal(goal, task), Trajectory(labels), video, fps, 0, "")


def _draw(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
