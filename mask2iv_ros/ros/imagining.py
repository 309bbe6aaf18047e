"""An order of the imagine node on its way: stops when asked, tells how far it is, ends the action's goal."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import wait
from typing import TYPE_CHECKING

from builtin_interfaces.msg import Duration
from rclpy.action.server import ServerGoalHandle
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from mask2iv_ros.action import Imagine
from mask2iv_ros.ros import convert
from mask2iv_ros.ros.imagination import Order, Outcome
from mask2iv_ros.ros.jobs import Job
from mask2iv_ros.scene import Rollout, Trajectory

if TYPE_CHECKING:
    from mask2iv_ros.generator.progress import Progress
    from mask2iv_ros.ros.imagine_node import ImagineNode


class Imagining(Job):
    """An order of the imagine node, with or without an action's goal behind it.

    Attributes:
        header: the source frame's.
        outcome: what is done so far.
        success: whether all of it is.
        message: one sentence on how it ended.
    """

    def __init__(self, node: ImagineNode, make_order: Callable[[], Order], handle: ServerGoalHandle | None = None):
        super().__init__(lambda job: node.imagine(job, make_order))
        self._node, self._handle = node, handle
        self.header = Header()
        self.outcome = Outcome()
        self.success, self.message = False, ""

    def why_stop(self) -> str:
        """Return why the job must stop, or an empty string."""
        if self._handle is not None and self._handle.is_cancel_requested:
            return "cancelled"
        return self.stop_reason or ("" if self._node.context.ok() else "the node ended")

    def on_step(self, progress: Progress, rollout: int, rollouts: int, eta: float) -> None:
        """Stop if asked to; else tell the client, the topic and diagnostics how far it is."""
        from mask2iv_ros.generator.progress import Cancelled

        if self.why_stop():
            raise Cancelled
        preview = None
        if progress.preview is not None:
            preview = convert.image_to_msg(progress.preview, self.header)
        what = f"{progress.stage} {progress.step} of {progress.steps}, rollout {rollout} of {rollouts}"
        self._node.publish_step(what, preview)
        if self._handle is not None:
            self._handle.publish_feedback(
                Imagine.Feedback(
                    stage=progress.stage,
                    step=progress.step,
                    steps=progress.steps,
                    rollout=rollout,
                    rollouts=rollouts,
                    eta=Duration(sec=int(eta), nanosec=int(eta % 1 * 1e9)),
                    preview=preview or Image(),
                )
            )

    def on_trajectory(self, trajectory: Trajectory) -> None:
        """Publish it."""
        self._node.publish_trajectory(convert.trajectory_to_msg(trajectory, self.header))

    def on_rollout(self, rollout: Rollout) -> None:
        """Publish it."""
        self._node.publish_rollout(convert.rollout_to_msg(rollout))

    def finish(self) -> Imagine.Result:
        """Wait for the work and end the action's goal as the work ended."""
        if self.future is not None:
            wait([self.future])
        if self.success:
            self._handle.succeed()
        elif self._handle.is_cancel_requested:
            self._handle.canceled()
        else:
            self._handle.abort()
        return Imagine.Result(
            success=self.success,
            message=self.message or self.stop_reason,
            ids=self.outcome.ids,
            trajectories=[convert.trajectory_to_msg(labels, self.header) for labels in self.outcome.trajectories],
            scores=convert.scores_to_msgs(self.outcome.scores),
            verdicts=self.outcome.verdicts,
        )
