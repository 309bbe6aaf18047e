"""Turns a captured frame into a scene: one label image with arm and object.

Back end `external`: label images of another node are paired with the frame by stamp. Back end
`grabcut`: an operator's clicks or box, one role at a time; a new frame starts from nothing,
because labels belong to the image they were made on. A scene is published once it shows both
roles; until then the overlay shows what there is and diagnostics say what is missing.
"""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from rclpy.node import Node
from sensor_msgs.msg import Image

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role, overlay, resize_labels
from mask2iv_ros.msg import Scene as SceneMsg
from mask2iv_ros.ros import convert, qos
from mask2iv_ros.ros.diagnostics import Diagnostics, Level, Status
from mask2iv_ros.ros.parameters import Parameters
from mask2iv_ros.ros.process import run
from mask2iv_ros.scene import Scene, check_image
from mask2iv_ros.segmentation import registry
from mask2iv_ros.segmentation.base import Prompt
from mask2iv_ros.srv import Segment

LABELS_HELD = 64  # two seconds of a fast camera: labels may come before the frame is captured


@dataclass(frozen=True)
class SegmentSettings:
    """The parameters of `config/segment.yaml`."""

    backend: str
    slop: float


@dataclass
class Frame:
    """The frame in work and its labels so far, None while an external node has sent none."""

    image: UInt8[np.ndarray, "h w 3"]
    stamp_ns: int
    frame_id: str
    labels: UInt8[np.ndarray, "h w"] | None


class SegmentNode(Node):
    """Topics `frame` and `labels` in, `scene` and `overlay` out; service `segment`."""

    def __init__(self) -> None:
        super().__init__("segment")
        self._settings = Parameters(self, "segment", SegmentSettings)
        self._external = self._settings.value.backend == "external"
        self._segmenter = registry.create(self._settings.value.backend)
        self._frame: Frame | None = None
        self._labels: deque[Image] = deque(maxlen=LABELS_HELD)
        self._scenes = 0
        self._diagnostics = Diagnostics(self, self._status)
        guard = self._diagnostics.guarded
        self._scene_publisher = self.create_publisher(SceneMsg, "scene", qos.LATEST)
        self._overlay_publisher = self.create_publisher(Image, "overlay", qos.LATEST)
        if self._external:
            self.create_subscription(Image, "labels", guard("labels", self._on_labels), qos.SENSOR)
        self.create_subscription(Image, "frame", guard("frame", self._on_frame), qos.LATEST)
        self.create_service(Segment, "segment", self._diagnostics.answered("segment", self._on_segment))

    def close(self) -> None:
        """Free the back end."""
        self._segmenter.close()

    def _on_frame(self, msg: Image) -> None:
        image = convert.image_from_msg(msg)
        check_image(image)
        labels = None if self._external else np.zeros(image.shape[:2], np.uint8)
        self._frame = Frame(image, convert.stamp_ns(msg.header), msg.header.frame_id, labels)
        if self._external and self._labels:
            self._pair(min(self._labels, key=self._distance))

    def _on_labels(self, msg: Image) -> None:
        self._labels.append(msg)
        if self._frame is not None and self._frame.labels is None:
            self._pair(msg)

    def _distance(self, msg: Image) -> int:
        return abs(convert.stamp_ns(msg.header) - self._frame.stamp_ns)

    def _pair(self, msg: Image) -> None:
        if self._distance(msg) > self._settings.value.slop * 1e9:
            return
        labels = convert.mono_from_msg(msg, "label image")
        self._frame.labels = resize_labels(labels, self._frame.image.shape[:2])
        self._publish()

    def _on_segment(self, request: Segment.Request, response: Segment.Response) -> str:
        if self._external:
            raise Refused("the back end is 'external' and takes no prompts; expected the parameter backend: grabcut")
        if self._frame is None:
            raise Refused("no frame has been captured; expected one on the topic frame (service capture)")
        prompt = Prompt.from_lists(request.role, request.x, request.y, request.inside, request.box)
        result = self._segmenter.segment(self._frame.image, prompt, self._frame.labels)
        self._frame.labels = result.labels
        response.pixels, response.confidence = result.pixels, float(result.confidence)
        found = f"{prompt.role.name.lower()} has {result.pixels} pixels"
        if missing := self._missing():
            self._publish_overlay()
            return f"{found}; the scene still misses its {missing}"
        self._publish()
        return f"{found}; the scene is complete"

    def _publish(self) -> None:
        """Publish the scene, or refuse it if a role is missing; the overlay in both cases."""
        frame = self._frame
        scene = Scene(frame.image, frame.labels, frame.stamp_ns, frame.frame_id)
        self._publish_overlay()
        self._scene_publisher.publish(convert.scene_to_msg(scene.require_roles()))
        self._scenes += 1

    def _publish_overlay(self) -> None:
        frame = self._frame
        header = convert.header_of(frame.stamp_ns, frame.frame_id)
        self._overlay_publisher.publish(convert.image_to_msg(overlay(frame.image, frame.labels), header))

    def _missing(self) -> str:
        labels = self._frame.labels
        return " and ".join(role.name.lower() for role in (Role.INTERACTOR, Role.OBJECT) if not (labels == role).any())

    def _status(self) -> Status:
        values = {"backend": self._settings.value.backend, "scenes": self._scenes}
        if self._frame is None:
            return Status(Level.STALE, "no frame has been captured", values)
        values["stamp of the frame in ns"] = self._frame.stamp_ns
        if self._frame.labels is None:
            slop = self._settings.value.slop
            return Status(Level.WARN, f"the frame waits for a label image within {slop:g} s of its stamp", values)
        if missing := self._missing():
            return Status(Level.WARN, f"the scene misses its {missing}", values)
        return Status(Level.OK, "the latest frame is segmented", values)


def main() -> int:
    """Run the node."""
    return run(SegmentNode)


if __name__ == "__main__":
    sys.exit(main())
