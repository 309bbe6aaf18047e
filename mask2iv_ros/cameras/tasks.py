"""The Meta-World tasks before the stand-in camera: those whose object is well seen and moves in the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True)
class FreeGoal:
    """Goals all around the object: an environment's own lie on one side, and one side teaches one motion.

    Attributes:
        distance: from the object over the table, in m, least and most.
        height: above the object's own, in m, least and most.
    """

    distance: tuple[float, float]
    height: tuple[float, float] = (0.0, 0.0)

    def draw(self, start: Float64[np.ndarray, "3"], rng: np.random.Generator) -> Float64[np.ndarray, "3"]:
        """Return a goal on the table before the camera, for an object at `start`."""
        while True:
            angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(*self.distance)
            goal = start + np.array([far * np.cos(angle), far * np.sin(angle), rng.uniform(*self.height)])
            if all(low <= value <= high for value, (low, high) in zip(goal[:2], _WITHIN_REACH, strict=True)):
                return goal


# x and y on the table, in m: there the arm reaches and every trained view sees.
_WITHIN_REACH = ((-0.2, 0.2), (0.52, 0.84))


@dataclass(frozen=True)
class Task:
    """A task of Meta-World.

    Attributes:
        act: what its expert does, in words.
        hidden: a body that would hide the object, and is not drawn.
        lead: control steps of the expert before the scene begins, of an act that takes longer than others.
        goal: where goals are drawn; None: where the environment has them.
        held_out: never trained on, to measure how far a generator generalises.
    """

    act: str
    hidden: str | None = None
    lead: int = 0
    goal: FreeGoal | None = None
    held_out: bool = False

    @property
    def instruction(self) -> str:
        """The act, towards a goal that is shown rather than told."""
        return f"{self.act} to the goal"


TASKS: dict[str, Task] = {
    "plate-slide": Task("slide the plate", "puck_goal"),
    "push": Task("push the puck", lead=10, goal=FreeGoal((0.12, 0.24))),
    "coffee-push": Task("push the mug", "coffee_machine", lead=10, goal=FreeGoal((0.12, 0.24))),
    "plate-slide-back": Task("slide the plate", "puck_goal"),
    "plate-slide-side": Task("slide the plate", "puck_goal"),
    "push-back": Task("push the cube", lead=12, goal=FreeGoal((0.12, 0.24))),
    "sweep-into": Task("sweep the cube into the hole"),
    "pick-place": Task("lift the puck", lead=10, goal=FreeGoal((0.05, 0.15), (0.06, 0.2))),
    "faucet-open": Task("turn the faucet"),
    "faucet-close": Task("turn the faucet"),
    "assembly": Task("lift the ring onto the peg", lead=25),
    "plate-slide-back-side": Task("slide the plate", "puck_goal", held_out=True),
    "box-close": Task("lift the lid onto the box", lead=40, held_out=True),
}
TRAINED_TASKS = tuple(name for name, task in TASKS.items() if not task.held_out)
HELD_OUT_TASKS = tuple(name for name, task in TASKS.items() if task.held_out)
# Grips the cube, which the expert of the environment itself shoves and sometimes loses.
EXPERTS = {"push-back": "pick-place"}
