"""Labels by motion alone, without a click or a word, for footage of a static camera.

The interactor is what moves and reaches in from the border (`moving_interactor`), the object what was at rest and is
gone after it came, or else what it stops at (`handled_object`), unless someone says which it is. Nothing here knows
what an arm or a cup looks like: how often it is right is for the report's pictures to show.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, UInt8

from mask2iv_ros.data.building.handled_object import CHANGED, find_object, unlike_first
from mask2iv_ros.data.building.moving_interactor import Moving, find_interactor
from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role, resize_labels
from mask2iv_ros.segmentation import Prompt, Segmenter

SAID = "what was pointed at"


def find_by_motion(
    video: UInt8[np.ndarray, "t h w 3"], segmenter: Segmenter, prompts: Sequence[Prompt] = ()
) -> tuple[UInt8[np.ndarray, "t h w"], str]:
    """Return label maps of a video and how its object was told, in words.

    Args:
        video: RGB, of at least two frames.
        segmenter: finds the object's contour and follows it.
        prompts: of the object in the first frame, where someone said which it is.

    Raises:
        Dropped: the camera moves, or no interactor or no object is found.
        Refused: the back end takes no points.
    """
    if not prompts and "points" not in segmenter.takes:
        raise Refused(f"segmentation back end {segmenter.name!r} takes no points; expected one that does for motion")
    moving = Moving.look(video)
    interactor = find_interactor(moving)
    if prompts:
        thing, how = segmenter.track(video[:1], prompts).labels[0] == Role.OBJECT, SAID
    else:
        thing, how = find_object(moving, interactor, video[0], segmenter)
    arm = _resize(interactor, video.shape[1:3])
    known = np.where(thing, Role.OBJECT, np.where(arm[0], Role.INTERACTOR, Role.BACKGROUND)).astype(np.uint8)
    followed = segmenter.follow(video, known).labels == Role.OBJECT
    # Where the object was and the picture has not changed since, there it still is.
    same = np.linalg.norm(unlike_first(moving, interactor), axis=3) < CHANGED
    resting = thing & _resize(same, video.shape[1:3])
    # The handled object moves with the interactor and is a part of what moves: there following knows better.
    labels = np.where(arm, Role.INTERACTOR, Role.BACKGROUND)
    labels[followed | resting] = Role.OBJECT
    return labels.astype(np.uint8), how


def _resize(masks: Bool[np.ndarray, "t h w"], size: tuple[int, int]) -> Bool[np.ndarray, "t h2 w2"]:
    return np.stack([resize_labels(one.astype(np.uint8), size) > 0 for one in masks])
