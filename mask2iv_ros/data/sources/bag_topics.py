"""Which topics of a bag are taken: those that are told, or the only ones that fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mask2iv_ros.data.sources.bag_file import Bag
from mask2iv_ros.data.sources.bag_vectors import ACTIONS, STATES, VECTORS, numbers_of
from mask2iv_ros.errors import Refused

IMAGE, COMPRESSED, TEXT = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "std_msgs/msg/String"
NONE = "none"  # in place of a topic: not to take the only one
STALE = 0.5  # seconds

_PEEKED = 20  # messages from which the order of the joints follows


@dataclass(frozen=True)
class BagTopics:
    """What is taken of every bag.

    Attributes:
        cameras: topics of images; none: the only one.
        state: topic of numbers; "": the only one of `STATES`, if there is one; "none": none.
        action: topic of numbers; "": the only one of `ACTIONS`, if there is one; "none": none.
        labels: topic of label images (mono8, a `Role` a pixel) with the stamps of the camera's; "": none. Only frames
            that have one are taken.
        task: topic of texts, each of which holds until the next; "": none.
        height: pixels to which higher frames are reduced; 0: as recorded. Prompts count in these pixels.
        stale: seconds for which a state or a command holds, at most.
    """

    cameras: tuple[str, ...] = ()
    state: str = ""
    action: str = ""
    labels: str = ""
    task: str = ""
    height: int = 0
    stale: float = STALE

    def __post_init__(self) -> None:
        if self.height and not 16 <= self.height <= 8192:
            raise Refused(f"height is {self.height}; expected 16 to 8192 pixels, or 0 for the camera's")
        if not 0 < self.stale <= 3600:
            raise Refused(f"stale is {self.stale}; expected more than 0 and at most 3600 seconds")
        if self.state == self.action != NONE and self.state:
            raise Refused(f"state and action are both {self.state}; expected two topics, or {NONE} for one of them")
        if self.labels and len(self.cameras) > 1:
            raise Refused(f"labels are of one camera; expected one of {', '.join(self.cameras)}")


def choose_topics(bag: Bag, topics: BagTopics) -> BagTopics:
    """Return the topics that are taken: those that are told, and for others the only one that fits.

    Raises:
        Refused: the bag lacks one that is told or any camera, one is of another type, or several would fit.
    """
    images = [one for one in bag.of((IMAGE, COMPRESSED)) if one != topics.labels]
    cameras = topics.cameras or (_only(bag, images, "camera", "--camera"),)
    if not cameras[0]:
        raise Refused(f"{bag.path} has no topic of images; its topics are {bag.described()}")
    for one in cameras:
        bag.require(one, (IMAGE, COMPRESSED))
    for one, kinds in ((topics.labels, (IMAGE,)), (topics.task, (TEXT,))):
        if one:
            bag.require(one, kinds)
    chosen = {}
    for name, fitting, other in (("state", STATES, topics.action), ("action", ACTIONS, topics.state)):
        told = getattr(topics, name)
        if told and told != NONE:
            bag.require(told, tuple(VECTORS))
            chosen[name] = told
        else:
            found = [] if told else [one for one in bag.of(fitting) if one != other]
            chosen[name] = _only(bag, found, name, f"--{name}")
    return replace(topics, cameras=cameras, **chosen)


def _only(bag: Bag, found: Sequence[str], what: str, option: str) -> str:
    """Return the only topic that fits, "" if there is none."""
    if len(found) > 1:
        told = ", ".join(f"{one} ({bag.topics[one]})" for one in found)
        raise Refused(f"{bag.path} has {len(found)} topics that may be the {what}: {told}; expected {option} with one")
    return found[0] if found else ""


def order_of(bag: Bag, topic: str) -> tuple[str, ...]:
    """Return the names in a topic's first messages, as they come: the order of the columns in all bags.

    Raises:
        Refused: one of them is corrupt.
    """
    names: dict[str, None] = {}
    kind = bag.require(topic, tuple(VECTORS))
    for index, one in enumerate(bag.messages([topic])):
        if index == _PEEKED:
            break
        names |= dict.fromkeys(numbers_of(one.message, kind, f"{bag.path}: message {index} on {topic}").names or ())
    return tuple(names)
