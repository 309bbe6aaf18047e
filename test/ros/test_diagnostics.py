import time

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: the ros-* wheels or a sourced installation")

from mask2iv_ros.srv import Capture
from rclpy.node import Node

from mask2iv_ros.errors import Refused
from mask2iv_ros.ros.diagnostics import Diagnostics, Level, Status


class Fragile(Node):
    """A node whose callback does what it is told."""

    def __init__(self):
        super().__init__("fragile")
        self.fault = None
        self.own = Status(Level.OK, "well", {"count": 3})
        self.diagnostics = Diagnostics(self, lambda: self.own)
        self.create_service(Capture, "capture", self.diagnostics.answered("capture", self.on_capture))

    def on_capture(self, request, response):
        if self.fault:
            raise self.fault
        return "done"


def test_a_refusal_is_answered_and_shown_until_the_next_success(ros):
    ros = ros()
    latest = ros.diagnostics()
    node = ros.add(Fragile)
    for fault, level, says in (
        (Refused("age is 7; expected 1"), b"\x01", "age is 7; expected 1"),
        (ZeroDivisionError("by nought"), b"\x02", "ZeroDivisionError: by nought"),
    ):
        node.fault = fault
        answer = ros.call(Capture, "capture", Capture.Request())
        assert (answer.success, answer.message) == (False, says)
        ros.wait(
            lambda level=level, says=says: (s := latest("fragile")) and (s.level, s.message) == (level, says), says
        )
    node.fault = None
    answer = ros.call(Capture, "capture", Capture.Request())
    assert (answer.success, answer.message) == (True, "done")
    ros.wait(lambda: latest("fragile").message == "well", "OK again")
    values = {value.key: value.value for value in latest("fragile").values}
    assert values == {"count": "3", "refusals": "2"}


def test_the_worst_problem_is_named_and_the_state_keeps_its_level(ros):
    node = ros().add(Fragile)
    node.own = Status(Level.STALE, "no frame")
    node.diagnostics.refuse("a", "first")
    node.diagnostics.refuse("b", "worse", Level.ERROR)
    node.diagnostics.refuse("c", "last")
    assert node.diagnostics.current().message == "worse"
    assert node.diagnostics.current().level == Level.STALE
    node.diagnostics.accept("b")
    assert node.diagnostics.current().message == "last"
    assert node.diagnostics.current().values["a"] == "first"


def test_thirty_equal_refusals_are_logged_once(ros, capfd):
    node = ros().add(Fragile)
    for _ in range(30):
        node.diagnostics.refuse("image", "no such encoding")
    node.diagnostics.refuse("image", "another thing")
    time.sleep(0.1)
    printed = capfd.readouterr().err
    assert printed.count("no such encoding") == 1
    assert printed.count("another thing") == 1


def test_after_a_signal_failing_to_publish_is_no_news(ros, capfd):
    node = ros().add(Fragile)
    node.context.try_shutdown()
    with node.diagnostics.guard("image"):
        raise RuntimeError("context is not valid")
    assert "Traceback" not in capfd.readouterr().err
