"""A stand-in for a robot and its camera: Meta-World scenes at rest, with true labels.

mujoco's GL context belongs to one thread: the node runs in a single-threaded executor and is
made in the thread that spins it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from mask2iv_ros.cameras.metaworld import MetaWorldCamera, StandInScene
from mask2iv_ros.errors import Refused
from mask2iv_ros.ros import convert, qos
from mask2iv_ros.ros.diagnostics import Diagnostics, Level, Status
from mask2iv_ros.ros.parameters import Parameters
from mask2iv_ros.ros.process import run
from mask2iv_ros.srv import NextScene


@dataclass(frozen=True)
class CameraSettings:
    """The parameters of `config/camera.yaml`."""

    task: str
    seed: int
    width: int
    height: int
    rate: float
    frame_id: str


class CameraNode(Node):
    """Topics `image`, `camera_info` and `labels` out; service `next_scene`."""

    def __init__(self) -> None:
        super().__init__("camera")
        self._settings = Parameters(self, "camera", CameraSettings, self._apply)
        settings = self._settings.value
        self._camera = MetaWorldCamera(size=(settings.height, settings.width))
        self._scene: StandInScene = self._camera.next_scene(settings.task or self._camera.tasks[0], settings.seed)
        self._frames = 0
        self._diagnostics = Diagnostics(self, self._status)
        self._image_publisher = self.create_publisher(Image, "image", qos.SENSOR)
        self._labels_publisher = self.create_publisher(Image, "labels", qos.SENSOR)
        self._info_publisher = self.create_publisher(CameraInfo, "camera_info", qos.SENSOR)
        self.create_service(NextScene, "next_scene", self._diagnostics.answered("next_scene", self._on_next_scene))
        self._timer = self.create_timer(1 / settings.rate, self._diagnostics.guarded("image", self._publish))

    def close(self) -> None:
        """Free the GL context."""
        self._camera.close()

    def _apply(self, settings: CameraSettings) -> None:
        self._timer.timer_period_ns = int(1e9 / settings.rate)

    def _publish(self) -> Header:
        """Publish the scene with a new stamp: nothing in it moves, so it is rendered only once."""
        header = convert.header_of(self.get_clock().now().nanoseconds, self._settings.value.frame_id)
        scene = self._scene.scene
        self._labels_publisher.publish(convert.image_to_msg(scene.labels, header))
        self._image_publisher.publish(convert.image_to_msg(scene.image, header))
        height, width = scene.labels.shape
        focal = float(self._camera.focal_px)
        x, y = (width - 1) / 2, (height - 1) / 2
        self._info_publisher.publish(
            CameraInfo(
                header=header,
                height=height,
                width=width,
                distortion_model="plumb_bob",
                d=[0.0] * 5,
                k=[focal, 0.0, x, 0.0, focal, y, 0.0, 0.0, 1.0],
                r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
                p=[focal, 0.0, x, 0.0, 0.0, focal, y, 0.0, 0.0, 0.0, 1.0, 0.0],
            )
        )
        self._frames += 1
        return header

    def _on_next_scene(self, request: NextScene.Request, response: NextScene.Response) -> str:
        if request.seed < -1:
            raise Refused(f"seed is {request.seed}; expected -1 for the next one, or 0 to 2147483647")
        self._scene = self._camera.next_scene(request.task or None, None if request.seed == -1 else request.seed)
        response.task, response.seed = self._scene.task, self._scene.seed
        response.goal_mask = convert.image_to_msg(self._scene.goal_mask, self._publish())
        return f"{self._scene.instruction} (task {self._scene.task}, seed {self._scene.seed})"

    def _status(self) -> Status:
        values = {"task": self._scene.task, "seed": self._scene.seed, "frames": self._frames}
        return Status(Level.OK, f"shows {self._scene.task}, seed {self._scene.seed}", values)


def main() -> int:
    """Run the node."""
    return run(CameraNode)


if __name__ == "__main__":
    sys.exit(main())
