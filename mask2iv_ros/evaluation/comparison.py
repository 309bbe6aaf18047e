"""One clip as every method has it, side by side: a film and a contact sheet."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from jaxtyping import UInt8

from mask2iv_ros.evaluation.measure import CHAINED, GUIDED, Measured
from mask2iv_ros.evaluation.sheet import Strip, caption_line, contact_sheet
from mask2iv_ros.evaluation.video import masks_and_frames

_LEAST_WIDTH = 256  # of a tile: small frames are enlarged by a whole number
_GAP = 4  # pixels between columns


@dataclass(frozen=True)
class Panel:
    """One method's column.

    Attributes:
        caption: above it.
        video: what it made.
        labels: its masks, or those that it was given.
    """

    caption: str
    video: UInt8[np.ndarray, "t h w 3"]
    labels: UInt8[np.ndarray, "t h w"]


def panels(one: Measured) -> list[Panel]:
    """Return truth, both stages chained, stage 2 on true masks, and the baselines that differ most."""
    truth, by_goal = one.clip.labels, "nearest training clip, by goal"
    masks = {
        CHAINED: one.labels["stage 1"],
        GUIDED: truth,
        by_goal: one.labels[by_goal],
        "paste and move, by true masks": truth,
        "repeat first frame": one.labels["static masks"],
    }
    made = [Panel(method, one.videos[method], labels) for method, labels in masks.items()]
    return [Panel("truth", one.clip.video, truth), *made]


def comparison_film(one: Measured) -> UInt8[np.ndarray, "t h w 3"]:
    """Return the panels beside each other: frames above, masks over the source frame below, the goal outlined."""
    columns: list[UInt8[np.ndarray, "t h w 3"]] = []
    for panel in panels(one):
        width = panel.video.shape[2]
        tile = width * ceil(_LEAST_WIDTH / width)
        cell = masks_and_frames(one.clip.video[0], panel.labels, panel.video, one.clip.goal_mask, tile)[::-1]
        line = np.repeat(caption_line(panel.caption, tile)[None], len(panel.video), 0)
        column = np.concatenate([line, *cell], axis=1)
        columns += [column, np.full((*column.shape[:2], _GAP, 3), 255, np.uint8)]
    return np.concatenate(columns[:-1], axis=2)


def comparison_sheet(one: Measured) -> UInt8[np.ndarray, "h w 3"]:
    """Return frames and masks of every method below each other, the goal outlined."""
    clip = one.clip
    still = np.repeat(clip.video[:1], len(clip.video), 0)
    strips = [Strip(f"{clip.id}: truth", clip.video, goal=clip.goal_mask)]
    strips += [Strip(f"frames: {name}", video, goal=clip.goal_mask) for name, video in one.videos.items()]
    strips.append(Strip("masks: truth", still, clip.labels, clip.goal_mask))
    strips += [Strip(f"masks: {name}", still, labels, clip.goal_mask) for name, labels in one.labels.items()]
    return contact_sheet(strips)
