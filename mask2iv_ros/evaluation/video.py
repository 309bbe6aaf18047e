"""Writes MP4 files that every player and browser shows."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from mask2iv_ros.masks import outline, overlay, resize_labels
from mask2iv_ros.scene import Rollout


def write_mp4(path: Path, video: UInt8[np.ndarray, "t h w 3"], fps: float) -> None:
    """Write RGB frames as H.264; odd sides lose their last row or column, which the format cannot hold."""
    height, width = (side - side % 2 for side in video.shape[1:3])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000), options={"crf": "17"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for frame in video:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def side_by_side(rollouts: Sequence[Rollout], columns: int = 4, tile_width: int = 320) -> UInt8[np.ndarray, "t h w 3"]:
    """Return one video: each rollout's trajectory over its source frame above its video, goals outlined."""
    cells = []
    for one in rollouts:
        pair = masks_and_frames(one.scene.image, one.trajectory.labels, one.video, one.goal.mask, tile_width)
        cells.append(np.concatenate(pair, axis=1))
    columns = min(columns, len(cells))
    cells += [np.zeros_like(cells[0])] * (-len(cells) % columns)
    rows = [np.concatenate(cells[first : first + columns], axis=2) for first in range(0, len(cells), columns)]
    return np.concatenate(rows, axis=1)


def masks_and_frames(
    source: UInt8[np.ndarray, "h w 3"],
    labels: UInt8[np.ndarray, "t h w"],
    video: UInt8[np.ndarray, "t h w 3"],
    goal: Bool[np.ndarray, "h w"] | None,
    width: int,
) -> tuple[UInt8[np.ndarray, "t h2 w2 3"], UInt8[np.ndarray, "t h2 w2 3"]]:
    """Return two videos of a width: the masks over the source frame, and the frames; the goal outlined in both."""
    size = (width, round(source.shape[0] * width / source.shape[1]))
    still = cv2.resize(source, size, interpolation=cv2.INTER_CUBIC)
    masks = [overlay(still, resize_labels(one, size[::-1])) for one in labels]
    frames = [cv2.resize(one, size, interpolation=cv2.INTER_CUBIC) for one in video]
    if goal is not None:
        region = resize_labels(goal.astype(np.uint8), size[::-1]) > 0
        masks, frames = ([outline(one, region) for one in film] for film in (masks, frames))
    return np.stack(masks), np.stack(frames)
