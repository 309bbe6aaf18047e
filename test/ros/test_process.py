"""How a node's process ends."""

import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import sys, time
from rclpy.node import Node
from mask2iv_ros.ros.process import run

class Stuck(Node):
    def __init__(self):
        super().__init__("stuck")
        print("made", flush=True)

    def close(self):
        time.sleep(4)
        print("closed", flush=True)

    def destroy_node(self):
        time.sleep(60)

sys.exit(run(Stuck))
"""


def test_a_node_has_time_for_its_own_work_and_little_for_leaving():
    pytest.importorskip("rclpy", reason="needs ROS 2: the ros-* wheels or a sourced installation")
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "made\n"
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.stdout.read() == "closed\n"
    assert process.wait() == 0
    assert 4 < time.monotonic() - begun < 30
