"""How sure a network is of what it follows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from mask2iv_ros.masks import Role
from mask2iv_ros.segmentation.base import PROMPTED_ROLES

_LOST = 0.5  # a network's own belief that its thing is in the frame: below, confidence is 0


def role_confidence(
    roles: Sequence[Role], sure: Float[np.ndarray, "n h w"], seen: Sequence[float]
) -> Float[np.ndarray, " 2"]:
    """Return per role the mean over its things of presence times the mean probability of the mask's pixels."""
    each = [
        p * float(s[s > 0.5].mean()) if p >= _LOST and (s > 0.5).any() else 0.0 for s, p in zip(sure, seen, strict=True)
    ]
    return np.array(
        [
            np.mean([e for e, own in zip(each, roles, strict=True) if own == r]) if r in roles else np.nan
            for r in PROMPTED_ROLES
        ]
    )
