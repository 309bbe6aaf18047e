"""Figures about a rollout that need no truth: they travel with it into the dataset.

Each is between 0 and 1, larger being better. One that cannot be known is left out, never guessed.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8

from mask2iv_ros.masks import Role, iou
from mask2iv_ros.scene import Goal, Trajectory

SCORES = ("goal_iou", "agreement", "smoothness", "permanence")

# Chosen on true clips of validation, 11 Meta-World tasks: all are permanent, and resting objects do not tremble.
STILL = 0.03  # of the picture's width: what a centroid's rounding may add up to
SEEN = 0.3  # of the object's first area: what must be seen or hidden for it to be there


def score(trajectory: Trajectory, goal: Goal, found: UInt8[np.ndarray, "t h w"] | None = None) -> dict[str, float]:
    """Return the scores of a rollout by name; see the function of each.

    Args:
        trajectory: the masks.
        goal: of the same size; without a mask there is no `goal_iou`.
        found: where arm and object are in the video; without it there is no `agreement`.
    """
    labels = trajectory.labels
    scores = {"permanence": permanence(labels)}
    if goal.mask is not None:
        scores["goal_iou"] = iou(labels[-1] == Role.OBJECT, goal.mask)
    for name, value in (
        ("smoothness", smoothness(labels)),
        ("agreement", None if found is None else agreement(labels, found)),
    ):
        if value is not None:
            scores[name] = value
    return {name: scores[name] for name in SCORES if name in scores}


def agreement(labels: UInt8[np.ndarray, "t h w"], found: UInt8[np.ndarray, "t h w"]) -> float | None:
    """Return the mean IoU, over roles and frames, of the trajectory's masks and those found again in the video.

    The first frame is given, so it does not count; neither does a frame in which both sides show nothing
    of a role. None: nothing is left.
    """
    values = [
        iou(one == role, other == role)
        for one, other in zip(labels[1:], found[1:], strict=True)
        for role in (Role.INTERACTOR, Role.OBJECT)
        if (one == role).any() or (other == role).any()
    ]
    return float(np.mean(values)) if values else None


def smoothness(labels: UInt8[np.ndarray, "t h w"]) -> float | None:
    """Return how evenly arm and object move, the mean of both: 1 at constant velocity, 0 to and fro in every frame.

    Of a role, 1 - (sum of |a|) / (2 (sum of |v| + s)) with v and a the first and second differences of
    its mask's centroid: |a| of a frame is at most |v| before it and after it, so the share is at most 1. The
    small s, `STILL` of the picture's width, keeps a resting thing's rounding from being taken for a
    tremble. A role counts where it is seen in three frames running; None: neither is.
    """
    width, values = labels.shape[2], []
    for role in (Role.INTERACTOR, Role.OBJECT):
        centroids = np.array([_centroid(frame == role) for frame in labels])
        velocity = np.linalg.norm(np.diff(centroids, axis=0), axis=1)
        acceleration = np.linalg.norm(np.diff(centroids, 2, axis=0), axis=1)
        if not np.isnan(acceleration).all():
            values.append(1 - np.nansum(acceleration) / (2 * (np.nansum(velocity) + STILL * width)))
    return float(np.mean(values)) if values else None


def permanence(labels: UInt8[np.ndarray, "t h w"]) -> float:
    """Return the share of frames in which the object is there, seen or hidden behind the arm.

    It is there if its visible area and what the arm covers of it are together at least `SEEN` of its
    area in frame 0. What the arm covers is counted on the object's latest mask of at least `SEEN`,
    put where the object is: at the centroid of what is visible or, if nothing is, on the line
    between where it was last and is next (where it was last, if it never comes back).
    """
    thing, arm = labels == Role.OBJECT, labels == Role.INTERACTOR
    least = SEEN * np.count_nonzero(thing[0])
    centroids = np.array([_centroid(frame) for frame in thing])
    known = np.flatnonzero(~np.isnan(centroids[:, 0]))
    if not known.size or least == 0:
        return 0.0
    places = np.stack([np.interp(np.arange(len(labels)), known, centroids[known, axis]) for axis in (0, 1)], axis=1)
    there, latest = [], 0
    for frame, (seen, covering) in enumerate(zip(thing, arm, strict=True)):
        visible = np.count_nonzero(seen)
        if visible < least:
            whole = _shifted(thing[latest], places[frame] - places[latest])
            visible += np.count_nonzero(whole & covering & ~seen)
        else:
            latest = frame
        there.append(visible >= least)
    return float(np.mean(there))


def _centroid(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "2"]:
    """Return the mean row and column; NaN of an empty mask."""
    rows, columns = np.nonzero(mask)
    return np.array([rows.mean(), columns.mean()]) if rows.size else np.full(2, np.nan)


def _shifted(mask: Bool[np.ndarray, "h w"], by: Float[np.ndarray, "2"]) -> Bool[np.ndarray, "h w"]:
    """Return the mask moved by whole pixels; what leaves the picture is gone."""
    rows, columns = (one + round(step) for one, step in zip(np.nonzero(mask), by, strict=True))
    inside = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
    moved = np.zeros_like(mask)
    moved[rows[inside], columns[inside]] = True
    return moved
