"""Turns a captured frame into a scene: one label image with arm and object.

Back end `external`: label images of another node are paired with the frame by stamp. The others
take an operator's prompts, one role at a time, by service and by topic, and follow the labels to
the next captured frame. A scene is published once it shows both roles; until then label image and
overlay show what there is and diagnostics say what is missing.
"""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8
from rclpy.node import Node
from sensor_msgs.msg import Image

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role, overlay, resize_labels
from mask2iv_ros.msg import Scene as SceneMsg
from mask2iv_ros.msg import SegmentPrompt
from mask2iv_ros.ros import convert, qos
from mask2iv_ros.ros.diagnostics import Diagnostics, Level, Status
from mask2iv_ros.ros.parameters import Parameters
from mask2iv_ros.ros.process import run
from mask2iv_ros.scene import Scene, check_image
from mask2iv_ros.segmentation import registry
from mask2iv_ros.segmentation.base import PROMPTED_ROLES, Prompt, Segmentation
from mask2iv_ros.segmentation.checks import check_mask
from mask2iv_ros.srv import Segment

LABELS_HELD = 64  # two seconds of a fast camera: labels may come before the frame is captured


@dataclass(frozen=True)
class SegmentSettings:
    """The parameters of `config/segment.yaml`."""

    backend: str
    weights: str
    config: str
    detector: str
    device: str
    precision: str
    follow: bool
    least_confidence: float
    slop: float

    @property
    def of_backend(self) -> dict[str, str]:
        """What was set for the back end: one that has no such setting refuses it."""
        chosen = {name: getattr(self, name) for name in ("weights", "config", "detector", "device", "precision")}
        return {name: value for name, value in chosen.items() if value not in ("", "auto")}


@dataclass
class Frame:
    """The frame in work, its labels so far (None while an external node has sent none) and how sure they are."""

    image: UInt8[np.ndarray, "h w 3"]
    stamp_ns: int
    frame_id: str
    labels: UInt8[np.ndarray, "h w"] | None
    confidence: dict[Role, float] = field(default_factory=dict)


