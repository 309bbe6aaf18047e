"""Writes MP4 files that every player and browser shows."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from jaxtyping import UInt8

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
    for rollout in rollouts:
        height, width = rollout.video.shape[1:3]
        size = (tile_width, round(height * tile_width / width))
        still = cv2.resize(rollout.scene.image, size, interpolation=cv2.INTER_CUBIC)
        goal = rollout.goal.mask
        frames = []
        for image, labels in zip(rollout.video, rollout.trajectory.labels, strict=True):
            pair = [
                overlay(still, resize_labels(labels, size[::-1])),
                cv2.resize(image, size, interpolation=cv2.INTER_CUBIC),
            ]
            if goal is not None:
                pair = [outline(one, resize_labels(goal.astype(np.uint8), size[::-1]) > 0) for one in pair]
            frames.append(np.concatenate(pair))
        cells.append(np.stack(frames))
    columns = min(columns, len(cells))
    cells += [np.zeros_like(cells[0])] * (-len(cells) % columns)
    rows = [np.concatenate(cells[first : first + columns], axis=2) for first in range(0, len(cells), columns)]
    return np.concatenate(rows, axis=1)
