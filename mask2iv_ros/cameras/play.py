"""Motion without a purpose: what a robot does by itself while its camera records, for a labeller to learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

if TYPE_CHECKING:
    from mask2iv_ros.cameras.metaworld import MetaWorldCamera

# Of the hand, in m: over the part of the table that every trained view sees.
_LOW, _HIGH = np.array([-0.2, 0.5, 0.05]), np.array([0.2, 0.85, 0.28])
_NEAR = 0.015  # m
_LONGEST = 30  # control steps towards a point
_GAIN = 10.0  # the scripted experts' own


class Play:
    """Moves the hand from one drawn point to the next, the gripper now open, now closed.

    Args:
        camera: whose arm is moved, at a scene.
        rng: draws the points.
    """

    def __init__(self, camera: MetaWorldCamera, rng: np.random.Generator):
        self._camera, self._rng = camera, rng
        self._draw()

    def __call__(self) -> Float64[np.ndarray, "4"]:
        """Return the next action."""
        way = self._point - self._camera.state[:3]
        if self._left == 0 or np.linalg.norm(way) < _NEAR:
            self._draw()
            way = self._point - self._camera.state[:3]
        self._left -= 1
        return np.clip([*(_GAIN * way), self._grip], -1, 1)

    def _draw(self) -> None:
        self._point = self._rng.uniform(_LOW, _HIGH)
        self._grip = self._rng.choice((-1.0, 0.5, 1.0))
        self._left = _LONGEST
