"""Label maps of an episode: its own, or made from prompts, or found by motion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from mask2iv_ros.data.building.candidates import prompts_for
from mask2iv_ros.data.building.cutting import Grid, even_grid
from mask2iv_ros.data.building.drop import Dropped
from mask2iv_ros.data.building.enlarging import enlarge, enlarge_prompts, factor, reduce_labels
from mask2iv_ros.data.building.moving import find_by_motion
from mask2iv_ros.data.building.prompts import Asked, Prompts
from mask2iv_ros.data.sources.base import SourceEpisode, Span
from mask2iv_ros.errors import Refused
from mask2iv_ros.segmentation import Segmenter
from mask2iv_ros.segmentation.base import Unusable

How = Literal["source", "prompts", "motion"]

TRACKED_FPS = 10.0  # frames a second that a tracker sees at least, where the source has them: things move less a step


@dataclass(frozen=True)
class Piece:
    """A piece of an episode with its label maps.

    Attributes:
        start: its first frame in the episode, of which its clips are named.
        task: what happens in it, in words.
        grid: of the clips' moments.
        labels: one map a moment, of the source's size.
        maker: of the labels, in words.
    """

    start: int
    task: str
    grid: Grid
    labels: UInt8[np.ndarray, "n h w"]
    maker: str


def pieces(
    episode: SourceEpisode,
    camera: str,
    how: How,
    prompts: Prompts,
    segmenter: Segmenter | None,
    fps: int,
    frames: int,
) -> Iterator[Piece | tuple[int, Dropped]]:
    """Yield the pieces of an episode, or where one begins and why it is dropped.

    Args:
        episode: as the camera saw it.
        camera: whose prompts are taken.
        how: labels are come by.
        prompts: what is said of the source's episodes.
        segmenter: that makes labels; None where the source has them.
        fps: of the clips.
        frames: of a clip; shorter pieces are not segmented.

    Raises:
        Unusable: the segmenter lacks its weights.
    """
    for span, asked in _sections(episode, camera, how, prompts):
        try:
            yield _piece(episode, span, asked, how, segmenter, fps, frames)
        except Unusable:
            raise  # the next episode would fare no better
        except Dropped as dropped:
            yield span.start, dropped
        except Refused as refusal:
            yield span.start, Dropped("segmentation failed", str(refusal))


def _sections(episode: SourceEpisode, camera: str, how: How, prompts: Prompts) -> Iterator[tuple[Span, Asked | None]]:
    spans = episode.spans or (Span(0, len(episode.frames), episode.task),)
    said = prompts.of(episode.id, camera)
    if how == "source" or not said or said[0] is prompts.everywhere:
        yield from ((span, said[0] if said else None) for span in spans)
        return
    ends = [min(one.frame, len(episode.frames)) for one in said[1:]] + [len(episode.frames)]
    for asked, end in zip(said, ends, strict=True):
        around = next((span for span in spans if span.start <= asked.frame < span.stop), None)
        stop = end if around is None else min(end, around.stop)
        yield Span(asked.frame, stop, asked.task or (episode.task if around is None else around.task)), asked


def _piece(
    episode: SourceEpisode,
    span: Span,
    asked: Asked | None,
    how: How,
    segmenter: Segmenter | None,
    fps: int,
    frames: int,
) -> Piece:
    if span.start >= len(episode.frames):
        raise Dropped(
            "prompt does not fit", f"prompts are of frame {span.start}; the episode has {len(episode.frames)} frames"
        )
    grid = even_grid(episode.times, span.start, span.stop, fps)
    if len(grid.frames) < frames:
        lasts = float(episode.times[span.stop - 1] - episode.times[span.start])
        raise Dropped(
            "shorter than a clip",
            f"{span.stop - span.start} frames in {lasts:.2f} s give {len(grid.frames)} at {fps} fps; "
            f"expected at least {frames}",
        )
    if how == "source":
        if episode.labels is None:
            raise Dropped("no masks", "the source has no masks of it; expected prompts, or labels by motion")
        return Piece(span.start, span.task, grid, episode.labels[grid.frames], "the source's own")
    finer = _finer(episode, fps)
    fine = even_grid(episode.times, span.start, span.stop, fps * finer)
    grid = fine.every(finer)
    times = factor(episode.frames)
    video = enlarge(episode.frames[fine.frames], times)
    said = () if asked is None else enlarge_prompts(asked.prompts, times)
    said = prompts_for(video, said, segmenter, finer)
    if how == "motion":
        labels, told = find_by_motion(video, segmenter, said)
        maker = f"{segmenter.name}, by motion: {told}"
    else:
        labels, maker = segmenter.track(video, said).labels, f"{segmenter.name}, by prompts"
    labels = reduce_labels(labels[::finer], times)
    return Piece(span.start, span.task, grid, labels, maker)


def _finer(episode: SourceEpisode, fps: int) -> int:
    """Return how many moments a tracker sees for one of the clips'."""
    rate = 1 / float(np.median(np.diff(episode.times)))
    return max(1, min(int(np.ceil(TRACKED_FPS / fps)), int(rate / fps + 1e-6)))
