from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

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


@pytest.fixture(scope="session")
def bags() -> Bags:
    return Bags()
