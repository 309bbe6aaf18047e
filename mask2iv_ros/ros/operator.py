"""What an operator's program does: ask for a scene, capture it, publish a goal mask, wait.

It uses topics and services alone, as any user's node would, and is an example of one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import String

from mask2iv_ros.errors import Refused
from mask2iv_ros.msg import Rollout as RolloutMsg
from mask2iv_ros.msg import Scene as SceneMsg
from mask2iv_ros.ros import convert, qos
from mask2iv_ros.scene import Rollout
from mask2iv_ros.srv import Capture, NextScene


class Operator(Node):
    """Drives the graph from outside.

    Attributes:
        rollouts: what has been imagined, in the order of arrival.
        exported: episode number of every rollout that is in the dataset, by id.
        reports: the latest diagnostics by node, (level, sentence).
        figures: the latest diagnostics' figures by node.

    Args:
        namespace: the graph's.
        tick: called many times a second while waiting; what it raises ends the wait.
    """

    def __init__(self, namespace: str = "", tick: Callable[[], None] = lambda: None):
        super().__init__("operator", namespace=namespace)
        self.rollouts: list[Rollout] = []
        self.exported: dict[str, int] = {}
        self.reports: dict[str, tuple[int, str]] = {}
        self.figures: dict[str, dict[str, str]] = {}
        self._tick = tick
        self._scene_stamp = -1
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)
        self._goal_mask = self.create_publisher(Image, "goal_mask", qos.COMMAND)
        self._next_scene = self.create_client(NextScene, "next_scene")
        self._capture = self.create_client(Capture, "capture")
        self.create_subscription(SceneMsg, "scene", self._on_scene, qos.LATEST)
        self.create_subscription(RolloutMsg, "rollout", self._on_rollout, qos.ROLLOUTS)
        self.create_subscription(String, "exported", self._on_exported, qos.ROLLOUTS)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 32)

    def wait(self, what: str, done: Callable[[], bool], timeout: float) -> None:
        """Spin until `done`.

        Raises:
            Refused: it took longer than `timeout` seconds; says what was waited for and what the
                nodes report.
        """
        deadline = time.monotonic() + timeout
        while not done():
            self._tick()
            self._executor.spin_once(timeout_sec=0.05)
            if time.monotonic() > deadline:
                complaints = [f"{name}: {message}" for name, (level, message) in self.reports.items() if level]
                raise Refused(
                    f"waited {timeout:.0f} s for {what}, in vain"
                    + "".join(f"; {complaint}" for complaint in complaints)
                )

    def wait_ready(self, timeout: float = 120.0) -> None:
        """Wait until the camera serves scenes, goals have a listener and the weights are loaded."""
        self.wait("the camera", self._next_scene.service_is_ready, timeout)
        self.wait("the capture node", self._capture.service_is_ready, timeout)
        self.wait("the goal node", lambda: self._goal_mask.get_subscription_count() > 0, timeout)
        self.wait("the exporter", lambda: self.count_subscribers("rollout") > 1, timeout)
        self.wait(
            "the generator's weights",
            lambda: any(name.endswith("imagine") and level == 0 for name, (level, _) in self.reports.items()),
            timeout,
        )

    def show_scene(self, task: str, seed: int) -> NextScene.Response:
        """Put a scene before the stand-in camera."""
        return self._call(self._next_scene, NextScene.Request(task=task, seed=seed))

    def capture(self, timeout: float = 30.0) -> int:
        """Capture the present frame, wait until it is segmented, and return its stamp in nanoseconds."""
        stamp = convert.stamp_ns(self._call(self._capture, Capture.Request()).header)
        self.wait("the segmented scene", lambda: self._scene_stamp == stamp, timeout)
        return stamp

    def set_goal(self, mask: Image) -> None:
        """Publish a goal mask for the captured scene."""
        self._goal_mask.publish(mask)

    def destroy_node(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        super().destroy_node()

    def _call(self, client: Any, request: Any) -> Any:
        future = client.call_async(request)
        self.wait(f"an answer of {client.srv_name}", future.done, 60.0)
        response = future.result()
        if not response.success:
            raise Refused(f"{client.srv_name} says: {response.message}")
        return response

    def _on_scene(self, msg: SceneMsg) -> None:
        self._scene_stamp = convert.stamp_ns(msg.header)

    def _on_rollout(self, msg: RolloutMsg) -> None:
        self.rollouts.append(convert.rollout_from_msg(msg))

    def _on_exported(self, msg: String) -> None:
        rollout_id, episode = msg.data.rsplit(" ", 1)
        self.exported[rollout_id] = int(episode)

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            self.reports[status.name] = (int.from_bytes(status.level), status.message)
            self.figures[status.name] = {pair.key: pair.value for pair in status.values}
