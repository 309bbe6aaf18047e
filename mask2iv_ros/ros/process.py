"""How every node runs as a process: start, spin, leave cleanly."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import rclpy
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node

from mask2iv_ros.errors import Refused
from mask2iv_ros.ros.bringup import PARENT
from mask2iv_ros.ros.fastdds import use_image_profile


def run(make: Callable[[], Node], threads: int = 1) -> int:
    """Make a node and spin it until SIGINT, SIGTERM or shutdown.

    A node with a method `close` has all the time that it needs there to finish its own work; leaving
    the graph after it is given seconds.

    Args:
        make: the node's class.
        threads: of the executor; more than one where callbacks wait for work elsewhere.

    Returns:
        The exit code: 0 after a clean end, 2 if a parameter or the machine makes a start impossible.
    """
    _leave_with_parent()
    if warning := use_image_profile(os.environ):
        print(f"[WARN] {warning}", file=sys.stderr, flush=True)
    node, executor = None, None
    try:
        rclpy.init()
        node = make()
        executor = MultiThreadedExecutor(threads) if threads > 1 else SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Refused as refusal:
        print(f"[FATAL] {refusal}", file=sys.stderr, flush=True)
        return 2
    except Exception:
        # A signal while the node is being made takes the context away under it.
        if rclpy.ok():
            raise
    finally:
        # A second signal must not tear a dataset that is being written.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if hasattr(node, "close"):
            node.close()
        _leave_soon()
        if node is not None:
            node.destroy_node()
        if executor is not None:
            executor.shutdown(timeout_sec=1)
        rclpy.try_shutdown()
    return 0


def _leave_soon() -> None:
    """End the process in seconds even if the middleware hangs or a thread, such as one that imports torch, runs on.

    Python would wait for them; all that matters has been closed by now.
    """
    last = threading.Timer(3.0, os._exit, [0])
    last.daemon = True
    last.start()


def _leave_with_parent() -> None:
    """Have the kernel end this process when the bring-up that started it is killed.

    It signals once; a signal that falls between two states of rclpy can be lost, so a thread repeats it.
    """
    parent = os.environ.get(PARENT)
    if parent is None or not sys.platform.startswith("linux"):
        return
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit(0)

    def repeat() -> None:
        while True:
            time.sleep(1.0)
            if os.getppid() != int(parent):
                os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=repeat, daemon=True).start()
