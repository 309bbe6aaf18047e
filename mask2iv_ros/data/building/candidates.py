"""Which of several things is the manipulated one: that whose mask changes most from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, UInt8

from mask2iv_ros.data.building.drop import Dropped
from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role, iou
from mask2iv_ros.segmentation import Prompt, Segmenter
from mask2iv_ros.segmentation.base import Box, Finder, Unusable

MARGIN = 0.01  # of inter-frame IoU: candidates nearer to each other than this move alike
_SAME = 0.8  # IoU above which two masks are one thing
_OTHERS = 0.5  # share of the best score from which on more boxes of the interactor's words are more interactors


def inter_frame_iou(masks: Bool[np.ndarray, "t h w"]) -> float:
    """Return the mean IoU of each frame's mask with the next one's; steps without a mask on either side are left out.

    nan where there is no other step.
    """
    steps = [iou(one, other) for one, other in pairwise(masks) if one.any() or other.any()]
    return float(np.mean(steps)) if steps else float("nan")


def manipulated(tracks: Sequence[Bool[np.ndarray, "t h w"]]) -> int:
    """Return which of several tracked things is manipulated: the one with the lowest inter-frame IoU (method).

    Raises:
        Dropped: the two lowest are no further apart than `MARGIN`: the masks do not tell.
    """
    found = [inter_frame_iou(one) for one in tracks]
    order = [int(one) for one in np.argsort(found, kind="stable") if np.isfinite(found[one])]
    if not order:
        raise Dropped("object not found", f"none of {len(tracks)} candidate objects is seen after the first frame")
    if len(order) > 1 and found[order[1]] - found[order[0]] < MARGIN:
        raise Dropped(
            "several objects move alike",
            f"{len(order)} candidate objects, of which two have inter-frame IoUs of {found[order[0]]:.3f} and "
            f"{found[order[1]]:.3f}; expected one at least {MARGIN} below the others: click on the one that is meant",
        )
    return order[0]


def prompts_for(
    video: UInt8[np.ndarray, "t h w 3"], prompts: Sequence[Prompt], segmenter: Segmenter, every: int
) -> list[Prompt]:
    """Return prompts without words: boxes of what the words mean, of the object the manipulated one.

    Prompts of points and boxes, and words where the back end finds no boxes itself, are returned as they are.

    Args:
        video: RGB; prompts belong to its first frame.
        prompts: of both roles.
        segmenter: tracks the candidates.
        every: so-manieth frames are compared, by which a slow thing moves more than its mask trembles.

    Raises:
        Dropped: words that find nothing, or several objects that move alike.
        Refused: as `Segmenter.track`.
    """
    if not isinstance(segmenter, Finder):
        return list(prompts)
    kept = [one for one in prompts if not one.words]
    for one in (one for one in prompts if one.words and one.role == Role.INTERACTOR):
        boxes = _found(segmenter, video, one)
        kept += [Prompt(one.role, box=box.box) for box in boxes if box.score >= _OTHERS * boxes[0].score]
    interactor = [one for one in kept if one.role == Role.INTERACTOR]
    for one in (one for one in prompts if one.words and one.role == Role.OBJECT):
        boxes = _found(segmenter, video, one)
        if len(boxes) == 1:
            kept.append(Prompt(one.role, box=boxes[0].box))
            continue
        tracks = _tracks(segmenter, video, boxes, interactor)
        chosen = manipulated([masks[::every] for _, masks in tracks])
        kept.append(Prompt(one.role, box=tracks[chosen][0].box))
    return kept


def _found(finder: Finder, video: UInt8[np.ndarray, "t h w 3"], prompt: Prompt) -> list[Box]:
    boxes = finder.candidates(video[0], prompt.words)
    if not boxes:
        role = prompt.role.name.lower()
        raise Dropped(f"{role} not found", f"the words {prompt.words!r} find no {role} in the first frame")
    return boxes


def _tracks(
    segmenter: Segmenter, video: UInt8[np.ndarray, "t h w 3"], boxes: Sequence[Box], interactor: Sequence[Prompt]
) -> list[tuple[Box, Bool[np.ndarray, "t h w"]]]:
    """Track each box by itself; leave out what is another one once more, or the interactor, or no thing."""
    taken = [segmenter.track(video[:1], interactor).labels[0] == Role.INTERACTOR] if interactor else []
    tracks = []
    for box in boxes:
        try:
            masks = segmenter.track(video, [Prompt(Role.OBJECT, box=box.box)]).labels == Role.OBJECT
        except Unusable:
            raise
        except Refused:
            continue  # a detector's box about everything, or about nothing; the others may be whole
        if all(iou(masks[0], other) < _SAME for other in taken):
            taken.append(masks[0])
            tracks.append((box, masks))
    return tracks
