"""The report of a build: how much was kept, what was left out and why, and pictures of both."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from mask2iv_ros.data.building.ledger import Kept, Summary
from mask2iv_ros.data.building.plan import Plan
from mask2iv_ros.data.building.settings import BuildSettings
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.html import Column, Row, Section, card, facts, fold, page, paragraph, picture, table
from mask2iv_ros.evaluation.sheet import Strip, contact_sheet, write_png
from mask2iv_ros.export import read_provenance

_ROWS = 6  # clips on a contact sheet
_LISTED = 2000  # of those left out, that are named


def write_report(summary: Summary, settings: BuildSettings, plan: Plan, sample: int = 12, seed: int = 0) -> Path:
    """Write `report.html` and the folder `report` with its pictures into the build's folder.

    Args:
        summary: what became of the source.
        settings: of the build.
        plan: that it held to.
        sample: kept clips that are shown, drawn by chance.
        seed: of that chance.

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
            Section("What was built", [facts(_about(summary, settings, plan))]),
            Section("Kept", list(_kept(summary, settings, media, sample, seed))),
            Section("Left out", list(_left(summary, settings, media))),
        ]
        path = settings.out / "report.html"
        path.write_text(page(f"{settings.name}: clips built", sections), encoding="utf-8", errors="replace")
    except OSError as error:
        raise Refused(f"{settings.out} cannot be written: {error.strerror}; expected a folder with room") from error
    return path


def describe(summary: Summary, plan: Plan) -> list[str]:
    """Return what became of a source in lines, for the terminal."""
    kept, left = summary.kept, summary.left
    lines = [f"{len(kept)} clips at {plan.fps} fps ({plan.why})"]
    if uneven := sum(one.uneven for one in kept):
        lines.append(
            f"{uneven} of them resampled: their frames, nearest to even moments, are not all equally far apart"
        )
    if plan.least_motion:
        lines.append(f"clips with a motion score below {plan.least_motion:.4f} are those that move least")
    lines += [f"left out, {kind}: {count}" for kind, count in summary.reasons.items()]
    named = left if len(left) <= 10 else left[:9]
    lines += [f"  {one.id}: {one.words}" for one in named]
    if len(named) < len(left):
        lines.append(f"  and {len(left) - len(named)} more, in the report")
    return lines


def _about(summary: Summary, settings: BuildSettings, plan: Plan) -> dict[str, object]:
    kept = summary.kept
    empty = sum(not one.kept for one in summary.outcomes)
    told = {
        "episodes": f"{len(summary.outcomes)} seen by {', '.join(settings.cameras)}; {empty} of them gave no clip",
        "clips kept": len(kept),
        "left out": f"{len(summary.left)} clips or episodes",
        **{f"in {split}": sum(one.split == split for one in kept) for split in settings.splits},
        "frames": f"{settings.frames} of {plan.size[1]} x {plan.size[0]} pixels at {plan.fps} fps ({plan.why})",
        "resampled": f"{sum(one.uneven for one in kept)} clips, whose frames are not all equally far apart",
        "labels": "the source's own" if settings.how == "source" else f"{settings.segmenter}, by {settings.how}",
        "state": ", ".join(plan.state) or "none",
        "action": ", ".join(plan.action) or "none",
        "quality": ", ".join(f"{key} {value:g}" for key, value in vars(settings.quality).items()),
    }
    if settings.drop_least:
        told["least motion"] = f"{100 * settings.drop_least:g} % left out: scores below {plan.least_motion:.4f}"
    return told | {"command": shlex.join(["mask2iv", *sys.argv[1:]])}


def _kept(summary: Summary, settings: BuildSettings, media: Path, sample: int, seed: int) -> Iterator[Markup]:
    kept = summary.kept
    if not kept:
        yield paragraph("No clip was kept.")
        return
    scores = np.array([one.motion for one in kept])
    columns = [Column("lowest", digits=3), Column("median", digits=3), Column("highest", digits=3)]
    yield table(columns, [Row("motion score", [scores.min(), np.median(scores), scores.max()])], mark_best=False)
    yield paragraph(f"{min(sample, len(kept))} of the {len(kept)} clips, drawn by chance; the goal is outlined.")
    strips = list(_strips(_drawn(kept, sample, seed), settings))
    for number in range(0, len(strips), _ROWS):
        name = f"kept_{number // _ROWS:02d}.png"
        write_png(media / name, contact_sheet(strips[number : number + _ROWS]))
        yield picture(f"{media.name}/{name}", "kept clips, every second frame")


def _drawn(kept: Sequence[Kept], sample: int, seed: int) -> list[Kept]:
    """Return some clips, drawn by their ids: a clip that was added later puts few others out."""
    return sorted(kept, key=lambda one: hashlib.sha256(f"{seed} {one.id}".encode()).digest())[:sample]


def _strips(chosen: Sequence[Kept], settings: BuildSettings) -> Iterator[Strip]:
    for split in settings.splits:
        own = {one.id for one in chosen if one.split == split}
        if not own:
            continue
        root = settings.out / split
        dataset = LabelledDataset.open(root, settings.camera)
        for one in read_provenance(root, imagined_only=False):
            if one.id in own:
                video, labels, goal = dataset.read(one.episode)
                figures = ", ".join(f"{name} {value:.2f}" for name, value in one.scores.items())
                yield Strip(f"{split}: {one.id}: {one.task} ({figures})", video, labels, goal)


def _left(summary: Summary, settings: BuildSettings, media: Path) -> Iterator[Markup]:
    left = summary.left
    if not left:
        yield paragraph("Nothing was left out.")
        return
    rows = [Row(kind, [float(count)]) for kind, count in summary.reasons.items()]
    yield table([Column("count", digits=0)], rows, "why", mark_best=False)
    if pictures := sorted((settings.out / ".build/samples").glob("*.jpg")):
        for path in pictures:
            shutil.copy(path, media / path.name)
        shown = [picture(f"{media.name}/{path.name}", "left out, with the masks that were found") for path in pictures]
        yield card("Some of them, drawn by chance", *shown)
    listed = table([Column("why")], [Row(one.id, [one.words]) for one in left[:_LISTED]], "which", mark_best=False)
    more = f"; the first {_LISTED}" if len(left) > _LISTED else ""
    yield fold(f"All of them{more}", listed)
