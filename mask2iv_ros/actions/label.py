"""A dataset of rollouts to one with their estimated actions."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import batched
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mask2iv_ros.actions.labeller import Labeller
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import DatasetWriter, Provenance, RobotColumns, read_provenance
from mask2iv_ros.scene import GOOD, Goal, Rollout, Scene, Trajectory

_AT_ONCE = 8  # an append costs the same for one and for a few


@dataclass(frozen=True)
class Labelled:
    """What became of a dataset's episodes.

    Attributes:
        written: labelled and added now.
        there: that the dataset already had.
        dropped: why each doubtful one that was left out is, by id.
        doubtful: why each doubtful one that was added is, by id.
    """

    written: int
    there: int
    dropped: dict[str, str]
    doubtful: dict[str, str]


def label_dataset(labeller: Labeller, data: Path, out: Path, drop: bool = False, camera: str | None = None) -> Labelled:
    """Estimate the actions of all episodes of a dataset and write them into another.

    Ids that `out` has are skipped, so a killed run goes on. Whether an episode was imagined stays as it was; states
    that the source has stay, and only those of sources without are estimated. Actions that the source has are left
    out: those written are the estimated ones.

    Args:
        labeller: of the same robot and camera.
        data: with labels and provenance.
        out: dataset to add to, or the place for a new one.
        drop: leave out what the gate finds doubtful.
        camera: whose frames and labels, where a dataset has several.

    Raises:
        Refused: one of the datasets cannot be read or written, is of another robot or camera, or has no ids.
    """
    if out.expanduser().resolve() == data.expanduser().resolve():
        raise Refused(f"--out is {out}, the dataset to label; expected another folder")
    dataset = LabelledDataset.open(data, camera)
    labeller.require_same(replace(dataset.settings, action=()), dataset.fps, dataset.size, data)
    has_state = bool(dataset.settings.state)
    labeller.require_state(has_state, data)
    known = {one.episode: one for one in read_provenance(data, imagined_only=False)}
    if len(known) != len(dataset.episodes):
        raise Refused(f"{data} has {len(dataset.episodes)} episodes and ids of {len(known)}; expected one of each")
    dropped: dict[str, str] = {}
    doubtful: dict[str, str] = {}
    written = 0
    part = out.absolute().with_name(f".{out.absolute().name}.labelled")
    with DatasetWriter(out, labeller.settings) as writer:
        shutil.rmtree(part, ignore_errors=True)  # of a killed run
        missing = [one for one in dataset.episodes if known[one.index].id not in writer.written]
        there = len(dataset.episodes) - len(missing)
        groups = [list(group) for same in _alike(missing, known) for group in batched(same, _AT_ONCE)]
        with tqdm(total=len(missing), desc="labelling", unit="episode", mininterval=5) as bar:
            for group in groups:
                taken = []
                for info in group:
                    rollout, robot = _labelled(labeller, dataset, known[info.index], has_state)
                    verdict = robot.estimate.verdict
                    if verdict != GOOD:
                        (dropped if drop else doubtful)[rollout.id] = verdict
                    if verdict == GOOD or not drop:
                        taken.append((rollout, robot))
                    bar.update()
                _add(writer, taken, labeller, known[group[0].index].imagined, part)
                written += len(taken)
    return Labelled(written, there, dropped, doubtful)


def _alike(missing: list, known: dict[int, Provenance]) -> Iterator[list]:
    """Yield the imagined episodes and the others: what is written at once is of one kind."""
    for imagined in (True, False):
        yield [one for one in missing if known[one.index].imagined is imagined]


def _labelled(
    labeller: Labeller, dataset: LabelledDataset, origin: Provenance, has_state: bool
) -> tuple[Rollout, RobotColumns]:
    episode = dataset.read(origin.episode)
    goal = None if episode.goal_mask is None or not episode.goal_mask.any() else episode.goal_mask
    rollout = Rollout(
        id=origin.id,
        scene=Scene(episode.video[0], episode.labels[0], origin.source_stamp_ns, origin.source_frame_id),
        goal=Goal(goal, origin.task),
        trajectory=Trajectory(episode.labels, "edited" if origin.trajectory_edited else "predicted"),
        video=episode.video,
        fps=dataset.fps,
        seed=origin.seed,
        checkpoint=origin.checkpoint,
        scores=origin.scores,
        verdict=origin.verdict,
    )
    (robot,) = labeller.label([rollout], [None])
    if has_state:
        state = dataset.robot(origin.episode).state
        if not np.isfinite(state).all():
            raise Refused(
                f"observation.state of episode {origin.episode} of {dataset.root} is not finite; expected numbers"
            )
        robot = RobotColumns(state, robot.action, replace(robot.estimate, state_deviation=None))
    return rollout, robot


def _add(
    writer: DatasetWriter,
    taken: list[tuple[Rollout, RobotColumns]],
    labeller: Labeller,
    imagined: bool,
    part: Path,
) -> None:
    """Add labelled episodes, all or none."""
    if not taken:
        return
    rollouts, robots = (list(one) for one in zip(*taken, strict=True))
    if imagined:
        writer.append(rollouts, robots)
        return
    # LeRobot takes seconds to import; whoever labels nothing new does not wait for it.
    from mask2iv_ros.export import shard

    try:
        with shard.lerobot_contained(part.with_name(f"{part.name}.cache")):
            shard.write_shard(rollouts, part, labeller.settings, imagined=False, robots=robots)
        writer.adopt(part)
    except OSError as error:
        raise Refused(f"{part} cannot be written ({error}); expected room there; what was added stays") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(part.with_name(f"{part.name}.cache"), ignore_errors=True)
