"""Where the stand-in camera stands, and how the scene before it is lit and painted.

Both are drawn anew for every scene, within bounds: a generator that has seen one camera and one
puck breaks on the first view of another lab.
"""

from __future__ import annotations

from colorsys import hsv_to_rgb
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mask2iv_ros.masks import Role


@dataclass(frozen=True)
class View:
    """A free camera: what it looks at (m), from how far (m), and its angles (degrees)."""

    lookat: tuple[float, float, float] = (0.0, 0.72, 0.05)
    distance: float = 0.56
    azimuth: float = -130.0
    elevation: float = -33.0


@dataclass(frozen=True)
class Station:
    """A camera's place and how far from it one may be mounted.

    Attributes:
        middle: the view in the middle of all.
        turn: of the azimuth, in degrees to either side.
        tilt: of the elevation, in degrees to either side.
        near: share of the distance to either side.
        shift: of the point looked at, in m to either side.
    """

    middle: View
    turn: float
    tilt: float = 4.0
    near: float = 0.07
    shift: float = 0.02

    def draw(self, rng: np.random.Generator) -> View:
        """Return a view from about here."""
        x, y, z = self.middle.lookat
        return View(
            (x + rng.uniform(-self.shift, self.shift), y + rng.uniform(-self.shift, self.shift), z),
            self.middle.distance * rng.uniform(1 - self.near, 1 + self.near),
            self.middle.azimuth + rng.uniform(-self.turn, self.turn),
            self.middle.elevation + rng.uniform(-self.tilt, self.tilt),
        )


@dataclass(frozen=True)
class Rig:
    """One robot's camera, table and light, which stay as they are while objects, goals and the hand's start change.

    Attributes:
        view: of the camera.
        looks: seed of all colours and lights.
    """

    view: View = View()
    looks: int = 0


# Meta-World's own cameras are too far: there the puck covers 0.1 % of the image.
TRAINED_STATION = Station(View(), turn=14.0)
# From the front, 21 degrees beyond the nearest view that is trained on.
HELD_OUT_STATION = Station(View(azimuth=-88.0, elevation=-36.0), turn=7.0)

_TABLE, _WALLS = "tablelink", "RetainingWall"
_DEFAULT_GREY = 0.5
# So dark that every colour over it is brown.
_DARK_MATERIAL = "block_wood"


class Painter:
    """Paints and lights a mujoco model anew for every scene.

    Args:
        model: of mujoco; its own colours are kept for the next scene.
        roles: of every geom.
    """

    def __init__(self, model: Any, roles: UInt8[np.ndarray, "geoms"]):
        self._model, self._roles = model, roles
        names = [model.material(number).name if number >= 0 else "" for number in model.geom_matid]
        model.geom_matid[[name == _DARK_MATERIAL for name in names]] = -1
        self._colours = model.geom_rgba.copy()
        self._lights = model.light_diffuse.copy(), model.light_dir.copy()

    def paint(self, rng: np.random.Generator) -> None:
        """Draw colours of object, table, walls and furniture, and the light; the arm keeps its own."""
        model = self._model
        model.geom_rgba[:] = self._colours
        bodies = [model.body(number).name for number in model.geom_bodyid]
        table, walls = _wood(rng), _wood(rng)
        parts: dict[tuple[int, int, bytes], np.ndarray] = {}
        for geom, (body, role) in enumerate(zip(bodies, self._roles, strict=True)):
            if role == Role.INTERACTOR or _of_the_robot(model, geom):
                continue
            if body == _TABLE:
                colour = table
            elif body == _WALLS:
                colour = walls
            elif body == "world":
                continue
            else:
                # What was of one colour stays so.
                part = (int(role), int(model.geom_matid[geom]), self._colours[geom].tobytes())
                colour = parts.setdefault(part, _paint(rng, vivid=role == Role.OBJECT))
            model.geom_rgba[geom, :3] = colour
        diffuse, direction = self._lights
        model.light_diffuse[:] = diffuse * rng.uniform(0.4, 1.5, (len(diffuse), 1))
        bent = direction + rng.uniform(-0.3, 0.3, direction.shape)
        model.light_dir[:] = bent / np.linalg.norm(bent, axis=1, keepdims=True)
        model.vis.headlight.ambient[:] = rng.uniform(0.25, 0.5)
        model.vis.headlight.diffuse[:] = rng.uniform(0.2, 0.55)


def _of_the_robot(model: Any, geom: int) -> bool:
    root = model.body_rootid[model.geom_bodyid[geom]]
    return model.body(root).name in ("base", "mocap")


def _wood(rng: np.random.Generator) -> np.ndarray:
    """Return a light, weak tint for what has a texture."""
    return np.array(hsv_to_rgb(rng.uniform(), rng.uniform(0, 0.35), rng.uniform(0.55, 1.0)))


def _paint(rng: np.random.Generator, vivid: bool) -> np.ndarray:
    saturation = rng.uniform(0.55, 1.0) if vivid else rng.uniform(0, 0.6)
    colour = np.array(hsv_to_rgb(rng.uniform(), saturation, rng.uniform(0.45, 1.0)))
    # mujoco takes this very grey for "the material's own colour".
    return np.where(colour == _DEFAULT_GREY, _DEFAULT_GREY + 1e-3, colour)
