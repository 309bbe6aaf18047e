"""Which nodes make up the system, with which parameters and names; and starting them as processes.

`nodes` is the one description: `launch/imagine.launch.py` makes launch actions of it on a full
ROS 2, `Bringup` starts processes from it anywhere else. Importing this module imports no ROS.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mask2iv_ros.errors import Refused

STAND_INS = ("none", "metaworld", "playback")
# Environment variable: process id of the bring-up that its nodes must not outlive.
PARENT = "MASK2IV_PARENT"


@dataclass(frozen=True)
class Arguments:
    """What a user of the whole system chooses.

    Attributes:
        camera: topic of the camera's images; of the stand-in too.
        labels: topic of another node's label images, for the segmentation back end "external".
        namespace: of all nodes and topics.
        checkpoint: folder of the weights, or "default".
        segmentation: back end of the segment node.
        dataset: folder of the LeRobot dataset.
        stand_in: "none", "metaworld", or "playback" with `playback`.
        playback: a video file or a folder of images.
        imagine_on_goal: whether a goal on the topic starts an imagination.
        params_file: a ROS parameter file for all nodes, or empty. What is chosen here wins.
        parameters: further parameters by node, which win over all else.
    """

    camera: str = "image"
    labels: str = "labels"
    namespace: str = ""
    checkpoint: str = "default"
    segmentation: str = "external"
    dataset: str = "~/mask2iv_dataset"
    stand_in: str = "none"
    playback: str = ""
    imagine_on_goal: bool = True
    params_file: str = ""
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.stand_in not in STAND_INS:
            raise Refused(f"stand-in is {self.stand_in!r}; accepted are {', '.join(STAND_INS)}")
        if (self.stand_in == "playback") != bool(self.playback):
            raise Refused(
                f"stand-in is {self.stand_in!r} and playback is {self.playback!r}; "
                "expected a path with the stand-in playback, and none with another"
            )
        if self.params_file and not Path(self.params_file).expanduser().is_file():
            raise Refused(f"parameter file {self.params_file!r} is not there; expected a ROS 2 YAML file or nothing")


@dataclass(frozen=True)
class NodeSpec:
    """One node of the system.

    Attributes:
        executable: in `lib/mask2iv_ros`, and the module of that name in `mask2iv_ros.ros`.
        name: of the node.
        parameters: set at start-up.
        remappings: (from, to).
    """

    executable: str
    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    remappings: Sequence[tuple[str, str]] = ()


def nodes(arguments: Arguments) -> list[NodeSpec]:
    """Return the nodes that the arguments ask for, the cameras last.

    Raises:
        Refused: parameters for a node that is not among them.
    """
    camera = [("image", arguments.camera)] if arguments.camera != "image" else []
    labels = [("labels", arguments.labels)] if arguments.labels != "labels" else []
    specs = [
        NodeSpec("imagine_node", "imagine", {
            "checkpoint": arguments.checkpoint,
            "imagine_on_goal": arguments.imagine_on_goal,
            "autostart": True,
        }),
        NodeSpec("export_node", "export", {"dataset": arguments.dataset}),
        NodeSpec("goal_node", "goal"),
        NodeSpec("segment_node", "segment", {"backend": arguments.segmentation}, labels),
        NodeSpec("capture_node", "capture", {}, camera),
    ]  # fmt: skip
    if arguments.stand_in == "metaworld":
        specs.append(NodeSpec("camera_node", "camera", {}, [*camera, *labels]))
    elif arguments.stand_in == "playback":
        specs.append(NodeSpec("playback_node", "playback", {"path": arguments.playback}, camera))
    unknown = set(arguments.parameters) - {spec.name for spec in specs}
    if unknown:
        raise Refused(f"parameters for {min(unknown)!r}; the nodes are {', '.join(spec.name for spec in specs)}")
    return [
        NodeSpec(
            spec.executable, spec.name, {**spec.parameters, **arguments.parameters.get(spec.name, {})}, spec.remappings
        )
        for spec in specs
    ]


def command(spec: NodeSpec, arguments: Arguments) -> list[str]:
    """Return the command line that starts a node as a process."""
    line = [sys.executable, "-m", f"mask2iv_ros.ros.{spec.executable}", "--ros-args", "-r", f"__node:={spec.name}"]
    if arguments.namespace:
        line += ["-r", f"__ns:=/{arguments.namespace.strip('/')}"]
    for old, new in spec.remappings:
        line += ["-r", f"{old}:={new}"]
    if arguments.params_file:
        line += ["--params-file", str(Path(arguments.params_file).expanduser())]
    for name, value in spec.parameters.items():
        # JSON is YAML, and quotes a string that would be read as a number or a truth value.
        line += ["-p", f"{name}:={json.dumps(value, ensure_ascii=False)}"]
    return line


class Bringup:
    """The nodes as processes of this one.

        with Bringup(Arguments(stand_in="metaworld")) as bringup:
            while not (ended := bringup.poll()):
                time.sleep(0.2)

    Args:
        arguments: which nodes, and how.
        log: given every line that a node prints, with the node's name before it; called from
            one thread a node.

    Raises:
        Refused: arguments that name no system.
    """

    def __init__(self, arguments: Arguments, log: Callable[[str], None] = print):
        self.specs = nodes(arguments)
        self._arguments, self._log = arguments, log
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._readers: list[threading.Thread] = []

    def start(self) -> None:
        """Start every node; returns at once, the nodes take seconds to be ready.

        To be called in the main thread: the kernel ends the nodes with the thread that started them.
        """
        environment = os.environ | {PARENT: str(os.getpid()), "PYTHONUNBUFFERED": "1"}
        for spec in self.specs:
            process = subprocess.Popen(
                command(spec, self._arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                text=True,
                errors="replace",
                # Ctrl-C reaches this process only, which then ends the nodes in an orderly way.
                start_new_session=True,
            )
            self._processes[spec.name] = process
            reader = threading.Thread(target=self._read, args=(spec.name, process), daemon=True)
            reader.start()
            self._readers.append(reader)

    def poll(self) -> dict[str, int]:
        """Return the exit codes of nodes that have ended, by name; empty while all live."""
        codes = {name: process.poll() for name, process in self._processes.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def stop(self, timeout: float = 30.0) -> dict[str, int]:
        """End all nodes: by SIGINT, after `timeout` seconds by SIGTERM, then by SIGKILL.

        The exporter gets the time to write what waits.

        Returns:
            The exit code of every node, by name; 0 is a clean end. A node that was stopped before
            it could listen to signals counts as clean.
        """
        asked = [name for name, process in self._processes.items() if process.poll() is None]
        for number, seconds in ((signal.SIGINT, timeout), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            alive = [process for process in self._processes.values() if process.poll() is None]
            for process in alive:
                process.send_signal(number)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and any(process.poll() is None for process in alive):
                time.sleep(0.02)
        for reader in self._readers:
            reader.join(1.0)
        codes = {name: process.wait() for name, process in self._processes.items()}
        early = (-signal.SIGINT, -signal.SIGTERM)
        return {name: 0 if name in asked and code in early else code for name, code in codes.items()}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _read(self, name: str, process: subprocess.Popen[str]) -> None:
        for line in process.stdout:
            self._log(f"[{name}] {line.rstrip()}")
