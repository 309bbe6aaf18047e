"""One episode to clips, or to why there are none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from mask2iv_ros.data.building.cutting import find_gap, is_uneven, windows
from mask2iv_ros.data.building.drop import Drop, Dropped
from mask2iv_ros.data.building.labelling import Piece, pieces
from mask2iv_ros.data.building.plan import Plan, column_names
from mask2iv_ros.data.building.quality import judge, measure
from mask2iv_ros.data.building.settings import TRAIN, VALIDATION, BuildSettings
from mask2iv_ros.data.motion import displacements
from mask2iv_ros.data.sources.base import Source, SourceEpisode
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import RobotColumns
from mask2iv_ros.generator.framing import Framing
from mask2iv_ros.masks import Role
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory
from mask2iv_ros.segmentation import Segmenter


@dataclass(frozen=True)
class BuiltClip:
    """A clip that is kept.

    Attributes:
        rollout: as the dataset's writer takes it.
        robot: state and action of its frames.
        split: that its episode belongs to.
        motion: its motion score.
        uneven: its frames are not all equally far apart in the source, whose rate varies or does not divide.
    """

    rollout: Rollout
    robot: RobotColumns
    split: str
    motion: float
    uneven: bool


@dataclass(frozen=True)
class LeftOut:
    """A clip, or a whole episode, that is not kept.

    Attributes:
        id: of the clip; of the episode where it did not get as far.
        drop: why.
        video: of the clip, with
        labels: to look at; None where there are none.
    """

    id: str
    drop: Drop
    video: UInt8[np.ndarray, "t h w 3"] | None = None
    labels: UInt8[np.ndarray, "t h w"] | None = None


def clips_of(
    source: Source, episode: str, camera: str, settings: BuildSettings, plan: Plan, segmenter: Segmenter | None
) -> Iterator[BuiltClip | LeftOut]:
    """Yield the clips of an episode as one camera saw it, and what is left out of it.

    Args:
        source: to read from.
        episode: id.
        camera: of the source.
        settings: of the build.
        plan: that the settings and the source led to.
        segmenter: that makes labels, where the source has none.
    """
    whole = f"{settings.name}-{slug(episode)}.{slug(camera)}"
    if settings.how == "prompts" and not settings.prompts.of(episode, camera):
        yield LeftOut(whole, Drop("no prompts", "nothing is said of this episode; expected an entry of it, or 'all'"))
        return
    try:
        found = source.read(episode, camera)
    except Refused as refusal:
        yield LeftOut(whole, Drop("cannot be read", str(refusal)))
        return
    for one in found.missing:
        yield LeftOut(f"{whole}.{one.frame:06d}", Drop("state or command missing", one.words))
    try:
        _require_same_columns(found, plan)
        if len(found.frames) < settings.frames:
            raise Dropped("shorter than a clip", f"{len(found.frames)} frames; expected at least {settings.frames}")
        framing = _framing(found, settings, plan)
    except Dropped as dropped:
        yield LeftOut(whole, dropped.drop)
        return
    for piece in pieces(found, camera, settings.how, settings.prompts, segmenter, plan.fps, settings.frames):
        if isinstance(piece, Piece):
            yield from _cut(piece, found, camera, settings, plan, framing, whole)
        else:
            start, dropped = piece
            yield LeftOut(f"{whole}.{start:06d}", dropped.drop)


def slug(name: str) -> str:
    """Return a name without "-", which in a clip's id ends the first part."""
    return name.replace("-", "_")


def split_of(episode: str, validation: float) -> str:
    """Return the split of an episode: its id alone decides, so it stays where it is when the source grows."""
    drawn = int.from_bytes(hashlib.sha256(f"split {episode}".encode()).digest()[:8]) / 2**64
    return VALIDATION if drawn < validation else TRAIN


def seed_of(clip: str) -> int:
    """Return a number that stands for a clip wherever clips are ordered or named by a seed."""
    return int.from_bytes(hashlib.sha256(clip.encode()).digest()[:4]) >> 1


def _cut(
    piece: Piece,
    episode: SourceEpisode,
    camera: str,
    settings: BuildSettings,
    plan: Plan,
    framing: Framing,
    whole: str,
) -> Iterator[BuiltClip | LeftOut]:
    count, frames = len(piece.grid.frames), settings.frames
    for begin in windows(count, frames, settings.overlap, _merit(piece, frames, settings.quality.smallest)):
        chosen = piece.grid.frames[begin : begin + frames]
        clip = f"{whole}.{chosen[0]:06d}"
        gap = find_gap(piece.grid, begin, frames)
        if gap:
            yield LeftOut(clip, Drop("frames missing", gap))
            continue
        video = np.stack([framing.image(one) for one in episode.frames[chosen]])
        labels = np.stack([framing.labels(one) for one in piece.labels[begin : begin + frames]])
        figures = measure(video, labels)
        drop = judge(figures, settings.quality)
        if drop is None and figures.moves < plan.least_motion:
            drop = Drop(
                "least motion",
                f"motion score {figures.moves:.4f}; the {100 * settings.drop_least:g} % below "
                f"{plan.least_motion:.4f} are left out",
            )
        if drop is not None:
            yield LeftOut(clip, drop, video, labels)
            continue
        rollout = Rollout(
            id=clip,
            scene=Scene(video[0], labels[0], stamp_ns=round(episode.times[chosen[0]] * 1e9), frame_id=camera),
            goal=Goal(labels[-1] == Role.OBJECT, settings.task or piece.task),
            trajectory=Trajectory(labels),
            video=video,
            fps=float(plan.fps),
            seed=seed_of(clip),
            checkpoint=f"labels: {piece.maker}",
            scores=figures.scores(),
        )
        robot = RobotColumns(
            episode.state[chosen] if plan.state else None, episode.action[chosen] if plan.action else None
        )
        uneven = is_uneven(piece.grid, begin, frames)
        yield BuiltClip(rollout, robot, split_of(episode.id, settings.validation), figures.moves, uneven)


def _merit(piece: Piece, frames: int, smallest: int) -> np.ndarray:
    """Return how much happens in the clip that begins at each moment; minus infinity where its ends lack the object."""
    places = len(piece.labels) - frames + 1
    moved = np.concatenate([[0.0], np.cumsum(displacements(piece.labels).sum(1))])
    seen = (piece.labels == Role.OBJECT).sum((1, 2)) >= max(1, smallest)
    merit = moved[frames - 1 :] - moved[:places]
    return np.where(seen[:places] & seen[frames - 1 :], merit, -np.inf)


def _require_same_columns(episode: SourceEpisode, plan: Plan) -> None:
    for name, values, names, wanted in (
        ("state", episode.state, episode.state_names, plan.state),
        ("action", episode.action, episode.action_names, plan.action),
    ):
        found = column_names(name, values, names)
        if found != wanted:
            raise Dropped(
                "other columns",
                f"its {name} has the columns {', '.join(found) or 'none'}; the dataset has "
                f"{', '.join(wanted) or 'none'}",
            )


def _framing(episode: SourceEpisode, settings: BuildSettings, plan: Plan) -> Framing:
    size = episode.frames.shape[1:3]
    if settings.size is None and size != plan.size:
        raise Dropped(
            "another size",
            f"its frames are {size[1]} x {size[0]} pixels; the dataset's are {plan.size[1]} x {plan.size[0]}: "
            "build with a size of your own",
        )
    return Framing(size, plan.size)
