"""The generator as a lifecycle node: weights are loaded on configure and freed on cleanup.

An imagination is started by the action `imagine`, or by a goal on the topic `goal` if the
parameter `imagine_on_goal` says so; both take the same path and one runs at a time. Goals of
the action are rejected with a logged reason while the node is not active, or while another one
runs and `when_busy` is "refuse"; all else that is wrong with a goal aborts it with a message.
A goal on the topic belongs to the scene of its stamp; one published before this node listened
starts nothing.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from sensor_msgs.msg import Image

from mask2iv_ros.action import Imagine
from mask2iv_ros.errors import Refused
from mask2iv_ros.msg import Goal as GoalMsg
from mask2iv_ros.msg import Rollout as RolloutMsg
from mask2iv_ros.msg import Scene as SceneMsg
from mask2iv_ros.msg import Trajectory as TrajectoryMsg
from mask2iv_ros.ros import convert, qos
from mask2iv_ros.ros.diagnostics import Diagnostics, Level, Status
from mask2iv_ros.ros.imagination import Order, Pace, carry_out
from mask2iv_ros.ros.imagining import Imagining
from mask2iv_ros.ros.jobs import Desk
from mask2iv_ros.ros.parameters import Parameters
from mask2iv_ros.ros.process import run
from mask2iv_ros.scene import Scene

if TYPE_CHECKING:
    from mask2iv_ros.generator.imagine import Imaginer

SCENES_HELD = 8
SCENE_WAIT = 1.0  # seconds that a goal may overtake its scene
RESULT_KEPT = 120  # seconds that a result can still be asked for


@dataclass(frozen=True)
class ImagineSettings:
    """The parameters of `config/imagine.yaml`."""

    checkpoint: str
    device: str
    steps: int
    dtype: str
    compile: bool
    offload: bool
    batch: int
    autostart: bool
    when_busy: str
    imagine_on_goal: bool
    rollouts: int
    best_of: int
    seed: int


class ImagineNode(LifecycleNodeMixin, Node):
    """Topics `scene` and `goal` in, `trajectory`, `rollout` and `preview` out; action `imagine`."""

    def __init__(self) -> None:
        Node.__init__(self, "imagine")
        # Reentrant: the state can be asked for while weights are loaded.
        LifecycleNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())
        self._settings = Parameters(self, "imagine", ImagineSettings)
        self._desk = Desk("imagine")
        self._imaginer: Imaginer | None = None
        self._active = False
        self._jobs: dict[bytes, Imagining] = {}
        self._pace = Pace()
        self._doing, self._done, self._seconds = "", 0, 0.0
        self._scenes: dict[int, Scene] = {}
        self._scene_arrived = threading.Condition()
        self._goal: GoalMsg | None = None
        self._diagnostics = Diagnostics(self, self._status)
        guard, group = self._diagnostics.guarded, MutuallyExclusiveCallbackGroup()
        self._trajectory_publisher = self.create_lifecycle_publisher(TrajectoryMsg, "trajectory", qos.LATEST)
        self._rollout_publisher = self.create_lifecycle_publisher(RolloutMsg, "rollout", qos.ROLLOUTS)
        self._preview_publisher = self.create_lifecycle_publisher(Image, "preview", qos.LATEST)
        self.create_subscription(SceneMsg, "scene", guard("scene", self._on_scene), qos.LATEST, callback_group=group)
        self.create_subscription(GoalMsg, "goal", guard("goal", self._on_goal), qos.COMMAND, callback_group=group)
        self._server = ActionServer(
            self,
            Imagine,
            "imagine",
            execute_callback=self._execute,
            goal_callback=self._on_goal_request,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            # Exclusive: a goal is accepted before the next one is asked about. Its work is elsewhere.
            callback_group=MutuallyExclusiveCallbackGroup(),
            result_timeout=RESULT_KEPT,
        )
        if self._settings.value.autostart:
            self._autostart = self.create_timer(0.0, self._start, callback_group=MutuallyExclusiveCallbackGroup())

    # Lifecycle

    def _start(self) -> None:
        self._autostart.cancel()
        with self._diagnostics.guard("autostart"):
            if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
                self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the weights; on failure the node stays unconfigured and can be configured again."""
        settings = self._settings.value
        failures: list[str] = []
        with self._diagnostics.guard("configure", failures.append):
            self._imaginer = self._desk.call(partial(_load, settings))
            self.get_logger().info(f"loaded {self._imaginer.name}")
        return TransitionCallbackReturn.FAILURE if failures else super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to accept goals."""
        result = super().on_activate(state)
        self._active = result == TransitionCallbackReturn.SUCCESS
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop what runs and accept no more goals."""
        self._stop("the node was deactivated")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the weights."""
        self._free()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop what runs and free the weights."""
        self._stop("the node was shut down")
        self._free()
        return super().on_shutdown(state)

    def close(self) -> None:
        """Stop what runs and free the weights."""
        self._stop("the node ended")
        # Weights that are being loaded cannot be waited for.
        if self._desk.idle(1.0):
            self._free()
        self._desk.close()

    def destroy_node(self) -> None:
        """Leave the graph."""
        self._server.destroy()
        super().destroy_node()

    def _stop(self, reason: str) -> None:
        self._active = False
        self._desk.stop(reason)

    def _free(self) -> None:
        imaginer, self._imaginer = self._imaginer, None
        if imaginer is not None:
            self._desk.call(imaginer.close)

    # What comes in

    def _on_scene(self, msg: SceneMsg) -> None:
        scene = convert.scene_from_msg(msg)
        with self._scene_arrived:
            self._scenes.pop(scene.stamp_ns, None)
            self._scenes[scene.stamp_ns] = scene
            while len(self._scenes) > SCENES_HELD:
                del self._scenes[next(iter(self._scenes))]
            self._scene_arrived.notify_all()

    def _on_goal(self, msg: GoalMsg) -> None:
        self._goal = msg
        settings = self._settings.value
        if not settings.imagine_on_goal:
            return
        if not self._active:
            raise Refused(f"a goal arrived while {self._not_active()}; it is kept for use_latest_goal and not imagined")
        request = Imagine.Goal(
            use_latest_goal=True, rollouts=settings.rollouts, best_of=settings.best_of, seed=settings.seed
        )
        job = Imagining(self, partial(self._order, request, msg))
        self._desk.submit(job, settings.when_busy == "preempt")

    def _on_goal_request(self, _: Imagine.Goal) -> GoalResponse:
        if not self._active:
            reason = f"rejected: {self._not_active()}"
        elif self._settings.value.when_busy == "refuse" and self._desk.busy:
            reason = "rejected: an imagination is running and when_busy is 'refuse'"
        else:
            self._diagnostics.accept("goal request")
            return GoalResponse.ACCEPT
        self._diagnostics.refuse("goal request", reason)
        return GoalResponse.REJECT

    def _on_accepted(self, handle: ServerGoalHandle) -> None:
        job = Imagining(self, partial(self._order, handle.request, self._goal), handle)
        try:
            self._desk.submit(job, self._settings.value.when_busy == "preempt")
        except Refused as refusal:
            job.message = str(refusal)
        self._jobs[bytes(handle.goal_id.uuid)] = job
        handle.execute()

    def _execute(self, handle: ServerGoalHandle) -> Imagine.Result:
        return self._jobs.pop(bytes(handle.goal_id.uuid)).finish()

    def _not_active(self) -> str:
        return f"the node is {self._state_machine.current_state[1]}; expected it to be configured and activated"

    # What is made of it

    def _order(self, request: Imagine.Goal, latest: GoalMsg | None) -> Order:
        if request.use_latest_goal:
            if latest is None:
                raise Refused("use_latest_goal is true and no goal has arrived; expected one on the topic goal")
            scene = self._scene_of(convert.stamp_ns(latest.header))
            mask, instruction = latest.mask, latest.instruction
        else:
            scene, mask, instruction = self._scene_of(0), request.goal_mask, request.instruction
        edited = convert.trajectory_from_msg(request.trajectory, edited=True) if request.trajectory.frames else None
        return Order(
            scene=scene.require_roles(),
            goal=convert.goal_from_fields(mask, instruction, scene.image.shape[:2]),
            rollouts=request.rollouts or 1,
            best_of=request.best_of or 1,
            batch=self._settings.value.batch,
            seed=request.seed,
            trajectory_only=request.trajectory_only,
            edited=edited,
        )

    def _scene_of(self, stamp: int) -> Scene:
        """Return the scene of this stamp, which may be a moment late; 0 means the latest."""
        with self._scene_arrived:
            self._scene_arrived.wait_for(lambda: stamp in self._scenes or (stamp == 0 and self._scenes), SCENE_WAIT)
            if not self._scenes:
                raise Refused("no scene has arrived; expected a captured and segmented frame on the topic scene")
            if stamp == 0:
                return next(reversed(self._scenes.values()))
            if stamp not in self._scenes:
                raise Refused(
                    f"the goal is for a scene of stamp {stamp} ns, which is not among the latest {SCENES_HELD}; "
                    "expected a goal for a present scene"
                )
            return self._scenes[stamp]

    def imagine(self, job: Imagining, make_order: Callable[[], Order]) -> None:
        """Carry out a job's order, in the desk's thread."""
        from mask2iv_ros.generator.progress import Cancelled

        begun = time.monotonic()
        with self._diagnostics.guard("imagination", partial(setattr, job, "message")):
            try:
                order = make_order()
                job.header = convert.header_of(order.scene.stamp_ns, order.scene.frame_id)
                carry_out(self._imaginer, order, job, job.outcome, self._pace)
                job.success = True
                last = order.seed + order.candidates - 1
                seeds = f"seed {order.seed}" + (f" to {last}" if last > order.seed else "")
                kind = "trajectories" if order.trajectory_only else "rollouts"
                best = f", each the best of {order.best_of}" if order.best_of > 1 else ""
                job.message = f"imagined {len(job.outcome.trajectories)} {kind}{best}, {seeds}"
            except Cancelled:
                job.message = f"{job.why_stop() or 'stopped'} after {len(job.outcome.trajectories)} rollouts"
        self._doing, self._seconds = "", time.monotonic() - begun
        self.get_logger().info(job.message)

    def publish_step(self, what: str, preview: Image | None) -> None:
        """Show in diagnostics and on `preview` how far the job is."""
        self._doing = what
        if preview is not None:
            self._preview_publisher.publish(preview)

    def publish_trajectory(self, msg: TrajectoryMsg) -> None:
        """Publish a trajectory."""
        self._trajectory_publisher.publish(msg)

    def publish_rollout(self, msg: RolloutMsg) -> None:
        """Publish a rollout."""
        self._rollout_publisher.publish(msg)
        self._done += 1

    def _status(self) -> Status:
        values = {"rollouts": self._done, "seconds of the last imagination": f"{self._seconds:.2f}"}
        imaginer = self._imaginer
        values["checkpoint"] = imaginer.name if imaginer else ""
        if not self._active:
            return Status(Level.WARN, self._not_active(), values)
        return Status(Level.OK, self._doing or "ready", values)


def _load(settings: ImagineSettings) -> Imaginer:
    # Imported here: it brings torch, seconds of start-up that a node without weights need not wait for.
    import torch

    from mask2iv_ros.generator.imagine import Imaginer

    # One core stays free for the graph: with a thread on each, they wait for one another at every
    # layer, and a rollout of 3 s took 35 s on 2 busy cores.
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) - 1))
    return Imaginer.load(
        Path(settings.checkpoint).expanduser(),
        settings.device,
        settings.steps or None,
        dtype=settings.dtype,
        compiling=settings.compile,
        offload=settings.offload,
    )


def main() -> int:
    """Run the node."""
    # Threads: one waits for each goal that runs or is being preempted, the others answer.
    return run(ImagineNode, threads=6)


if __name__ == "__main__":
    sys.exit(main())
