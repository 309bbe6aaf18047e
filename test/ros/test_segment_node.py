import time

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: the ros-* wheels or a sourced installation")

from mask2iv_ros.msg import Scene as SceneMsg
from mask2iv_ros.msg import SegmentPrompt
from mask2iv_ros.srv import Segment
from sensor_msgs.msg import Image

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import iou
from mask2iv_ros.ros import convert, qos
from mask2iv_ros.ros.segment_node import SegmentNode
from mask2iv_ros.segmentation import names

STAMP = 1_700_000_000_123_456_789


class Rig:
    """A segment node, its inputs and what it publishes."""

    def __init__(self, ros, **parameters):
        self.ros = ros(segment=parameters)
        self.latest = self.ros.diagnostics()
        self.scenes = self.ros.listen(SceneMsg, "scene", qos.LATEST)
        self.overlays = self.ros.listen(Image, "overlay", qos.LATEST)
        self.node = self.ros.add(SegmentNode)
        self.frames = self.ros.publisher(Image, "frame", qos.LATEST)
        if parameters.get("backend", "external") == "external":
            self.labels = self.ros.publisher(Image, "labels", qos.SENSOR)

    def show(self, image, stamp=STAMP):
        self.frames.publish(convert.image_to_msg(image, convert.header_of(stamp, "optical")))

    def label(self, labels, stamp=STAMP):
        before = len(self.node._labels)
        msg = convert.image_to_msg(labels, convert.header_of(stamp, "optical"))
        self.labels.publish(msg)
        self.ros.wait(lambda: len(self.node._labels) > before, "the labels")

    def says(self, what):
        self.ros.wait(lambda: (s := self.latest("segment")) and what in s.message, f"diagnostics to say {what!r}")

    def segment(self, **fields):
        return self.ros.call(Segment, "segment", Segment.Request(**fields))


@pytest.mark.parametrize("labels_first", [True, False])
def test_a_frame_and_its_labels_become_a_scene(ros, scene_arrays, labels_first):
    image, labels = scene_arrays
    rig = Rig(ros, slop=0.02)
    if labels_first:
        rig.label(np.zeros_like(labels), STAMP - 10**9)
        rig.label(labels, STAMP - 10**7)
    rig.show(image)
    if not labels_first:
        rig.says("waits for a label image within 0.02 s")
        rig.label(np.zeros_like(labels), STAMP + 10**9)
        rig.label(labels, STAMP + 10**7)
    rig.ros.wait(lambda: rig.scenes, "the scene")
    scene = convert.scene_from_msg(rig.scenes[0])
    np.testing.assert_array_equal(scene.image, image)
    np.testing.assert_array_equal(scene.labels, labels)
    assert (scene.stamp_ns, scene.frame_id) == (STAMP, "optical")
    rig.ros.wait(lambda: rig.overlays, "the overlay")
    assert (convert.image_from_msg(rig.overlays[0]) != image).any()


def test_labels_of_another_size_are_resized_by_nearest(ros, scene_arrays):
    image, labels = scene_arrays
    rig = Rig(ros)
    rig.label(labels[::2, ::2].copy())
    rig.show(image)
    rig.ros.wait(lambda: rig.scenes, "the scene")
    received = convert.scene_from_msg(rig.scenes[0]).labels
    np.testing.assert_array_equal(received, labels[::2, ::2].repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda labels: np.where(labels == 2, 0, labels), "the scene shows no object"),
        (lambda labels: np.where(labels == 1, 0, labels), "the scene shows no interactor"),
        (lambda labels: np.where(labels == 1, 7, labels), "label map has the value 7; accepted are 0 background"),
        (lambda labels: np.zeros((48, 64, 3)), "'rgb8'; accepted are mono8"),
    ],
)
def test_bad_labels_are_said_so_and_the_next_ones_taken(ros, scene_arrays, spoil, says):
    image, labels = scene_arrays
    rig = Rig(ros)
    rig.label(spoil(labels).astype(np.uint8))
    rig.show(image)
    rig.says(says)
    assert not rig.scenes
    rig.label(labels, STAMP + 1)
    rig.show(image, STAMP + 1)
    rig.ros.wait(lambda: rig.scenes, "the scene")
    rig.says("the latest frame is segmented")


def test_the_external_back_end_takes_no_prompts(ros):
    answer = Rig(ros).segment(role=2, x=[1], y=[1])
    assert not answer.success
    assert "takes no prompts; expected another parameter backend" in answer.message


