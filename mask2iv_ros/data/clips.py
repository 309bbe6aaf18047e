"""Clips: short videos with a label map per frame and the goal mask that they reach.

They are kept as LeRobot v3 datasets, one a split, with exactly the features that rollouts are
exported with (`mask2iv_ros.export.schema`), so both can be merged and either can train. Of
the columns of provenance, `imagined` is false, `mask2iv.id` is "<task>-<seed>" and `mask2iv.seed` the seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.data.splits import DEMONSTRATIONS, SPLITS, require_split
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import ExportSettings, RobotColumns, read_provenance
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory


@dataclass(frozen=True)
class Clip:
    """One clip.

    Attributes:
        video: RGB.
        labels: one `Role` per pixel, as visible.
        goal_mask: the object in the last frame as if nothing were in its way.
        task: what happens in it, a short name.
        seed: of its scene; decides the split.
        instruction: what happens in it, in words.
        fps: frames per second.
    """

    video: UInt8[np.ndarray, "t h w 3"]
    labels: UInt8[np.ndarray, "t h w"]
    goal_mask: Bool[np.ndarray, "h w"]
    task: str
    seed: int
    instruction: str
    fps: float

    @property
    def id(self) -> str:
        """Name of the clip among all clips."""
        return f"{self.task}-{self.seed}"


def write_clips(
    root: Path,
    clips: Sequence[Clip],
    settings: ExportSettings | None = None,
    robots: Sequence[RobotColumns] | None = None,
) -> None:
    """Write clips of one length, size and rate as a LeRobot dataset into `root`, which must not exist.

    Args:
        root: the dataset's folder.
        clips: the episodes.
        settings: how they are written; the default's if left out.
        robots: state and action of each, where the settings name some.

    Raises:
        Refused: a clip has no goal mask, or a rate that is no whole number.
    """
    # LeRobot takes seconds to import; whoever only reads does not wait for it.
    from mask2iv_ros.export import shard

    if odd := [clip.fps for clip in clips if clip.fps != int(clip.fps)]:
        raise Refused(f"a clip has {odd[0]} fps; LeRobot datasets hold whole numbers only")
    with shard.lerobot_contained(root.with_name(root.name + ".cache")):
        shard.write_shard(
            [_as_rollout(clip) for clip in clips], root, settings or ExportSettings(), imagined=False, robots=robots
        )


def load_clips(folder: Path, split: str, limit_per_task: int | None = None) -> list[Clip]:
    """Load the clips of a split, tasks in alphabetical order, seeds ascending.

    Raises:
        Refused: no such dataset, none that `mask2iv data` made, a corrupt one, one whose
            clips differ in length, or one with scenes of another split.
    """
    if split not in SPLITS:
        raise Refused(f"split is {split!r}; accepted are {', '.join(SPLITS)}")
    root = folder / split
    if not root.is_dir():
        raise Refused(f"{folder} has no {split} clips; make some with: mask2iv data metaworld --out {folder}")
    dataset, known = LabelledDataset.open(root), read_provenance(root, imagined_only=False)
    if len(known) != len(dataset.episodes):
        raise Refused(f"{root} has {len(dataset.episodes)} episodes and ids of {len(known)}; expected one of each")
    require_split(((task_of(one.id), one.seed) for one in known), split)
    clips: list[Clip] = []
    taken: Counter[str] = Counter()
    for one in sorted(known, key=lambda one: (task_of(one.id), one.seed)):
        task = task_of(one.id)
        if limit_per_task is not None and taken[task] >= limit_per_task:
            continue
        taken[task] += 1
        video, labels, goal_mask = dataset.read(one.episode)
        if goal_mask is None or len(video) != len(clips[0].video if clips else video):
            raise Refused(
                f"episode {one.episode} of {root} has {len(video)} frames and {'no' if goal_mask is None else 'a'} "
                "goal mask; expected one, and as many frames as the episodes before it"
            )
        clips.append(Clip(video, labels, goal_mask, task, one.seed, one.task, float(dataset.fps)))
    return clips


def require_training_clips(root: Path) -> None:
    """Check that no clip of a dataset is held out of training (`splits`).

    Raises:
        Refused: one is.
    """
    known = read_provenance(root, imagined_only=False)
    scenes = [(task_of(one.id), one.seed) for one in known if not one.imagined]
    require_split((scene for scene in scenes if scene[1] not in DEMONSTRATIONS), "train")


def task_of(clip_id: str) -> str:
    """Return the task in a clip's id."""
    return clip_id.rpartition("-")[0]


def _as_rollout(clip: Clip) -> Rollout:
    return Rollout(
        id=clip.id,
        scene=Scene(clip.video[0], clip.labels[0]),
        goal=Goal(clip.goal_mask, clip.instruction),
        trajectory=Trajectory(clip.labels),
        video=clip.video,
        fps=clip.fps,
        seed=clip.seed,
        checkpoint="",
    )
