"""Pixels of 8-bit image messages, whoever decoded the message: rclpy, or rosbags from a recording.

Every size that a message claims is checked against the data that it brings before anything is allocated, so that
a hostile message is refused and never believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np
from jaxtyping import UInt8

from mask2iv_ros.errors import Refused

_TO_RGB = {
    "rgb8": None,
    "bgr8": cv2.COLOR_BGR2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
}
CHANNELS = {"mono8": 1, "rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4}
IMAGE_ENCODINGS = tuple(_TO_RGB)

MAX_SIDE = 8192  # pixels


class ImageMessage(Protocol):
    """What is read of a sensor_msgs/Image; rows are `step` bytes apart."""

    height: int
    width: int
    encoding: str
    step: int
    data: Any


def rgb(msg: ImageMessage, name: str = "image") -> UInt8[np.ndarray, "h w 3"]:
    """Return a message of any of `IMAGE_ENCODINGS` as RGB.

    Args:
        msg: the message.
        name: what messages call it.

    Raises:
        Refused: another encoding, a size of zero or out of range, or less data than the size needs.
    """
    rows = pixel_rows(msg, name)
    conversion = _TO_RGB[msg.encoding]
    return rows.copy() if conversion is None else cv2.cvtColor(np.ascontiguousarray(rows), conversion)


def pixel_rows(
    msg: ImageMessage, name: str = "image", encodings: Sequence[str] = IMAGE_ENCODINGS
) -> UInt8[np.ndarray, "h w *c"]:
    """Return a view of a message's pixels, after every check.

    `is_bigendian` is not looked at: it has no meaning for 8-bit channels.

    Args:
        msg: the message.
        name: what messages call it.
        encodings: that are accepted.

    Raises:
        Refused: another encoding, a size of zero or out of range, or less data than the size needs.
    """
    if msg.encoding not in encodings:
        raise Refused(f"{name} has the encoding {msg.encoding[:40]!r}; accepted are {', '.join(encodings)}")
    check_size(name, msg.height, msg.width)
    channels = CHANNELS[msg.encoding]
    if msg.step < msg.width * channels:
        raise Refused(
            f"{name} has a step of {msg.step} bytes; expected at least {msg.width * channels} "
            f"for {msg.width} pixels of {msg.encoding}"
        )
    if len(msg.data) < msg.step * msg.height:
        raise Refused(
            f"{name} has {len(msg.data)} bytes of data; expected {msg.step * msg.height}: "
            f"step {msg.step} x height {msg.height}"
        )
    flat = np.frombuffer(msg.data, np.uint8, msg.step * msg.height).reshape(msg.height, msg.step)
    rows = flat[:, : msg.width * channels]
    return rows if channels == 1 else rows.reshape(msg.height, msg.width, channels)


def check_size(name: str, height: int, width: int) -> None:
    """Check the sides of a picture.

    Raises:
        Refused: one is zero or above `MAX_SIDE`.
    """
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise Refused(f"{name} is {width} x {height} pixels; expected 1 to {MAX_SIDE} each way")
