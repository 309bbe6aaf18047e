"""Instructions that tell intents apart: which way the object goes in the picture, and how far."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

# Eight sectors of 45 degrees, counter-clockwise from the right.
DIRECTIONS = (
    "to the right",
    "up and to the right",
    "up",
    "up and to the left",
    "to the left",
    "down and to the left",
    "down",
    "down and to the right",
)
# In widths of the picture: from here on it is far. Half of the pushes of Meta-World's puck are.
_FAR = 0.25


def instruct(act: str, start: Bool[np.ndarray, "h w"], goal: Bool[np.ndarray, "h w"]) -> str:
    """Return the act with its direction and distance, such as "push the puck far down and to the right".

    Without them one text would stand for every goal of a scene, and nothing could be learned from
    it. Both follow from the centroids of the object's mask before and after: the direction is the nearest
    of eight in the picture, the distance "far" from a quarter of the picture's width on, else "a little".

    Args:
        act: what is done to the object, such as "push the puck".
        start: the object in the first frame, not empty.
        goal: the object in the last, not empty.
    """
    (top, left), (bottom, right) = (np.argwhere(mask).mean(0) for mask in (start, goal))
    down, across = bottom - top, right - left
    sector = round(np.arctan2(-down, across) / (np.pi / 4)) % len(DIRECTIONS)
    distance = "far" if np.hypot(down, across) >= _FAR * start.shape[1] else "a little"
    return f"{act} {distance} {DIRECTIONS[sector]}"
