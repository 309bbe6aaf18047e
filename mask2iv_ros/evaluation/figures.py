"""What every figure of an evaluation means: its title, unit, direction, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mask2iv_ros.evaluation.html import Column

Kind = Literal["frames", "masks", "other"]
KINDS: dict[Kind, str] = {"frames": "Frames", "masks": "Masks", "other": "Other"}


@dataclass(frozen=True)
class Figure:
    """A figure that an evaluation can have.

    Attributes:
        column: its title, unit, direction and meaning.
        kind: what it is about; figures of one kind share a table.
    """

    column: Column
    kind: Kind


def _frames(title: str, unit: str, better: Literal["higher", "lower"], digits: int, note: str) -> Figure:
    return Figure(Column(title, unit, better, digits, note), "frames")


def _masks(title: str, note: str) -> Figure:
    return Figure(Column(title, "IoU", "higher", 3, note), "masks")


_FIGURES = {
    "psnr": _frames("PSNR", "dB", "higher", 2, "Peak signal-to-noise ratio over all pixels."),
    "psnr_foreground": _frames(
        "foreground PSNR",
        "dB",
        "higher",
        2,
        "PSNR over the pixels that truly show arm or object, or did in the first frame.",
    ),
    "psnr_contact": _frames("contact PSNR", "dB", "higher", 2, "PSNR where arm and object truly meet."),
    "ssim": _frames("SSIM", "", "higher", 3, "Structural similarity of frames, 1 for identical ones."),
    "lpips": _frames("LPIPS", "", "lower", 3, "Perceptual distance of frames by AlexNet, 0 for identical ones."),
    "fvd": _frames(
        "FVD", "", "lower", 1, "Fréchet distance between the sets of I3D features of made and of true videos."
    ),
    "video_similarity": _frames(
        "video similarity", "", "higher", 3, "Cosine of CLIP's features of the frames made and of the true ones."
    ),
    "text_similarity": _frames(
        "text similarity", "", "higher", 3, "Cosine of CLIP's features of the frames made and of the instruction."
    ),
    "iou_interactor": _masks("arm", "Intersection over union with the true arm, mean over all frames but the first."),
    "iou_interactor_last": _masks("arm, last frame", "Intersection over union with the true arm in the last frame."),
    "iou_object": _masks("object", "Intersection over union with the true object, mean over all frames but the first."),
    "iou_object_last": _masks("object, last frame", "Intersection over union with the true object in the last frame."),
    "goal_iou": _masks("goal", "Intersection over union of the object's last mask and the goal mask."),
    "seconds": Figure(Column("time", "s", "lower", 1, "Seconds from first frame and goal to the video."), "other"),
}


def figure_named(name: str) -> Figure:
    """Return what a figure means; of one that is not known, its name alone."""
    return _FIGURES.get(name) or Figure(Column(name.replace("_", " "), digits=3), "other")


def in_order(names: set[str]) -> list[str]:
    """Return figures in the order in which reports show them, unknown ones last and by name."""
    known = list(_FIGURES)
    return sorted(names, key=lambda name: (known.index(name) if name in known else len(known), name))
