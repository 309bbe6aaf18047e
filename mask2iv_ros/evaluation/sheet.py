"""Contact sheets: rows of frames to look at, with a caption a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import outline, overlay
from mask2iv_ros.scene import Rollout

_CAPTION = 18  # pixels of a caption line


@dataclass(frozen=True)
class Strip:
    """One row of a sheet.

    Attributes:
        caption: printed above it.
        video: its frames.
        labels: tinted over the frames if given.
        goal: outlined in every frame if given.
    """

    caption: str
    video: UInt8[np.ndarray, "t h w 3"]
    labels: UInt8[np.ndarray, "t h w"] | None = None
    goal: Bool[np.ndarray, "h w"] | None = None


def contact_sheet(strips: Sequence[Strip], columns: int = 8, tile_width: int = 192) -> UInt8[np.ndarray, "h w 3"]:
    """Return the strips below each other, each by `columns` frames evenly spaced from first to last."""
    rows = []
    for strip in strips:
        chosen = np.linspace(0, len(strip.video) - 1, min(columns, len(strip.video))).round().astype(int)
        tiles = [_tile(strip, index, tile_width) for index in chosen]
        row = np.concatenate(tiles, axis=1)
        rows += [caption_line(strip.caption, row.shape[1]), row]
    width = max(row.shape[1] for row in rows)
    return np.concatenate(
        [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    )


def caption_line(text: str, width: int) -> UInt8[np.ndarray, "18 w 3"]:
    """Return a line of text, black on white, as wide as what it stands above."""
    line = np.full((_CAPTION, width, 3), 255, np.uint8)
    return cv2.putText(line, text, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)


def describe_scores(rollout: Rollout) -> str:
    """Return a rollout's verdict and scores as words."""
    figures = ", ".join(f"{name} {value:.2f}" for name, value in sorted(rollout.scores.items()))
    return f"{rollout.verdict} ({figures})" if rollout.verdict and figures else rollout.verdict or figures


def write_png(path: Path, image: UInt8[np.ndarray, "h w *c"]) -> None:
    """Write an RGB image, or a label map as it is.

    Raises:
        Refused: the file cannot be written.
    """
    # Level 6 halves what OpenCV's own level makes of a contact sheet, for a quarter of a second.
    told = (cv2.IMWRITE_PNG_COMPRESSION, 6)
    if not cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image, told):
        raise Refused(f"{path} cannot be written; expected a folder with room that can be written to")


def rollout_strips(rollout: Rollout) -> list[Strip]:
    """Return a rollout's trajectory over its source frame, and its video, the goal outlined in both."""
    still = np.repeat(rollout.scene.image[None], len(rollout.video), 0)
    mask = rollout.goal.mask
    return [
        Strip(
            f"{rollout.id}: imagined masks over the source frame ({describe_scores(rollout)})",
            still,
            rollout.trajectory.labels,
            mask,
        ),
        Strip(f"{rollout.id}: imagined video, seed {rollout.seed}", rollout.video, goal=mask),
    ]


def _tile(strip: Strip, index: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    image = strip.video[index]
    size = (width, round(image.shape[0] * width / image.shape[1]))
    # Enlarged before drawing, so that tint and outline are as fine as the tile.
    image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    if strip.labels is not None:
        image = overlay(image, cv2.resize(strip.labels[index], size, interpolation=cv2.INTER_NEAREST))
    if strip.goal is not None:
        mask = cv2.resize(strip.goal.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        image = outline(image, mask)
    return image
