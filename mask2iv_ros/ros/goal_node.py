"""Makes goals for the present scene: from a mask, an instruction, or an offset of the object.

A goal is made once, for the scene that is there: a new scene does not repeat it. A goal mask
that arrives before any scene is kept, the latest one, and becomes a goal with the first scene.
A mask with a later stamp than the scene's waits a moment for a scene that it may have overtaken.
An instruction stays until the next one (an empty one clears it).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import String

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role, move_mask
from mask2iv_ros.msg import Goal as GoalMsg
from mask2iv_ros.msg import Scene as SceneMsg
from mask2iv_ros.ros import convert, qos
from mask2iv_ros.ros.diagnostics import Diagnostics, Level, Status
from mask2iv_ros.ros.parameters import Parameters
from mask2iv_ros.ros.process import run
from mask2iv_ros.scene import Goal, Scene
from mask2iv_ros.srv import OffsetGoal

OVERTAKING = 0.1  # seconds that a mask waits for the scene of its stamp


@dataclass(frozen=True)
class GoalSettings:
    """The parameters of `config/goal.yaml`."""

    instruction_alone: bool


class GoalNode(Node):
    """Topics `scene`, `goal_mask` and `instruction` in, `goal` out; service `offset_goal`."""

    def __init__(self) -> None:
        super().__init__("goal")
        self._settings = Parameters(self, "goal", GoalSettings)
        self._scene: Scene | None = None
        self._waiting: Image | None = None
        self._instruction = ""
        self._goals = 0
        self._diagnostics = Diagnostics(self, self._status)
        guard = self._diagnostics.guarded
        self._publisher = self.create_publisher(GoalMsg, "goal", qos.LATEST)
        self.create_subscription(SceneMsg, "scene", guard("scene", self._on_scene), qos.LATEST)
        self.create_subscription(String, "instruction", guard("instruction", self._on_instruction), qos.COMMAND)
        self.create_subscription(Image, "goal_mask", guard("goal mask", self._on_mask), qos.COMMAND)
        self._overtaking = self.create_timer(OVERTAKING, guard("goal mask", self._on_overtaking), autostart=False)
        self.create_service(OffsetGoal, "offset_goal", self._diagnostics.answered("offset_goal", self._on_offset))

    def _on_scene(self, msg: SceneMsg) -> None:
        self._scene = convert.scene_from_msg(msg)
        if self._waiting is not None:
            with self._diagnostics.guard("goal mask"):
                self._on_mask(self._waiting)

    def _on_instruction(self, msg: String) -> None:
        self._instruction = convert.check_text(msg.data)
        if self._settings.value.instruction_alone and self._instruction.strip():
            if self._scene is None:
                raise Refused("an instruction arrived before any scene; expected a captured and segmented frame first")
            self._publish(Goal(None, self._instruction))

    def _on_mask(self, msg: Image) -> None:
        if convert.no_image(msg):
            raise Refused("goal mask is 0 x 0 pixels; expected a mono8 image")
        # Checked at once, so that a bad mask is refused when it comes and not with a later scene.
        self._goal_of(msg)
        self._waiting = msg
        if self._scene is None:
            self.get_logger().warning("a goal mask arrived before any scene; it is kept for the first one")
        elif convert.stamp_ns(msg.header) > self._scene.stamp_ns:
            self._overtaking.reset()
        else:
            self._settle()

    def _on_overtaking(self) -> None:
        self._overtaking.cancel()
        if self._scene is not None and self._waiting is not None:
            self._settle()

    def _settle(self) -> None:
        waiting, self._waiting = self._waiting, None
        self._publish(self._goal_of(waiting))

    def _goal_of(self, msg: Image) -> Goal:
        mask = convert.mono_from_msg(msg, "goal mask")
        return Goal.from_image(mask, self._scene.image.shape[:2] if self._scene else mask.shape, self._instruction)

    def _on_offset(self, request: OffsetGoal.Request, response: OffsetGoal.Response) -> str:
        if self._scene is None:
            raise Refused("there is no scene to take the object from; expected a captured and segmented frame first")
        present = self._scene.require_roles().mask(Role.OBJECT)
        moved = move_mask(present, request.dx, request.dy, request.rotation, request.scale or 1.0)
        response.mask = self._publish(Goal(moved, self._instruction)).mask
        return f"the goal mask has {int(moved.sum())} pixels"

    def _publish(self, goal: Goal) -> GoalMsg:
        msg = convert.goal_to_msg(goal, convert.header_of(self._scene.stamp_ns, self._scene.frame_id))
        self._publisher.publish(msg)
        self._goals += 1
        return msg

    def _status(self) -> Status:
        values = {"goals": self._goals, "instruction": self._instruction}
        if self._waiting is not None:
            return Status(Level.WARN, "a goal mask waits for the first scene", values)
        if self._scene is None:
            return Status(Level.STALE, "no scene has arrived", values)
        return Status(Level.OK, "goals are made for the present scene", values)


def main() -> int:
    """Run the node."""
    return run(GoalNode)


if __name__ == "__main__":
    sys.exit(main())
