"""What HOI4D's labels and actions mean: who is the hand, what it handles, and how to say so.

From https://github.com/leolyliu/HOI4D-Instructions: `definitions/motion segmentation/label.csv` (what each label
of a category is), `definitions/task/task_definitions.csv` (what the tasks are), `utils/color_map.py` (the colour
of each label). The names of the actions are those that its action/color.json files use.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role

_LABELS = 10  # as many as the authors' own parse_2Dmask_img tells apart, background among them
_FOREIGN = 0.05  # of what is not black; edges of a mask that was warped into place may be mixed colours


class Thing(NamedTuple):
    """What a hand handles.

    Attributes:
        words: with its article.
        labels: of its parts. Of furniture and safes those that move: their body would hide that anything does.
    """

    words: str
    labels: tuple[int, ...]


_THINGS = {
    "C1": Thing("a toy car", (1,)),
    "C2": Thing("a mug", (1,)),
    "C3": Thing("a laptop", (1, 3)),
    "C5": Thing("a bottle", (1,)),
    "C6": Thing("a safe", (3,)),
    "C7": Thing("a bowl", (1,)),
    "C8": Thing("a bucket", (1, 3)),
    "C9": Thing("scissors", (1, 3)),
    "C11": Thing("pliers", (1, 3)),
    "C12": Thing("a kettle", (1,)),
    "C13": Thing("a knife", (1,)),
    "C14": Thing("a trash can", (1, 3)),
    "C17": Thing("a lamp", (1, 3, 4, 5)),
    "C18": Thing("a stapler", (1, 3, 4)),
    "C20": Thing("a chair", (1,)),
}
_DOOR, _DRAWER = Thing("a door", (1,)), Thing("a drawer", (4,))
# Storage furniture, by what its tasks open.
_FURNITURE = {"T1": _DRAWER, "T2": _DOOR, "T3": _DOOR, "T4": _DRAWER}
# Tasks in which a second thing is put in or taken out.
_CARRIED = {
    ("C4", "T3"): Thing("a bottle", (5,)),
    ("C4", "T4"): Thing("a bottle", (5,)),
    ("C6", "T2"): Thing("a bottle", (4,)),
    ("C6", "T3"): Thing("a bottle", (4,)),
    ("C7", "T4"): Thing("a ball", (3,)),
    ("C7", "T5"): Thing("a ball", (3,)),
    ("C14", "T2"): Thing("a bottle", (4,)),
}
_RIGHT_HAND = 2
_LEFT_HANDS = {"C8": 6, "C17": 6, "C20": 3}

_GRASP = "grasp"
_CARRYING = {
    "pickup": "a hand picking up",
    "putdown": "a hand putting down",
    "carry": "a hand carrying",
    "carrywithbothhands": "two hands carrying",
}
_VERBS = _CARRYING | {
    _GRASP: "a hand grasping",
    "open": "a hand opening",
    "close": "a hand closing",
    "push": "a hand pushing",
    "pull": "a hand pulling",
    "press": "a hand pressing",
    "dump": "a hand dumping",
    "cut": "a hand cutting with",
    "paper-cut": "a hand cutting with",
    "binding": "a hand binding with",
    "turn&on&the&switch": "a hand turning on the switch of",
}
# Nothing is handled in these.
_IDLE = {"rest", "reachout", "stop", "go", "lookaround"}


def handled(category: str, task: str, events: list[str]) -> list[tuple[str, Thing] | None]:
    """Return for each action of a recording its text, "a hand {verbing} an {object}", and what is handled.

    Where a second thing is put in or taken out, carrying actions handle that one; a grasp handles what the
    next action does.

    Args:
        category: such as "C2".
        task: such as "T1".
        events: names of all actions in their order.

    Returns:
        None for an action in which nothing is handled.

    Raises:
        Refused: a category, task or action that HOI4D has not.
    """
    main = _FURNITURE.get(task) if category == "C4" else _THINGS.get(category)
    if main is None:
        raise Refused(f"category and task are {category}, {task}; expected some of HOI4D's 16 categories")
    found: list[tuple[str, Thing] | None] = []
    following = None
    for event in reversed([event.strip().lower() for event in events]):
        if event in _IDLE:
            found.append(None)
            continue
        if event not in _VERBS:
            raise Refused(f"an action is {event[:100]!r}; known are {', '.join(sorted(_IDLE | _VERBS.keys()))}")
        thing = _CARRIED.get((category, task), main) if event in _CARRYING else main
        if event == _GRASP and following is not None:
            thing = following
        following = thing
        found.append((f"{_VERBS[event]} {thing.words}", thing))
    return found[::-1]


def roles_of_labels(category: str, thing: Thing) -> UInt8[np.ndarray, "10"]:
    """Return the `Role` of each label: hands are interactors, what is handled is the object."""
    roles = np.full(_LABELS, Role.BACKGROUND, np.uint8)
    roles[[_RIGHT_HAND, *([_LEFT_HANDS[category]] if category in _LEFT_HANDS else [])]] = Role.INTERACTOR
    roles[list(thing.labels)] = Role.OBJECT
    return roles


def decode_labels(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
    """Return the label of each pixel of a 2Dseg mask by its colour; 0 where a colour is none of HOI4D's.

    Raises:
        Refused: over a twentieth of what is not black has such a colour.
    """
    red, green, blue = (picture[..., channel] for channel in range(3))
    labels = _BY_COLOUR[red >> 6 | green >> 6 << 2 | blue >> 6 << 4]
    together = red | green | blue  # channel by channel: any(axis=-1) takes ten times as long
    labels[together & 63 > 0] = 0
    painted = together > 0
    foreign = np.count_nonzero(painted & (labels == 0))
    if foreign > _FOREIGN * np.count_nonzero(painted):
        row, column = np.argwhere(painted & (labels == 0))[0]
        raise Refused(
            f"{foreign} of its pixels are as {tuple(picture[row, column].tolist())}; expected HOI4D's colours"
        )
    return labels


def colour_of(label: int) -> tuple[int, int, int]:
    """Return the RGB colour of a label: its bits, three to a level, from the highest down."""
    return tuple(sum((label >> (3 * level + channel) & 1) << (7 - level) for level in range(2)) for channel in range(3))


def _by_colour() -> UInt8[np.ndarray, "64"]:
    table = np.zeros(64, np.uint8)
    for label in range(_LABELS):
        red, green, blue = (level >> 6 for level in colour_of(label))
        table[red | green << 2 | blue << 4] = label
    return table


_BY_COLOUR = _by_colour()
