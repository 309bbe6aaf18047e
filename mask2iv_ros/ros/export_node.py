"""Writes rollouts into a LeRobot dataset: all that arrive, those judged good, or those that a service call names.

A rollout waits in memory until it is on the disk, whatever happens in between: a dataset that
cannot be opened or written is tried again every `retry_period` seconds and at every request.
When `waiting_limit` rollouts wait, further ones are refused. From arrival to disk they are
covered by the publisher, which keeps its last 64 for an exporter that starts anew; what is in
the dataset already is recognised by its id. On SIGINT and SIGTERM, unless `accept` is "service", what
waits is written before the node ends. With `accept` "good" a doubtful rollout is dropped when it
arrives, and one that nothing judged too: they must not fill the room in which good ones wait.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from std_msgs.msg import String

from mask2iv_ros.errors import Refused
from mask2iv_ros.export.schema import ExportSettings as DatasetSettings
from mask2iv_ros.export.writer import DatasetWriter
from mask2iv_ros.msg import Rollout as RolloutMsg
from mask2iv_ros.ros import convert, qos
from mask2iv_ros.ros.diagnostics import Diagnostics, Level, Status
from mask2iv_ros.ros.jobs import Desk
from mask2iv_ros.ros.parameters import Parameters
from mask2iv_ros.ros.process import run
from mask2iv_ros.scene import GOOD, Rollout
from mask2iv_ros.srv import AcceptRollouts

MAX_IDS = 65536


@dataclass(frozen=True)
class ExportSettings:
    """The parameters of `config/export.yaml`."""

    dataset: str
    camera: str
    accept: str
    waiting_limit: int
    retry_period: float


class ExportNode(Node):
    """Topic `rollout` in, `exported` out; service `accept_rollouts`."""

    def __init__(self) -> None:
        super().__init__("export")
        self._settings = Parameters(self, "export", ExportSettings, self._apply)
        settings = self._settings.value
        self._dataset = DatasetSettings(settings.camera)
        self._desk = Desk("export")
        self._writer: DatasetWriter | None = None
        self._lock = threading.Lock()
        self._waiting: dict[str, Rollout] = {}
        self._written = self._dropped = 0
        self._diagnostics = Diagnostics(self, self._status)
        self._publisher = self.create_publisher(String, "exported", qos.ROLLOUTS)
        guard, answered = self._diagnostics.guarded, self._diagnostics.answered
        self.create_subscription(RolloutMsg, "rollout", guard("rollout", self._on_rollout), qos.ROLLOUTS)
        # Requests wait for the disk in a group of their own: rollouts still arrive meanwhile.
        self.create_service(
            AcceptRollouts,
            "accept_rollouts",
            answered("accept_rollouts", self._on_accept),
            callback_group=MutuallyExclusiveCallbackGroup(),
        )
        self._retry = self.create_timer(
            settings.retry_period,
            guard("retry", lambda: self._desk.post(self._work)),
            callback_group=MutuallyExclusiveCallbackGroup(),
        )
        # Opened at once, so that a folder that will not do is known before the first rollout.
        self._desk.post(self._work)

    def close(self) -> None:
        """Write what may be written of what waits, and close the dataset."""
        self._desk.call(self._end)
        self._desk.close()

    def _apply(self, settings: ExportSettings) -> None:
        self._retry.timer_period_ns = int(settings.retry_period * 1e9)

    @property
    def _unasked(self) -> bool:
        """Whether rollouts are written as they arrive."""
        return self._settings.value.accept != "service"

    def _on_rollout(self, msg: RolloutMsg) -> None:
        rollout = convert.rollout_from_msg(msg)
        limit = self._settings.value.waiting_limit
        if self._settings.value.accept == "good" and rollout.verdict != GOOD:
            self._dropped += 1
            self.get_logger().info(f"rollout {rollout.id} is dropped, {rollout.verdict or 'nothing judged it'}")
            return
        with self._lock:
            if len(self._waiting) >= limit and rollout.id not in self._waiting:
                raise Refused(
                    f"rollout {rollout.id} is refused: {len(self._waiting)} rollouts wait, waiting_limit is {limit}; "
                    "expected some to be accepted or discarded first"
                )
            self._waiting[rollout.id] = rollout
        if self._unasked:
            self._desk.post(self._work)

    def _on_accept(self, request: AcceptRollouts.Request, response: AcceptRollouts.Response) -> str:
        if len(request.ids) > MAX_IDS:
            raise Refused(f"{len(request.ids)} ids are named; expected up to {MAX_IDS}")
        with self._lock:
            unknown = [name for name in request.ids if name not in self._waiting]
            ids = list(dict.fromkeys(request.ids)) or list(self._waiting)
        if unknown:
            raise Refused(f"no rollout {unknown[0][:140]!r} waits; waiting are {', '.join(self._some_ids()) or 'none'}")
        if request.discard:
            response.ids = self._take(ids)
            return f"discarded {len(response.ids)} rollouts"
        response.episodes = self._desk.call(lambda: self._write(ids))
        response.ids = ids
        return f"wrote {len(ids)} rollouts"

    def _some_ids(self) -> list[str]:
        with self._lock:
            return list(self._waiting)[:8]

    def _take(self, ids: list[str]) -> list[str]:
        with self._lock:
            return [name for name in ids if self._waiting.pop(name, None) is not None]

    # In the desk's thread

    def _work(self) -> None:
        """Open the dataset if it is not, and write what waits if nobody is to be asked."""
        with self._diagnostics.guard("dataset"):
            self._open()
        if self._writer is None or not self._unasked:
            return
        with self._lock:
            ids = list(self._waiting)
        if not ids:
            return
        with self._diagnostics.guard("write"):
            try:
                self._write(ids)
            except Refused:
                if len(ids) == 1:
                    raise
                self._write_each(ids)

    def _write_each(self, ids: list[str]) -> None:
        """Write one by one: one that does not fit must not hold up the others."""
        refused: list[str] = []
        for name in ids:
            try:
                self._write([name])
            except Refused as refusal:
                refused.append(str(refusal))
        if refused:
            raise Refused(f"{len(refused)} rollouts still wait: {refused[0]}")

    def _write(self, ids: list[str]) -> list[int]:
        with self._lock:
            rollouts = [self._waiting[name] for name in ids if name in self._waiting]
        if len(rollouts) < len(ids):
            raise Refused(
                f"{len(ids) - len(rollouts)} of the rollouts are no longer waiting; expected to be asked again"
            )
        episodes = self._open().append(rollouts)
        self._take(ids)
        self._written += len(ids)
        self._diagnostics.accept("write")
        if self.context.ok():
            for name, episode in zip(ids, episodes, strict=True):
                self._publisher.publish(String(data=f"{name} {episode}"))
        return episodes

    def _open(self) -> DatasetWriter:
        if self._writer is None:
            self._writer = DatasetWriter(self._settings.value.dataset, self._dataset)
            self._diagnostics.accept("dataset")
        return self._writer

    def _end(self) -> None:
        self._work()
        if self._waiting:
            self.get_logger().warning(f"{len(self._waiting)} rollouts were waiting and are not in the dataset")
        if self._writer is not None:
            self._writer.close()

    def _status(self) -> Status:
        with self._lock:
            waiting = len(self._waiting)
        settings, writer = self._settings.value, self._writer
        values = {"dataset": settings.dataset, "waiting": waiting, "written": self._written, "dropped": self._dropped}
        if writer is None:
            return Status(Level.ERROR, "the dataset is not open", values)
        values["episodes"] = writer.episodes
        if waiting >= settings.waiting_limit:
            return Status(Level.ERROR, f"{waiting} rollouts wait, which is the limit: no more are taken", values)
        return Status(Level.OK, "rollouts are written" if self._unasked else f"{waiting} rollouts wait", values)


def main() -> int:
    """Run the node."""
    return run(ExportNode, threads=4)


if __name__ == "__main__":
    sys.exit(main())
