import array
import io
import sys
import types

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

pytest.importorskip("rclpy", reason="needs ROS 2: the ros-* wheels or a sourced installation")

from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from mask2iv_ros.errors import Refused
from mask2iv_ros.ros import convert
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory

CHANNELS = {"rgb8": 3, "bgr8": 3, "mono8": 1, "rgba8": 4, "bgra8": 4}


def message(pixels, kind, padding=0, **changes):
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    fields = {
        "height": height,
        "width": width,
        "encoding": kind,
        "step": padded.shape[1],
        "data": array.array("B", padded.tobytes()),
    }
    return Image(**(fields | changes))


@pytest.mark.parametrize("padding", [0, 1, 7])
@pytest.mark.parametrize("big_endian", [0, 1])
@pytest.mark.parametrize("encoding", CHANNELS)
def test_every_encoding_becomes_rgb_whatever_the_step(encoding, padding, big_endian):
    rgb = np.random.default_rng(1).integers(0, 256, (5, 6, 3), np.uint8)
    alpha = np.full((5, 6, 1), 9, np.uint8)
    sent = {
        "rgb8": rgb,
        "bgr8": rgb[..., ::-1],
        "rgba8": np.concatenate([rgb, alpha], -1),
        "bgra8": np.concatenate([rgb[..., ::-1], alpha], -1),
        "mono8": rgb[..., 0],
    }[encoding]
    expected = np.repeat(rgb[..., :1], 3, -1) if encoding == "mono8" else rgb
    received = convert.image_from_msg(message(sent, encoding, padding, is_bigendian=big_endian))
    np.testing.assert_array_equal(received, expected)
    assert received.flags.writeable


def test_cv_bridge_gives_the_same_where_there_is_one(monkeypatch):
    pytest.importorskip("cv_bridge", reason="needs cv_bridge of a full ROS 2")
    if convert._cv_bridge() is None:
        pytest.skip("this cv_bridge is built for another numpy")
    pixels = np.random.default_rng(2).integers(0, 256, (5, 6, 4), np.uint8)
    for encoding, channels in CHANNELS.items():
        msg = message(pixels[..., :channels], encoding, padding=2 * channels)
        with_bridge = convert.image_from_msg(msg)
        with monkeypatch.context() as patch:
            patch.setattr(convert, "_cv_bridge", lambda: None)
            np.testing.assert_array_equal(convert.image_from_msg(msg), with_bridge)


def test_cv_bridge_is_left_alone_under_the_numpy_that_it_crashes_with(monkeypatch):
    class Crashes(types.ModuleType):
        def __getattr__(self, name):
            raise AssertionError("imported")

    monkeypatch.setitem(sys.modules, "cv_bridge", Crashes("cv_bridge"))
    convert._cv_bridge.cache_clear()
    monkeypatch.setattr(convert.np, "__version__", "2.0.0")
    assert convert._cv_bridge() is None
    convert._cv_bridge.cache_clear()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"encoding": "bayer_rggb8"}, "'bayer_rggb8'; accepted are rgb8, bgr8, mono8, rgba8, bgra8"),
        ({"encoding": ""}, "the encoding ''"),
        ({"step": 17}, "step of 17 bytes; expected at least 18 for 6 pixels of rgb8"),
        ({"step": 0}, "step of 0 bytes"),
        ({"data": array.array("B", bytes(89))}, "89 bytes of data; expected 90: step 18 x height 5"),
        ({"data": array.array("B")}, "0 bytes of data"),
        ({"height": 0}, "6 x 0 pixels"),
        ({"width": 0}, "0 x 5 pixels"),
        ({"width": 2**32 - 1, "step": 2**32 - 1}, "expected 1 to 8192 each way"),
        ({"height": 2**32 - 1}, "expected 1 to 8192 each way"),
    ],
)
def test_a_bad_image_is_refused_with_its_value(changes, says):
    msg = message(np.zeros((5, 6, 3), np.uint8), "rgb8", **changes)
    for read in (convert.image_from_msg, convert.check_image_msg):
        with pytest.raises(Refused) as refusal:
            read(msg)
        assert says in str(refusal.value)


def test_a_mask_in_colour_is_refused():
    with pytest.raises(Refused, match=r"goal mask has the encoding 'rgb8'; accepted are mono8"):
        convert.mono_from_msg(message(np.zeros((5, 6, 3), np.uint8), "rgb8"), "goal mask")


def test_png_is_exact_and_jpeg_is_near():
    image = cv2.GaussianBlur(np.random.default_rng(3).integers(0, 256, (32, 40, 3), np.uint8), (9, 9), 0)
    for extension, tolerance in ((".png", 0), (".jpg", 16)):
        data = cv2.imencode(extension, image[..., ::-1])[1].tobytes()
        received = convert.image_from_compressed(CompressedImage(format="any", data=data)).astype(int)
        assert np.abs(received - image).max() <= tolerance


@pytest.mark.parametrize("data", [b"", b"no image at all", None])
def test_a_damaged_compressed_image_is_refused(data):
    if data is None:
        data = cv2.imencode(".png", np.zeros((32, 32, 3), np.uint8))[1].tobytes()[:60]
    with pytest.raises(Refused, match=r"format 'jpeg' and \d+ bytes"):
        convert.image_from_compressed(CompressedImage(format="jpeg", data=data))


def test_a_small_png_that_unpacks_to_gigabytes_is_refused():
    file = io.BytesIO()
    PillowImage.new("1", (9000, 9000)).save(file, "PNG")
    assert len(file.getvalue()) < 20_000
    with pytest.raises(Refused, match="9000 x 9000 pixels"):
        convert.image_from_compressed(CompressedImage(format="png", data=file.getvalue()))


