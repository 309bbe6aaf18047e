"""States and commands: messages of the usual types as numbers with names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from mask2iv_ros.errors import Refused

_AXES = ("x", "y", "z")
_POSE = (*_AXES, "qx", "qy", "qz", "qw")
_TWIST = tuple(f"{part}.{axis}" for part in ("linear", "angular") for axis in _AXES)

_MOST_COLUMNS = 1024
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Numbers:
    """What one message says.

    Attributes:
        names: of the values; None where the message has none.
        values: in the message's units.
    """

    names: tuple[str, ...] | None
    values: Float64[np.ndarray, " n"]


def numbers_of(message: Any, kind: str, where: str) -> Numbers:
    """Return what a message of one of `VECTORS` says.

    Args:
        message: decoded.
        kind: its type.
        where: it comes from, for the sentence.

    Raises:
        Refused: names and values do not go together, or a value is not finite.
    """
    names, values = VECTORS[kind](message, where)
    # Datasets hold float32, in which a number may be infinite that was not in float64.
    values = np.asarray(values, np.float64).reshape(-1)
    if not 1 <= len(values) <= _MOST_COLUMNS:
        raise Refused(f"{where} has {len(values)} values; expected 1 to {_MOST_COLUMNS}")
    if names is not None and (len(names) != len(values) or len(set(names)) != len(names) or not all(names)):
        raise Refused(
            f"{where} has {len(values)} positions of {len(names)} joints ({', '.join(names)[:200]}); expected one each"
        )
    if strange := [one for one in names or () if len(one) > _LONGEST_NAME or not one.isprintable()]:
        raise Refused(f"{where} has the name {strange[0][:40]!r}; expected up to {_LONGEST_NAME} printable characters")
    if not (np.abs(values) <= np.finfo(np.float32).max).all():
        worst = int(np.flatnonzero(~(np.abs(values) <= np.finfo(np.float32).max))[0])
        raise Refused(f"{where} has {values[worst]} for {worst if names is None else names[worst]}; expected a number")
    return Numbers(None if names is None else tuple(names), values)


def _joint_state(message: Any, where: str) -> tuple[Sequence[str], Any]:
    return message.name, message.position


def _trajectory(message: Any, where: str) -> tuple[Sequence[str], Any]:
    if not message.points:
        raise Refused(f"{where} has no point; expected trajectories of at least one")
    return message.joint_names, message.points[0].positions


def _array(message: Any, where: str) -> tuple[Sequence[str] | None, Any]:
    labels = [one.label for one in message.layout.dim]
    values = message.data[message.layout.data_offset :]
    # A label names a dimension; only where there are as many as values can it name these.
    named = len(labels) == len(values) and all(labels) and len(set(labels)) == len(labels)
    return (labels if named else None), values


def _pose(message: Any, where: str) -> tuple[Sequence[str], Any]:
    place, turn = message.position, message.orientation
    return _POSE, [place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w]


def _twist(message: Any, where: str) -> tuple[Sequence[str], Any]:
    return _TWIST, [getattr(part, axis) for part in (message.linear, message.angular) for axis in _AXES]


VECTORS: Mapping[str, Callable[[Any, str], tuple[Sequence[str] | None, Any]]] = {
    "sensor_msgs/msg/JointState": _joint_state,
    "geometry_msgs/msg/Pose": _pose,
    "geometry_msgs/msg/PoseStamped": lambda message, where: _pose(message.pose, where),
    "std_msgs/msg/Float64MultiArray": _array,
    "std_msgs/msg/Float32MultiArray": _array,
    "geometry_msgs/msg/Twist": _twist,
    "geometry_msgs/msg/TwistStamped": lambda message, where: _twist(message.twist, where),
    "trajectory_msgs/msg/JointTrajectory": _trajectory,
}
# Taken unasked where a bag has one topic of them; any of `VECTORS` may be asked for as either.
STATES = ("sensor_msgs/msg/JointState", "geometry_msgs/msg/Pose", "geometry_msgs/msg/PoseStamped")
ACTIONS = tuple(one for one in VECTORS if one not in STATES)