def drawn(x=110, y=70):
    image = np.full((120, 160, 3), (40, 90, 40), np.uint8)
    cv2.circle(image, (x, y), 20, (220, 40, 40), -1)
    cv2.rectangle(image, (20, 10), (50, 60), (60, 60, 220), -1)
    return np.clip(image + np.random.default_rng(0).normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def disc(x=110, y=70):
    return cv2.circle(np.zeros((120, 160), np.uint8), (x, y), 20, 1, -1) > 0


def test_grabcut_makes_a_scene_of_two_prompts(ros):
    rig = Rig(ros, backend="grabcut")
    answer = rig.segment(role=Segment.Request.OBJECT, x=[110], y=[70])
    assert not answer.success
    assert "no frame has been captured" in answer.message
    rig.show(drawn())
    rig.ros.wait(lambda: rig.node._frame, "the frame")
    answer = rig.segment(role=Segment.Request.OBJECT, box=[85, 45, 50, 50])
    assert answer.success
    assert "still misses its interactor" in answer.message
    assert not rig.scenes
    answer = rig.segment(role=Segment.Request.INTERACTOR, box=[15, 5, 40, 60])
    assert answer.success, answer.message
    rig.ros.wait(lambda: rig.scenes, "the scene")
    labels = convert.scene_from_msg(rig.scenes[0]).labels
    assert iou(labels == 2, disc()) > 0.9
    assert answer.pixels == np.count_nonzero(labels == 1)
    assert 0 < answer.confidence <= 1


def test_prompts_come_by_topic_too_and_labels_follow_to_the_next_capture(ros):
    rig = Rig(ros, backend="grabcut")
    prompts = rig.ros.publisher(SegmentPrompt, "prompt", qos.COMMAND)
    labels = rig.ros.listen(Image, "segmentation", qos.LATEST)
    rig.show(drawn())
    rig.ros.wait(lambda: rig.node._frame, "the frame")
    prompts.publish(SegmentPrompt(role=SegmentPrompt.OBJECT, box=[85, 45, 50, 50]))
    rig.ros.wait(lambda: labels, "the label image")
    assert iou(convert.mono_from_msg(labels[-1], "labels") == 2, disc()) > 0.9
    prompts.publish(SegmentPrompt(role=SegmentPrompt.INTERACTOR, box=[15, 5, 40, 60]))
    rig.ros.wait(lambda: rig.scenes, "the scene")
    rig.show(drawn(116, 66), STAMP + 10**9)
    rig.ros.wait(lambda: len(rig.scenes) == 2, "the scene of the next capture")
    followed = convert.scene_from_msg(rig.scenes[1])
    assert followed.stamp_ns == STAMP + 10**9
    assert iou(followed.labels == 2, disc(116, 66)) > 0.85
    assert (labels[-1].header.stamp.sec, labels[-1].encoding) == ((STAMP + 10**9) // 10**9, "mono8")
    values = {v.key: v.value for v in rig.ros.wait(lambda: rig.latest("segment"), "diagnostics").values}
    assert 0 < float(values["confidence of the object"]) <= 1


def test_what_left_the_picture_is_lost_and_said(ros):
    rig = Rig(ros, backend="grabcut")
    rig.show(drawn())
    rig.ros.wait(lambda: rig.node._frame, "the frame")
    assert rig.segment(role=2, box=[85, 45, 50, 50]).success
    rig.show(drawn(400, 400), STAMP + 10**9)
    rig.says("lost on the new frame: object")
    assert not (rig.node._frame.labels == 2).any()


def test_without_follow_a_new_frame_starts_from_nothing(ros):
    rig = Rig(ros, backend="grabcut", follow=False)
    rig.show(drawn())
    rig.ros.wait(lambda: rig.node._frame, "the frame")
    assert rig.segment(role=2, box=[85, 45, 50, 50]).success
    rig.show(drawn(), STAMP + 10**9)
    rig.ros.wait(lambda: rig.node._frame.stamp_ns > STAMP, "the next frame")
    assert not rig.node._frame.labels.any()


def test_words_click_and_box_reach_networks_through_the_service(ros, tmp_path):
    pytest.importorskip("sam2", reason="needs the extra sam2")
    from mask2iv_ros.segmentation.tiny import write_tiny_detector, write_tiny_sam2

    found = write_tiny_sam2(tmp_path)
    detector = write_tiny_detector(tmp_path)
    rig = Rig(ros, backend="grounded_sam2", detector=detector, **found)
    rig.show(drawn())
    rig.ros.wait(lambda: rig.node._frame, "the frame")
    answer = rig.segment(role=2, words="the red cup")
    assert answer.success, answer.message
    assert "the words fit" in answer.message
    answer = rig.segment(role=1, box=[15, 5, 40, 60])
    assert answer.success, answer.message
    assert answer.pixels == np.count_nonzero(rig.node._frame.labels == 1)


def test_sam2_follows_what_a_box_showed_to_the_next_capture(ros, tmp_path):
    pytest.importorskip("sam2", reason="needs the extra sam2")
    from mask2iv_ros.segmentation.tiny import write_tiny_sam2

    rig = Rig(ros, backend="sam2", least_confidence=0.0, **write_tiny_sam2(tmp_path))
    rig.show(drawn())
    rig.ros.wait(lambda: rig.node._frame, "the frame")
    answer = rig.segment(role=1, box=[15, 5, 40, 60])
    assert answer.success, answer.message
    assert "takes clicked points or a box" in rig.segment(role=2, words="the red cup").message
    rig.show(drawn(116, 66), STAMP + 10**9)
    rig.ros.wait(lambda: rig.node._frame.stamp_ns > STAMP and rig.node._frame.confidence, "labels on the next frame")
    assert (rig.node._frame.labels == 1).any()


def test_sam3_answers_words_through_the_service(ros, tmp_path):
    from mask2iv_ros.segmentation.tiny import write_tiny_sam3

    rig = Rig(ros, backend="sam3", weights=write_tiny_sam3(tmp_path), device="cpu")
    rig.show(drawn())
    rig.ros.wait(lambda: rig.node._frame, "the frame")
    answer = rig.segment(role=2, words="the red cup")
    assert answer.success or "nothing in the image looks like 'the red cup'" in answer.message
    refused = rig.segment(role=2, words="cup", x=[1], y=[1])
    assert "the words 'cup' and points or a box" in refused.message


def test_a_prompt_that_finds_nothing_is_refused_and_changes_nothing(ros):
    rig = Rig(ros, backend="grabcut")
    rig.show(np.full((120, 160, 3), 128, np.uint8))
    rig.ros.wait(lambda: rig.node._frame, "the frame")
    answer = rig.segment(role=2, x=[80], y=[60])
    assert not answer.success
    assert "no object stands out at the prompt" in answer.message
    assert not rig.node._frame.labels.any()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"role": 3, "x": [1], "y": [1]}, "prompt for role 3; accepted are 1 interactor, 2 object"),
        ({"role": 2}, "0 points"),
        ({"role": 2, "x": [1, 2], "y": [1]}, "2 x and 1 y"),
        ({"role": 2, "x": [1], "y": [1], "inside": [True, False]}, "2 inside flags for 1 points"),
        ({"role": 2, "box": [1, 2, 3]}, "box has 3 numbers"),
        ({"role": 2, "x": [1000], "y": [1]}, "1000"),
        (
            {"role": 2, "words": "the red cup"},
            "made of words; this segmentation back end takes clicked points or a box",
        ),
        ({"role": 2, "words": "x" * 201}, "words of 201 characters; expected at most 200"),
    ],
)
def test_a_bad_prompt_is_answered(ros, scene_arrays, fields, says):
    rig = Rig(ros, backend="grabcut")
    rig.show(scene_arrays[0])
    rig.ros.wait(lambda: rig.node._frame, "the frame")
    answer = rig.segment(**fields)
    assert not answer.success
    assert says in answer.message


def test_an_unknown_back_end_is_refused(ros):
    started = ros(segment={"backend": "sam9"})
    with pytest.raises(Refused, match="'sam9'; expected one of " + ", ".join(names())):
        started.add(SegmentNode)


def test_a_new_frame_forgets_the_labels_of_the_old_one(ros, scene_arrays):
    image, labels = scene_arrays
    rig = Rig(ros)
    rig.label(labels)
    rig.show(image)
    rig.ros.wait(lambda: rig.scenes, "the scene")
    rig.show(255 - image, STAMP + 10**9)
    rig.says("waits for a label image")
    time.sleep(0.1)
    assert len(rig.scenes) == 1
