"""What stands between a node and the outside: guards that keep it alive, and its diagnostics.

Nothing that a message or a request brings may end a node. A guarded callback turns `Refused`
into one logged sentence (once, not thirty times a second) and an unexpected exception into a
logged traceback; both are answered where there is somebody to answer, and both show in the
node's status on `/diagnostics` until the same callback succeeds.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node

from mask2iv_ros.errors import Refused


class Level(IntEnum):
    """The levels of `diagnostic_msgs/DiagnosticStatus`."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True)
class Status:
    """How a node is: a level, one sentence, and figures by name."""

    level: Level
    message: str
    values: Mapping[str, Any] = field(default_factory=dict)


class Diagnostics:
    """Publishes a node's status once a second and guards its callbacks.

    Args:
        node: the node; its name names the status.
        status: asked once a second; a standing refusal is added to what it says.
    """

    def __init__(self, node: Node, status: Callable[[], Status]):
        self._node, self._status = node, status
        self._lock = threading.Lock()
        self._problems: dict[str, Status] = {}
        self._refusals = 0
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # A group of its own: it goes on while another callback works, given an executor with threads.
        self._timer = node.create_timer(1.0, self._publish, callback_group=MutuallyExclusiveCallbackGroup())

    def refuse(self, what: str, message: str, level: Level = Level.WARN) -> None:
        """Show and log what is wrong with `what`, until `accept` is called for it."""
        with self._lock:
            known = self._problems.pop(what, None)
            self._problems[what] = Status(level, message)
            self._refusals += 1
        if known is None or known.message != message:
            # Two calls, because rclpy raises where one place in the code logs at two levels.
            if level == Level.ERROR:
                self._node.get_logger().error(f"{what}: {message}")
            else:
                self._node.get_logger().warning(f"{what}: {message}")

    def accept(self, what: str) -> None:
        """Note that `what` is well again."""
        with self._lock:
            self._problems.pop(what, None)

    @contextmanager
    def guard(self, what: str, failed: Callable[[str], None] | None = None) -> Iterator[None]:
        """Let nothing out of the block; a refusal or an error is shown, logged and given to `failed`."""
        try:
            yield
        except Refused as refusal:
            message = str(refusal)
            self.refuse(what, message)
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            # After a signal every publisher fails: that is no news.
            if self._node.context.ok():
                self._node.get_logger().error(traceback.format_exc())
                self.refuse(what, message, Level.ERROR)
        else:
            self.accept(what)
            return
        if failed:
            failed(message)

    def guarded(self, what: str, callback: Callable[..., None]) -> Callable[..., None]:
        """Return a callback for a subscription or a timer that cannot end the node."""

        def guarded_callback(*message: Any) -> None:
            with self.guard(what):
                callback(*message)

        return guarded_callback

    def answered(self, what: str, callback: Callable[[Any, Any], str]) -> Callable[[Any, Any], Any]:
        """Return a service callback: `callback` fills the response and returns its sentence.

        The service's response has `success` and `message`.
        """

        def service_callback(request: Any, response: Any) -> Any:
            def failed(message: str) -> None:
                response.success, response.message = False, message

            with self.guard(what, failed):
                response.message = callback(request, response)
                response.success = True
            return response

        return service_callback

    def current(self) -> Status:
        """Return the node's status with the worst standing problem before its own."""
        own = self._status()
        with self._lock:
            problems, refusals = dict(self._problems), self._refusals
        values = dict(own.values) | {what: problem.message for what, problem in problems.items()}
        values["refusals"] = refusals
        # A standing problem says more than the state that the node is in; of equals the newest is named.
        worst = max(reversed(problems.values()), key=lambda problem: problem.level, default=own)
        return Status(max(worst.level, own.level), worst.message, values)

    def _publish(self) -> None:
        with self.guard("diagnostics"):
            status = self.current()
            name = self._node.get_fully_qualified_name().lstrip("/")
            message = DiagnosticStatus(
                level=bytes([status.level]),
                name=name,
                message=status.message,
                hardware_id=name,
                values=[KeyValue(key=str(key), value=str(value)) for key, value in status.values.items()],
            )
            array = DiagnosticArray(status=[message])
            array.header.stamp = self._node.get_clock().now().to_msg()
            self._publisher.publish(array)
