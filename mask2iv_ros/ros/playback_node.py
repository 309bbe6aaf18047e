"""Plays a video file or a folder of images as a camera."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from rclpy.node import Node
from sensor_msgs.msg import Image

from mask2iv_ros.cameras.playback import Playback
from mask2iv_ros.errors import Refused
from mask2iv_ros.ros import convert, qos
from mask2iv_ros.ros.diagnostics import Diagnostics, Level, Status
from mask2iv_ros.ros.parameters import Parameters
from mask2iv_ros.ros.process import run


@dataclass(frozen=True)
class PlaybackSettings:
    """The parameters of `config/playback.yaml`."""

    path: str
    loop: bool
    rate: float
    frame_id: str

    def __post_init__(self) -> None:
        if not self.path:
            raise Refused("parameter path is ''; expected a video file or a folder of images")


class PlaybackNode(Node):
    """Topic `image` out."""

    def __init__(self) -> None:
        super().__init__("playback")
        settings = Parameters(self, "playback", PlaybackSettings).value
        self._settings = settings
        playback = Playback(Path(settings.path).expanduser(), loop=settings.loop, fps=settings.rate or None)
        self._images = iter(playback)
        self._frames, self._ended = 0, False
        self._diagnostics = Diagnostics(self, self._status)
        self._publisher = self.create_publisher(Image, "image", qos.SENSOR)
        self._timer = self.create_timer(1 / playback.fps, self._diagnostics.guarded("recording", self._publish))

    def _publish(self) -> None:
        try:
            image = next(self._images, None)
        except Refused:
            # A recording that breaks off cannot be gone on with.
            self._end()
            raise
        if image is None:
            self._end()
            return
        header = convert.header_of(self.get_clock().now().nanoseconds, self._settings.frame_id)
        self._publisher.publish(convert.image_to_msg(image, header))
        self._frames += 1

    def _end(self) -> None:
        self._ended = True
        self._timer.cancel()

    def _status(self) -> Status:
        values = {"path": self._settings.path, "frames": self._frames}
        if self._ended:
            return Status(Level.STALE, "the recording has ended", values)
        return Status(Level.OK, "plays the recording", values)


def main() -> int:
    """Run the node."""
    return run(PlaybackNode)


if __name__ == "__main__":
    sys.exit(main())
