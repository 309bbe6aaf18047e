"""Holds the latest camera frame and publishes it on request, or at a rate.

A frame that cannot be used is refused when it arrives and does not replace the one held. Age
is counted from arrival, by a clock that no time server sets: the stamp is the camera's and may
come from another clock; it is carried through unchanged.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from mask2iv_ros.errors import Refused
from mask2iv_ros.ros import convert, qos
from mask2iv_ros.ros.diagnostics import Diagnostics, Level, Status
from mask2iv_ros.ros.parameters import Parameters
from mask2iv_ros.ros.process import run
from mask2iv_ros.srv import Capture

MAX_AGE = 3600.0  # seconds, as srv/Capture says


@dataclass(frozen=True)
class CaptureSettings:
    """The parameters of `config/capture.yaml`."""

    transport: str
    max_age: float
    continuous: bool
    rate: float


class CaptureNode(Node):
    """Topics `image` or `image/compressed` in, `frame` out; service `capture`."""

    def __init__(self) -> None:
        super().__init__("capture")
        self._settings = Parameters(self, "capture", CaptureSettings, self._apply)
        self._latest: Image | CompressedImage | None = None
        self._arrival = 0.0
        self._arrived, self._captured = 0, 0
        self._published: Image | CompressedImage | None = None
        self._diagnostics = Diagnostics(self, self._status)
        self._publisher = self.create_publisher(Image, "frame", qos.LATEST)
        guard = self._diagnostics.guarded
        if self._settings.value.transport == "raw":
            self._input = self.create_subscription(Image, "image", guard("image", self._on_image), qos.SENSOR)
        else:
            # As image_transport does it: the suffix follows whatever `image` is remapped to.
            topic = f"{self.resolve_topic_name('image')}/compressed"
            self._input = self.create_subscription(CompressedImage, topic, guard("image", self._hold), qos.SENSOR)
        self.create_service(Capture, "capture", self._diagnostics.answered("capture", self._on_capture))
        self._timer = self.create_timer(1 / self._settings.value.rate, guard("continuous", self._on_timer))

    def _apply(self, settings: CaptureSettings) -> None:
        self._timer.timer_period_ns = int(1e9 / settings.rate)
        self._diagnostics.accept("continuous")

    def _on_image(self, msg: Image) -> None:
        convert.check_image_msg(msg)
        self._hold(msg)

    def _hold(self, msg: Image | CompressedImage) -> None:
        self._latest, self._arrival = msg, time.monotonic()
        self._arrived += 1

    def _on_capture(self, request: Capture.Request, response: Capture.Response) -> str:
        if not (np.isfinite(request.max_age) and 0 <= request.max_age <= MAX_AGE):
            raise Refused(f"max_age is {request.max_age:g} seconds; expected 0 (the node's own limit) to {MAX_AGE:g}")
        response.header = self._capture(request.max_age or self._settings.value.max_age).header
        return f"captured a frame that is {time.monotonic() - self._arrival:.3f} s old"

    def _on_timer(self) -> None:
        if self._settings.value.continuous and self._latest is not self._published:
            self._capture(self._settings.value.max_age)

    def _capture(self, max_age: float) -> Image:
        topic = self._input.topic_name
        if self._latest is None:
            raise Refused(f"no frame has arrived on {topic}; expected a camera that publishes there")
        age = time.monotonic() - self._arrival
        if age > max_age:
            raise Refused(
                f"the latest frame of {topic} is {age:.2f} s old; expected at most {max_age:g} s: "
                "the camera has stopped, or max_age is too short for its rate"
            )
        if isinstance(self._latest, Image):
            image = convert.image_from_msg(self._latest)
        else:
            image = convert.image_from_compressed(self._latest)
        frame = convert.image_to_msg(image, self._latest.header)
        self._publisher.publish(frame)
        self._published = self._latest
        self._captured += 1
        return frame

    def _status(self) -> Status:
        topic, limit = self._input.topic_name, self._settings.value.max_age
        values = {"frames received": self._arrived, "frames captured": self._captured}
        if self._latest is None:
            return Status(Level.STALE, f"no frame has arrived on {topic}", values)
        age = time.monotonic() - self._arrival
        values["age in seconds"] = f"{age:.2f}"
        if age > limit:
            return Status(Level.STALE, f"the latest frame of {topic} is {age:.1f} s old; max_age is {limit:g}", values)
        return Status(Level.OK, f"frames arrive on {topic}", values)


def main() -> int:
    """Run the node."""
    return run(CaptureNode)


if __name__ == "__main__":
    sys.exit(main())
