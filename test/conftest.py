from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

# Before anything imports the hub's client, which asks again for minutes where there is no network.
os.environ["HF_HUB_OFFLINE"] = "1"

START = 1_700_000_000 * 10**9  # ns
MS = 10**6


class Bags:
    """Writes ROS 2 bags, by rosbags' own writer; messages are tuples of topic, type, ns of reception, message."""

    def __init__(self) -> None:
        from rosbags.typesys import Stores, get_typestore

        self.store = get_typestore(Stores.ROS2_JAZZY)

    def new(self, kind: str, **fields: Any) -> Any:
        return self.store.types[kind](**fields)

    def write(
        self, path: Path, messages: Iterable[tuple[str, str, int, Any]], storage: str = "mcap", mode: str = "none"
    ) -> Path:
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

        bag = Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()])
        bag.set_compression(CompressionMode[mode.upper()], CompressionFormat.ZSTD)
        with bag as writer:
            connections: dict[tuple[str, str], Any] = {}
            for topic, kind, time, message in messages:
                if (topic, kind) not in connections:
                    connections[topic, kind] = writer.add_connection(topic, kind, typestore=self.store)
                if message is not None:
                    data = message if isinstance(message, bytes) else self.store.serialize_cdr(message, kind)
                    writer.write(connections[topic, kind], time, data)
        return path

    def header(self, time: int) -> Any:
        stamp = self.new("builtin_interfaces/msg/Time", sec=time // 10**9, nanosec=time % 10**9)
        return self.new("std_msgs/msg/Header", stamp=stamp, frame_id="camera")

    def image(self, pixels: np.ndarray, time: int, encoding: str = "rgb8", padding: int = 0) -> Any:
        rows = pixels.reshape(len(pixels), -1)
        data = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
        fields = {"height": len(pixels), "width": pixels.shape[1], "encoding": encoding, "is_bigendian": 0}
        step = data.shape[1]
        return self.new("sensor_msgs/msg/Image", header=self.header(time), step=step, data=data.reshape(-1), **fields)

    def compressed(self, pixels: np.ndarray, time: int, kind: str = "png") -> Any:
        data = cv2.imencode(f".{kind}", pixels[..., ::-1])[1].reshape(-1)
        return self.new("sensor_msgs/msg/CompressedImage", header=self.header(time), format=kind, data=data)

    def joints(self, names: Iterable[str], values: Iterable[float], time: int) -> Any:
        none = np.zeros(0)
        fields = {"name": list(names), "position": np.array(list(values), np.float64)}
        return self.new("sensor_msgs/msg/JointState", header=self.header(time), velocity=none, effort=none, **fields)

    def array(self, values: Iterable[float], names: Iterable[str] = (), width: int = 64) -> Any:
        dim = [self.new("std_msgs/msg/MultiArrayDimension", label=name, size=1, stride=1) for name in names]
        layout = self.new("std_msgs/msg/MultiArrayLayout", dim=dim, data_offset=0)
        data = np.array(list(values), f"float{width}")
        return self.new(f"std_msgs/msg/Float{width}MultiArray", layout=layout, data=data)

    def demonstration(
        self, video: np.ndarray, labels: np.ndarray | None, state: np.ndarray, action: np.ndarray, fps: float = 10.0
    ) -> list[tuple[str, str, int, Any]]:
        """A robot that measures 1 ms before each frame and is commanded 30 ms after it; images take 20 ms."""
        told = []
        for frame, pixels in enumerate(video):
            time = START + round(frame * 1e9 / fps)
            names = [f"joint_{index}" for index in range(state.shape[1])]
            told += [
                ("/joint_states", "sensor_msgs/msg/JointState", time, self.joints(names, state[frame], time - MS)),
                ("/camera/image_raw", "sensor_msgs/msg/Image", time + 20 * MS, self.image(pixels, time)),
                ("/command", "std_msgs/msg/Float64MultiArray", time + 30 * MS, self.array(action[frame])),
            ]
            if labels is not None:
                image = self.image(labels[frame], time, "mono8")
                told.append(("/labels", "sensor_msgs/msg/Image", time + 55 * MS, image))
        return told

    def scene(self, frames: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """A dark arm that pushes an orange square to the right in 48 x 64, with states and actions."""
        rng = np.random.default_rng(seed)
        video = np.broadcast_to(rng.integers(120, 200, (48, 64, 3), np.uint8), (frames, 48, 64, 3)).copy()
        labels = np.zeros((frames, 48, 64), np.uint8)
        for frame in range(frames):
            tip = 10 + 3 * frame
            video[frame, 18:30, :tip], labels[frame, 18:30, :tip] = (20, 20, 60), 1
            video[frame, 16:32, tip : tip + 12], labels[frame, 16:32, tip : tip + 12] = (240, 120, 20), 2
        state, action = (rng.standard_normal((frames, columns)).astype(np.float32) for columns in (3, 2))
        return video, labels, state, action

    def frames_at(self, times: list[int], stamped: bool = True) -> list[tuple]:
        """Grey images that are as bright as their number."""
        pixels = [np.full((16, 16, 3), number, np.uint8) for number in range(len(times))]
        stamps = [START + time * MS if stamped else 0 for time in times]
        return [
            ("/camera/image_raw", "sensor_msgs/msg/Image", START + time * MS, self.image(one, stamp))
            for time, one, stamp in zip(times, pixels, stamps, strict=True)
        ]

    def joints_at(self, times: list[int], names: str = "ab") -> list[tuple]:
        """Joint states that tell their time in ms."""
        return [
            (
                "/joint_states",
                "sensor_msgs/msg/JointState",
                START + time * MS,
                self.joints(names, [time] * len(names), START + time * MS),
            )
            for time in times
        ]

    def commands_at(self, times: list[int]) -> list[tuple]:
        return [("/command", "std_msgs/msg/Float64MultiArray", START + time * MS, self.array([time])) for time in times]

    def in_time(self, *topics: list[tuple]) -> list[tuple]:
        return sorted((one for topic in topics for one in topic), key=lambda one: one[2])


@pytest.fixture(scope="session")
def bags() -> Bags:
    return Bags()
