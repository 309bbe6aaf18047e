"""Real rclpy for tests: nodes in this process on a domain of its own, and a probe to talk to them."""

import contextlib
import os
import threading
import time

# Before rclpy is imported. Not over the network, and not to another run of the tests; from 102 on
# a domain's ports are among those that Linux lends to any process.
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 101)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest

PATIENCE = 60.0  # seconds: the machine may be busy


def end(node):
    """End a node as its process does."""
    if hasattr(node, "close"):
        node.close()
    node.destroy_node()


class Ros:
    """A probe node and nodes under test, spun by a thread."""

    def __init__(self, parameters):
        import rclpy
        from rclpy.executors import MultiThreadedExecutor

        args = ["--ros-args"]
        for node, values in parameters.items():
            for name, value in values.items():
                args += ["-p", f"{node}:{name}:={value}"]
        rclpy.init(args=args)
        self.probe = rclpy.create_node("probe")
        self.executor = MultiThreadedExecutor(12)
        self.executor.add_node(self.probe)
        self.nodes = []
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.thread.start()

    def _spin(self):
        from rclpy.executors import ExternalShutdownException

        with contextlib.suppress(ExternalShutdownException):
            self.executor.spin()

    def add(self, make):
        node = make()
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def remove(self, node):
        self.executor.remove_node(node)
        self.nodes.remove(node)
        end(node)

    def wait(self, condition, what="condition", patience=PATIENCE):
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if value := condition():
                return value
            time.sleep(0.005)
        pytest.fail(f"waited {patience} s for {what}")

    def listen(self, kind, topic, qos=10):
        received = []
        self.probe.create_subscription(kind, topic, received.append, qos)
        return received

    def publisher(self, kind, topic, qos=10):
        publisher = self.probe.create_publisher(kind, topic, qos)
        self.wait(publisher.get_subscription_count, f"a subscription to {topic}")
        return publisher

    def call(self, kind, name, request):
        client = self.probe.create_client(kind, name)
        self.wait(client.service_is_ready, f"service {name}")
        future = client.call_async(request)
        self.wait(future.done, f"an answer of {name}")
        return future.result()

    def set_parameter(self, node, name, value):
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return self.call(SetParameters, f"{node}/set_parameters", request).results[0]

    def diagnostics(self):
        """Return a function that gives the latest status of a node, or None."""
        from diagnostic_msgs.msg import DiagnosticArray

        received = self.listen(DiagnosticArray, "/diagnostics")

        def latest(node):
            statuses = [status for array in received for status in array.status if status.hardware_id == node]
            return statuses[-1] if statuses else None

        return latest

    def close(self):
        import rclpy

        for node in self.nodes:
            end(node)
        self.probe.destroy_node()
        rclpy.try_shutdown()
        self.thread.join(5)


@pytest.fixture
def ros():
    """Return a function that starts ROS with parameters by node; all is ended after the test."""
    pytest.importorskip("rclpy", reason="needs ROS 2: the ros-* wheels or a sourced installation")
    started = []

    def start(**parameters):
        started.append(Ros(parameters))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Return the folder of a tiny checkpoint with random weights, 2 steps a stage."""
    from mask2iv_ros.generator.tiny import write_tiny_checkpoint

    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def scene_arrays():
    """Return an image and labels of 48 x 64 pixels with an arm and an object."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (48, 64, 3), np.uint8)
    labels = np.zeros((48, 64), np.uint8)
    labels[4:20, 10:20] = 1
    labels[30:40, 30:44] = 2
    return image, labels
