"""Figures about a rollout that need no truth: they travel with it into the dataset."""

from __future__ import annotations

import numpy as np

from mask2iv_ros.masks import Role, iou
from mask2iv_ros.scene import Goal, Trajectory


def score(trajectory: Trajectory, goal: Goal) -> dict[str, float]:
    """Return the scores of a trajectory, each from 0 to 1, larger being better.

    - `goal_iou`: of the object's last mask and the goal mask; only if the goal has one. The arm
      may cover part of the object, so a perfect rollout can stay below 1.
    - `object_kept`: share of frames that show the object at all.
    """
    visible = trajectory.labels == Role.OBJECT
    scores = {"object_kept": float(np.mean(visible.any(axis=(1, 2))))}
    if goal.mask is not None:
        scores["goal_iou"] = iou(visible[-1], goal.mask)
    return scores