class SegmentNode(Node):
    """Topics `frame`, `labels` and `prompt` in, `scene`, `segmentation` and `overlay` out; service `segment`."""

    def __init__(self) -> None:
        super().__init__("segment")
        self._settings = Parameters(self, "segment", SegmentSettings)
        self._external = self._settings.value.backend == "external"
        self._segmenter = registry.create(self._settings.value.backend, self._settings.value.of_backend)
        self._frame: Frame | None = None
        self._labels: deque[Image] = deque(maxlen=LABELS_HELD)
        self._scenes = 0
        self._diagnostics = Diagnostics(self, self._status)
        guard = self._diagnostics.guarded
        self._scene_publisher = self.create_publisher(SceneMsg, "scene", qos.LATEST)
        self._labels_publisher = self.create_publisher(Image, "segmentation", qos.LATEST)
        self._overlay_publisher = self.create_publisher(Image, "overlay", qos.LATEST)
        if self._external:
            self.create_subscription(Image, "labels", guard("labels", self._on_labels), qos.SENSOR)
        self.create_subscription(Image, "frame", guard("frame", self._on_frame), qos.LATEST)
        self.create_subscription(SegmentPrompt, "prompt", guard("prompt", self._on_prompt), qos.COMMAND)
        self.create_service(Segment, "segment", self._diagnostics.answered("segment", self._on_segment))

    def close(self) -> None:
        """Free the back end."""
        self._segmenter.close()

    def _on_frame(self, msg: Image) -> None:
        image = convert.image_from_msg(msg)
        check_image(image)
        labels = None if self._external else np.zeros(image.shape[:2], np.uint8)
        before, self._frame = self._frame, Frame(image, convert.stamp_ns(msg.header), msg.header.frame_id, labels)
        if self._external:
            if self._labels:
                self._pair(min(self._labels, key=self._distance))
        elif before is not None and before.labels.any() and self._settings.value.follow:
            self._follow(before)

    def _follow(self, before: Frame) -> None:
        """Bring the labels of the frame before to this one; a role that is lost has to be prompted again."""
        frame = self._frame
        if before.image.shape != frame.image.shape or before.frame_id != frame.frame_id:
            raise Refused("the new frame is of another camera or size, so its labels begin anew; expected new prompts")
        track = self._segmenter.follow(np.stack([before.image, frame.image]), before.labels)
        lost = []
        for role, confidence in zip(PROMPTED_ROLES, track.confidence[1], strict=True):
            mask = track.labels[1] == role
            if role not in before.labels:
                continue
            if confidence < self._settings.value.least_confidence or not mask.any():
                lost.append(f"{role.name.lower()} (confidence {confidence:.2f})")
                continue
            try:
                frame.labels[check_mask(mask, role)] = role
            except Refused as refusal:
                lost.append(f"{role.name.lower()} ({refusal})")
            else:
                frame.confidence[role] = float(confidence)
        self._show()
        if lost:
            raise Refused(f"lost on the new frame: {', '.join(lost)}; expected a new prompt")

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
        said, result = self._segment(request)
        response.pixels, response.confidence = result.pixels, float(result.confidence)
        return said

    def _on_prompt(self, msg: SegmentPrompt) -> None:
        said, _ = self._segment(msg)
        self.get_logger().info(said)

    def _segment(self, said: Segment.Request | SegmentPrompt) -> tuple[str, Segmentation]:
        """Do what a request or a message says; return what came of it in words."""
        if self._external:
            raise Refused("the back end is 'external' and takes no prompts; expected another parameter backend")
        if self._frame is None:
            raise Refused("no frame has been captured; expected one on the topic frame (service capture)")
        prompt = Prompt.from_lists(said.role, said.x, said.y, said.inside, said.box, convert.check_text(said.words))
        frame = self._frame
        result = self._segmenter.segment(frame.image, prompt, frame.labels)
        check_mask(result.labels == prompt.role, prompt.role)
        frame.labels, frame.confidence[prompt.role] = result.labels, float(result.confidence)
        found = f"{prompt.role.name.lower()} has {result.pixels} pixels"
        if result.note:
            found += f" ({result.note})"
        self._show()
        if missing := self._missing():
            return f"{found}; the scene still misses its {missing}", result
        return f"{found}; the scene is complete", result

    def _show(self) -> None:
        """Publish the scene if it shows both roles, and label image and overlay in any case."""
        if self._missing():
            self._publish_labels()
        else:
            self._publish()

    def _publish(self) -> None:
        """Publish the scene, or refuse it if a role is missing; label image and overlay in both cases."""
        frame = self._frame
        scene = Scene(frame.image, frame.labels, frame.stamp_ns, frame.frame_id)
        self._publish_labels()
        self._scene_publisher.publish(convert.scene_to_msg(scene.require_roles()))
        self._scenes += 1

    def _publish_labels(self) -> None:
        frame = self._frame
        header = convert.header_of(frame.stamp_ns, frame.frame_id)
        self._labels_publisher.publish(convert.image_to_msg(frame.labels, header))
        self._overlay_publisher.publish(convert.image_to_msg(overlay(frame.image, frame.labels), header))

    def _missing(self) -> str:
        labels = self._frame.labels
        return " and ".join(role.name.lower() for role in (Role.INTERACTOR, Role.OBJECT) if not (labels == role).any())

    def _status(self) -> Status:
        values = {"backend": self._settings.value.backend, "scenes": self._scenes}
        if self._frame is None:
            return Status(Level.STALE, "no frame has been captured", values)
        values["stamp of the frame in ns"] = self._frame.stamp_ns
        for role, confidence in sorted(self._frame.confidence.items()):
            values[f"confidence of the {role.name.lower()}"] = round(confidence, 3)
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