def test_stamps_go_through_exactly():
    for stamp in (0, 1, 1_999_999_999, (2**31 - 1) * 10**9 + 999_999_999):
        header = convert.header_of(stamp, "optical")
        assert (convert.stamp_ns(header), header.frame_id) == (stamp, "optical")
    with pytest.raises(Refused, match="expected seconds that fit 32 bits"):
        convert.header_of(2**31 * 10**9, "")


def rollout(image, labels, *, mask=True, edited=False):
    frames = np.stack([labels, labels[::-1]])
    return Rollout(
        id="20260101T000000-0a1b2c3d-00",
        scene=Scene(image, labels, 1_700_000_000_123_456_789, "optical"),
        goal=Goal(labels == 2 if mask else None, "push it ähnlich"),
        trajectory=Trajectory(frames, "edited" if edited else "predicted"),
        video=np.stack([image, image[::-1]]),
        fps=29.97,
        seed=2**40 + 1,
        checkpoint="tiny@0123",
        scores={"goal_iou": 0.1234567890123, "permanence": 1.0},
        verdict="doubtful: the object ends beside the goal",
    )


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("edited", [True, False])
def test_a_rollout_goes_through_a_message_exactly(scene_arrays, mask, edited):
    from rclpy.serialization import deserialize_message, serialize_message

    sent = rollout(*scene_arrays, mask=mask, edited=edited)
    msg = convert.rollout_to_msg(sent)
    received = convert.rollout_from_msg(deserialize_message(serialize_message(msg), type(msg)))
    np.testing.assert_array_equal(received.video, sent.video)
    np.testing.assert_array_equal(received.trajectory.labels, sent.trajectory.labels)
    np.testing.assert_array_equal(received.scene.image, sent.scene.image)
    np.testing.assert_array_equal(received.scene.labels, sent.scene.labels)
    assert (received.goal.mask is None) == (not mask)
    if mask:
        np.testing.assert_array_equal(received.goal.mask, sent.goal.mask)
    for name in ("id", "fps", "seed", "checkpoint", "scores", "verdict"):
        assert getattr(received, name) == getattr(sent, name)
    assert received.goal.instruction == sent.goal.instruction
    assert received.trajectory.source == sent.trajectory.source
    assert (received.scene.stamp_ns, received.scene.frame_id) == (sent.scene.stamp_ns, sent.scene.frame_id)


def test_a_scene_goes_through_a_message_exactly(scene_arrays):
    image, labels = scene_arrays
    labels[0, 0] = 255
    received = convert.scene_from_msg(convert.scene_to_msg(Scene(image, labels, 5, "optical")))
    np.testing.assert_array_equal(received.image, image)
    np.testing.assert_array_equal(received.labels, labels)
    assert (received.stamp_ns, received.frame_id) == (5, "optical")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: setattr(m, "id", "../../etc/passwd"), "'../../etc/passwd'; expected 1 to 128 letters"),
        (lambda m: setattr(m, "id", ""), "rollout id is ''"),
        (lambda m: setattr(m.trajectory, "frames", 1025), "trajectory has 1025 frames; expected 1 to 1024"),
        (lambda m: setattr(m.trajectory, "frames", 0), "trajectory has 0 frames"),
        (lambda m: setattr(m.trajectory, "frames", 3), "trajectory has 6144 bytes; expected 9216 for 3 frames"),
        (lambda m: setattr(m.trajectory, "height", 2**32 - 1), "expected 1 to 8192 each way"),
        (lambda m: setattr(m, "video", array.array("B", bytes(3))), "video has 3 bytes; expected 18432"),
        (lambda m: setattr(m, "fps", float("nan")), "fps is nan"),
        (lambda m: setattr(m.scores[0], "value", float("inf")), "all finite"),
        (lambda m: setattr(m, "verdict", "splendid"), "is 'splendid'; expected 'good', 'doubtful: ' and why"),
        (lambda m: setattr(m, "verdict", "doubtful: " + "x" * 5000), "has a verdict of 5010 characters"),
        (lambda m: setattr(m.scores[0], "name", "verdict"), "has a score named 'verdict'"),
        (lambda m: setattr(m, "instruction", "x" * 5000), "instruction has 5000 characters"),
        (lambda m: m.source_labels.data.__setitem__(0, 9), "label map has the value 9"),
        (lambda m: m.trajectory.labels.__setitem__(0, 9), "trajectory has the value 9"),
    ],
)
def test_a_hostile_rollout_is_refused(scene_arrays, change, says):
    msg = convert.rollout_to_msg(rollout(*scene_arrays))
    change(msg)
    with pytest.raises(Refused) as refusal:
        convert.rollout_from_msg(msg)
    assert says in str(refusal.value)


def test_a_goal_mask_takes_the_scenes_size():
    mask = np.zeros((10, 10), np.uint8)
    mask[:5, :5] = 1
    goal = convert.goal_from_fields(convert.image_to_msg(mask, Header()), "", (40, 60))
    assert goal.mask.shape == (40, 60)
    assert goal.mask[:20, :30].all()
    assert not goal.mask[20:].any()


@pytest.mark.parametrize(
    ("mask", "says"),
    [(np.zeros((4, 4), np.uint8), "goal mask is all zero"), (None, "neither a mask nor an instruction")],
)
def test_an_empty_goal_is_refused(mask, says):
    msg = Image() if mask is None else convert.image_to_msg(mask, Header())
    with pytest.raises(Refused, match=says):
        convert.goal_from_fields(msg, "", (8, 8))
