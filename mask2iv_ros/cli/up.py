"""`mask2iv up`: the nodes of launch/imagine.launch.py as processes, for a real camera or a stand-in."""

from __future__ import annotations

import argparse
import signal
import time
from types import FrameType

from mask2iv_ros.ros.bringup import STAND_INS, Arguments, Bringup


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments: those of the launch file."""
    default = Arguments()
    parser.add_argument("--camera", default=default.camera, help="topic of the camera's images (%(default)s)")
    parser.add_argument("--labels", default=default.labels, help="topic of label images, for external (%(default)s)")
    parser.add_argument("--namespace", default=default.namespace, help="of all nodes and topics")
    parser.add_argument("--checkpoint", default=default.checkpoint, help="folder or name (%(default)s)")
    parser.add_argument("--segmentation", default=default.segmentation, help="back end (%(default)s)")
    parser.add_argument("--dataset", default=default.dataset, help="folder of the LeRobot dataset (%(default)s)")
    parser.add_argument("--stand-in", choices=STAND_INS, default=default.stand_in, help="for the camera (%(default)s)")
    parser.add_argument("--playback", default=default.playback, help="video or folder of images to play as a camera")
    parser.add_argument(
        "--imagine-on-goal",
        action=argparse.BooleanOptionalAction,
        default=default.imagine_on_goal,
        help="whether a goal on the topic starts an imagination",
    )
    parser.add_argument("--params-file", default=default.params_file, help="a ROS 2 parameter file for all nodes")


def run(arguments: argparse.Namespace) -> int:
    """Run the nodes until Ctrl-C, or until one of them ends."""
    chosen = {name: value for name, value in vars(arguments).items() if name in Arguments.__dataclass_fields__}
    if arguments.playback and arguments.stand_in == "none":
        chosen["stand_in"] = "playback"
    bringup = Bringup(Arguments(**chosen))
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    bringup.start()
    ended: dict[str, int] = {}
    while not (stopping or ended):
        time.sleep(0.2)
        ended = bringup.poll()
    if ended:
        print(f"{', '.join(ended)} ended; the others are ended too")
    codes = bringup.stop()
    return max((abs(code) for code in codes.values()), default=0)
