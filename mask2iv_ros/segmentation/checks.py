"""What back ends ask of their inputs and of the masks that they found."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role, check_labels
from mask2iv_ros.scene import check_image
from mask2iv_ros.segmentation.base import PROMPTED_ROLES, Prompt

_PIECE = 0.1  # of a role's area: above, a piece of it is followed for itself (two arms)
LARGEST_SHARE = 0.95  # of the image: above, a mask is everything and nothing


def check_request(
    image: UInt8[np.ndarray, "h w 3"],
    prompt: Prompt | None,
    labels: UInt8[np.ndarray, "h w"] | None,
    takes: frozenset[str] = frozenset({"points", "box"}),
) -> Prompt:
    """Return the prompt if it, the image and the labels fit each other: for back ends that need a prompt.

    Raises:
        Refused: no prompt, one of a kind that is not in `takes` or that leaves the image, a bad
            image, or labels of another size.
    """
    check_image(image)
    if prompt is None:
        raise Refused(f"no prompt was given; expected {_kinds(takes)}")
    if not prompt.kinds <= takes:
        (wrong, *_) = sorted(prompt.kinds - takes)
        raise Refused(f"the prompt is made of {wrong}; this segmentation back end takes {_kinds(takes)}")
    prompt.check_inside_image(*image.shape[:2])
    if labels is not None:
        check_labels(labels)
        if labels.shape != image.shape[:2]:
            raise Refused(f"label map has shape {labels.shape}; expected the image's {image.shape[:2]}")
    return prompt


def check_video(video: UInt8[np.ndarray, "t h w 3"]) -> None:
    """Raise `Refused` unless these are RGB frames, at least one."""
    if video.ndim != 4 or not len(video):
        raise Refused(f"video has shape {video.shape}; expected (t, h, w, 3) with at least one frame")
    check_image(video[0])


def check_prompts(
    video: UInt8[np.ndarray, "t h w 3"], prompts: Sequence[Prompt], takes: frozenset[str]
) -> tuple[Prompt, ...]:
    """Return the prompts of a `track` if each fits the video's first frame.

    Raises:
        Refused: no prompt, or anything that `check_video` and `check_request` refuse.
    """
    check_video(video)
    if not prompts:
        raise Refused(f"no prompt was given for the video's first frame; expected {_kinds(takes)}")
    return tuple(check_request(video[0], prompt, None, takes) for prompt in prompts)


def check_followed(video: UInt8[np.ndarray, "t h w 3"], labels: UInt8[np.ndarray, "h w"]) -> tuple[Role, ...]:
    """Return which roles a `follow` has to follow.

    Raises:
        Refused: no video, or labels of another size than its frames or without any role.
    """
    check_video(video)
    if labels.shape != video.shape[1:3]:
        raise Refused(f"label map has shape {labels.shape}; expected the video's {video.shape[1:3]}")
    check_labels(labels)
    roles = tuple(role for role in PROMPTED_ROLES if (labels == role).any())
    if not roles:
        raise Refused("the label map to follow shows neither interactor nor object; expected one of them at least")
    return roles


def check_mask(mask: Bool[np.ndarray, "h w"], role: Role) -> Bool[np.ndarray, "h w"]:
    """Return the mask if it can be one role of a scene.

    Raises:
        Refused: no pixel, or all but the whole image.
    """
    name = role.name.lower()
    if not mask.any():
        raise Refused(f"the {name} found has 0 pixels; expected at least one: prompt again")
    if mask.mean() > LARGEST_SHARE:
        raise Refused(
            f"the {name} found is {100 * mask.mean():.0f} % of the image; expected at most {100 * LARGEST_SHARE:.0f} %"
            ": click also on what is outside of it, or give a box"
        )
    return mask


def followed_pieces(
    video: UInt8[np.ndarray, "t h w 3"], labels: UInt8[np.ndarray, "h w"]
) -> list[tuple[Role, Bool[np.ndarray, "h w"]]]:
    """Return what a `follow` has to follow, each large piece of a role for itself; refuses as `check_followed`."""
    return [(role, piece) for role in check_followed(video, labels) for piece in pieces(labels == role)]


def pieces(mask: Bool[np.ndarray, "h w"]) -> list[Bool[np.ndarray, "h w"]]:
    """Return the mask's large connected pieces, each with the small ones that are nearest to it."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    large = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] >= _PIECE * mask.sum()]
    if len(large) <= 1:
        return [mask]
    away = [cv2.distanceTransform((parts != i).astype(np.uint8), cv2.DIST_L2, 3) for i in large]
    nearest = np.argmin(away, axis=0)
    return [mask & (nearest == place) for place in range(len(large))]


def _kinds(takes: frozenset[str]) -> str:
    words = {"points": "clicked points", "box": "a box", "words": "words"}
    known = [words[kind] for kind in words if kind in takes]
    return " or ".join([", ".join(known[:-1]), known[-1]] if len(known) > 1 else known) or "no prompts at all"


def replace_role(
    labels: UInt8[np.ndarray, "h w"] | None, role: Role, mask: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w"]:
    """Return the label map with `role` exactly where `mask` is true; the newest prompt wins overlaps.

    Pixels that the role had before and has no more become background; no label map means all background.
    """
    updated = np.zeros(mask.shape, np.uint8) if labels is None else labels.copy()
    updated[updated == role] = Role.BACKGROUND
    updated[mask] = role
    return updated
