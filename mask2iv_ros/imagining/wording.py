"""What a task text says of a goal, and what it would say of another."""

from __future__ import annotations

import re

import numpy as np
from jaxtyping import Bool

from mask2iv_ros.data.instruction import DIRECTIONS, instruct

_TOLD = re.compile(rf"(\S.*) (?:far|a little) (?:{'|'.join(map(re.escape, DIRECTIONS))})")


def act_of(task: str) -> str:
    """Return what is done to the object: a text of `instruct` without its direction, any other as it is.

    Episodes whose texts differ in the direction alone are of one act.
    """
    told = _TOLD.fullmatch(task)
    return told.group(1) if told else task


def text_for(task: str, start: Bool[np.ndarray, "h w"], goal: Bool[np.ndarray, "h w"]) -> str:
    """Return a task's text for another goal: with its direction if it names one, otherwise as it is.

    Args:
        task: of the episode that the first frame is from.
        start: the object in the first frame, not empty.
        goal: where it is to go, not empty.
    """
    act = act_of(task)
    return task if act == task else instruct(act, start, goal)
