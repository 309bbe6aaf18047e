import time

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: the ros-* wheels or a sourced installation")

from mask2iv_ros.srv import Capture
from sensor_msgs.msg import CompressedImage, Image

from mask2iv_ros.ros import convert, qos
from mask2iv_ros.ros.capture_node import CaptureNode

STAMP = 1_700_000_000_123_456_789


def capture(ros, max_age=0.0):
    return ros.call(Capture, "capture", Capture.Request(max_age=max_age))


def send(ros, node, publisher, msg):
    """Publish until it has arrived: camera topics are best effort."""
    before = node._arrived

    def arrived():
        publisher.publish(msg)
        time.sleep(0.02)
        return node._arrived > before

    ros.wait(arrived, "the image")


def test_the_latest_frame_is_captured_with_its_stamp_and_frame_id(ros, scene_arrays):
    ros = ros()
    node = ros.add(CaptureNode)
    frames = ros.listen(Image, "frame", qos.LATEST)
    camera = ros.publisher(Image, "image", qos.SENSOR)
    msg = convert.image_to_msg(scene_arrays[0][..., ::-1], convert.header_of(STAMP, "optical"))
    msg.encoding = "bgr8"
    send(ros, node, camera, msg)
    answer = capture(ros)
    assert answer.success, answer.message
    ros.wait(lambda: frames, "the frame")
    np.testing.assert_array_equal(convert.image_from_msg(frames[0]), scene_arrays[0])
    for header in (answer.header, frames[0].header):
        assert (convert.stamp_ns(header), header.frame_id) == (STAMP, "optical")


def test_missing_and_stale_frames_are_said_so(ros, scene_arrays):
    ros = ros(capture={"max_age": 0.5})
    latest = ros.diagnostics()
    node = ros.add(CaptureNode)
    answer = capture(ros)
    assert not answer.success
    assert "no frame has arrived on /image" in answer.message
    camera = ros.publisher(Image, "image", qos.SENSOR)
    send(ros, node, camera, convert.image_to_msg(scene_arrays[0], convert.header_of(STAMP, "optical")))
    assert capture(ros).success
    time.sleep(0.6)
    answer = capture(ros)
    assert not answer.success
    assert "s old; expected at most 0.5 s: the camera has stopped" in answer.message
    assert capture(ros, max_age=60.0).success
    ros.wait(lambda: (s := latest("capture")) and s.level == b"\x03" and "s old" in s.message, "STALE")


@pytest.mark.parametrize("max_age", [-1.0, float("nan"), 3601.0])
def test_a_bad_age_is_answered(ros, max_age):
    ros = ros()
    ros.add(CaptureNode)
    answer = capture(ros, max_age)
    assert not answer.success
    assert f"max_age is {max_age:g} seconds; expected 0" in answer.message


def test_a_bad_frame_is_said_so_and_does_not_replace_the_one_held(ros, scene_arrays):
    ros = ros(capture={"max_age": 60.0})
    latest = ros.diagnostics()
    node = ros.add(CaptureNode)
    camera = ros.publisher(Image, "image", qos.SENSOR)
    good = convert.image_to_msg(scene_arrays[0], convert.header_of(STAMP, "optical"))
    send(ros, node, camera, good)

    def said(what):
        camera.publish(bad)
        status = latest("capture")
        return status and status.level == b"\x01" and what in status.message

    bad = Image(height=4, width=4, encoding="rgb8", step=12, data=bytes(47))
    ros.wait(lambda: said("47 bytes of data; expected 48: step 12 x height 4"), "the refusal in diagnostics")
    bad = Image(height=4, width=4, encoding="yuv422", step=8, data=bytes(32))
    ros.wait(lambda: said("'yuv422'; accepted are rgb8"), "the refusal in diagnostics")
    answer = capture(ros)
    assert answer.success
    assert convert.stamp_ns(answer.header) == STAMP
    send(ros, node, camera, good)
    ros.wait(lambda: latest("capture").level == b"\x00", "OK again")


def test_compressed_frames_are_taken_where_asked_for(ros, scene_arrays):
    ros = ros(capture={"transport": "compressed"})
    node = ros.add(CaptureNode)
    frames = ros.listen(Image, "frame", qos.LATEST)
    camera = ros.publisher(CompressedImage, "image/compressed", qos.SENSOR)
    data = cv2.imencode(".png", scene_arrays[0][..., ::-1])[1].tobytes()
    send(ros, node, camera, CompressedImage(header=convert.header_of(STAMP, "optical"), format="png", data=data))
    assert capture(ros).success
    ros.wait(lambda: frames, "the frame")
    np.testing.assert_array_equal(convert.image_from_msg(frames[0]), scene_arrays[0])
    send(ros, node, camera, CompressedImage(format="jpeg", data=b"no image"))
    answer = capture(ros)
    assert not answer.success
    assert "format 'jpeg' and 8 bytes" in answer.message


def test_in_continuous_mode_every_new_frame_is_published_once(ros, scene_arrays):
    ros = ros(capture={"continuous": True, "rate": 50.0})
    node = ros.add(CaptureNode)
    frames = ros.listen(Image, "frame", 50)
    ros.wait(lambda: ros.probe.count_publishers("frame"), "the publisher")
    camera = ros.publisher(Image, "image", qos.SENSOR)
    for stamp in (1, 2):
        send(ros, node, camera, convert.image_to_msg(scene_arrays[0], convert.header_of(stamp, "optical")))
        ros.wait(lambda stamp=stamp: frames and convert.stamp_ns(frames[-1].header) == stamp, "the frame")
        count = len(frames)
        time.sleep(0.2)
        assert len(frames) == count
