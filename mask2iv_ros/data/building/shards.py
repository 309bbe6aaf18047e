"""What a worker does: some episodes to a shard, a finished dataset a split, with what was left out and why."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2

from mask2iv_ros.data.building.clips import BuiltClip, LeftOut, clips_of
from mask2iv_ros.data.building.ledger import Kept, Left, Outcome, Unit, write_outcomes
from mask2iv_ros.data.building.plan import Plan
from mask2iv_ros.data.building.settings import BuildSettings
from mask2iv_ros.data.sources.base import Source
from mask2iv_ros.data.workers import end_with_parent
from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.sheet import Strip, contact_sheet
from mask2iv_ros.export import ExportSettings
from mask2iv_ros.segmentation import Segmenter, create

OUTCOMES, SAMPLES = "outcomes.json", "samples"

_TILE = 128  # pixels: width of a frame in a picture of what was left out


def start_worker() -> None:
    """Prepare a process of its own: one thread each, or the workers would take each other's cores."""
    end_with_parent()
    cv2.setNumThreads(1)
    # Imported here: whoever only starts workers does not wait for it.
    import torch

    torch.set_num_threads(1)


def build_shard(source: Source, settings: BuildSettings, plan: Plan, units: Sequence[Unit], folder: Path) -> None:
    """Build some episodes into `folder`, which appears when it is complete.

    Raises:
        OSError: the disk is full or fails, or a source on the hub cannot be reached.
    """
    # LeRobot takes seconds to import.
    from mask2iv_ros.export import shard

    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    (part / SAMPLES).mkdir(parents=True)
    outcomes: list[Outcome] = []
    clips: list[BuiltClip] = []
    for unit in units:
        outcome, kept = _build_unit(source, settings, plan, unit, part / SAMPLES)
        outcomes.append(outcome)
        clips += kept
    columns = ExportSettings(settings.camera, plan.state, plan.action)
    with shard.lerobot_contained(part / "cache"):
        for split in settings.splits:
            if own := [clip for clip in clips if clip.split == split]:
                rollouts, robots = [clip.rollout for clip in own], [clip.robot for clip in own]
                shard.write_shard(rollouts, part / split, columns, imagined=False, robots=robots)
    shutil.rmtree(part / "cache", ignore_errors=True)
    write_outcomes(part / OUTCOMES, outcomes)
    part.rename(folder)


def survey(source: Source, settings: BuildSettings, plan: Plan, units: Sequence[Unit], folder: Path) -> None:
    """Write the outcomes that some episodes would have to `<folder>.json`, for their motion scores; no dataset."""
    outcomes = [_build_unit(source, settings, plan, unit, None)[0] for unit in units]
    write_outcomes(folder.with_suffix(".json"), outcomes)


def _build_unit(
    source: Source, settings: BuildSettings, plan: Plan, unit: Unit, samples: Path | None
) -> tuple[Outcome, list[BuiltClip]]:
    segmenter = None if settings.how == "source" else _segmenter(settings.segmenter, settings.segmenter_settings)
    kept: list[BuiltClip] = []
    left: list[Left] = []
    for one in clips_of(source, unit.episode, unit.camera, settings, plan, segmenter):
        if isinstance(one, BuiltClip):
            kept.append(one)
            continue
        left.append(Left(one.id, one.drop.kind, one.drop.words))
        if samples is not None and one.video is not None:
            _keep_picture(samples, one)
    told = tuple(Kept(one.rollout.id, one.split, one.motion, one.uneven) for one in kept)
    return Outcome(unit, told, tuple(left)), kept


@cache
def _segmenter(name: str, settings: tuple[tuple[str, Any], ...]) -> Segmenter:
    """Return the process's back end: its weights are loaded once."""
    return create(name, dict(settings))


def _keep_picture(folder: Path, left: LeftOut) -> None:
    """Write a clip to look at; its name begins with a draw, so that the first few of all are a random sample."""
    strip = Strip(f"{left.id}: {left.drop.kind}: {left.drop.words}", left.video, left.labels)
    sheet = contact_sheet([strip], tile_width=_TILE)
    drawn = hashlib.sha256(left.id.encode()).hexdigest()[:12]
    path = folder / f"{drawn}.jpg"
    if not cv2.imwrite(str(path), sheet[..., ::-1]):
        raise Refused(f"{path} cannot be written; expected a folder with room")
