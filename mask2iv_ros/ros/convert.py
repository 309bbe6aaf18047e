"""ROS messages <-> numpy and the core's dataclasses, exact both ways.

Every size that a message claims is checked against the data that it brings before anything is
allocated, so that a hostile message is refused and never believed. Images that arrive may have
any of `encodings.IMAGE_ENCODINGS` and a padded `step`; images that leave are rgb8 or mono8, unpadded.
"""

from __future__ import annotations

import array
import io
import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from jaxtyping import UInt8
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from mask2iv_ros.encodings import CHANNELS, check_size, pixel_rows, rgb
from mask2iv_ros.errors import Refused
from mask2iv_ros.msg import Goal as GoalMsg
from mask2iv_ros.msg import Rollout as RolloutMsg
from mask2iv_ros.msg import Scene as SceneMsg
from mask2iv_ros.msg import Score
from mask2iv_ros.msg import Trajectory as TrajectoryMsg
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory

MAX_FRAMES = 1024
MAX_TEXT = 4096  # characters of an instruction
MAX_SCORES = 256
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def image_from_msg(msg: Image) -> UInt8[np.ndarray, "h w 3"]:
    """Return an image message as RGB.

    Args:
        msg: one of `encodings.IMAGE_ENCODINGS`, rows `step` bytes apart.

    Raises:
        Refused: another encoding, a size of zero or out of range, or less data than the size needs.
    """
    check_image_msg(msg)
    bridge = _cv_bridge()
    # cv_bridge reads rows that are not a whole number of pixels apart as sheared.
    if bridge is not None and msg.step % CHANNELS[msg.encoding] == 0:
        return bridge.imgmsg_to_cv2(msg, desired_encoding="rgb8")
    return rgb(msg)


def check_image_msg(msg: Image) -> None:
    """Raise `Refused` where `image_from_msg` would, without converting anything."""
    pixel_rows(msg)


def mono_from_msg(msg: Image, name: str) -> UInt8[np.ndarray, "h w"]:
    """Return a mono8 message: a label map or a mask, called `name` in messages.

    Raises:
        Refused: as `image_from_msg`, and for any encoding but mono8: a mask has no colour to convert.
    """
    return pixel_rows(msg, name, ("mono8",)).copy()


def image_from_compressed(msg: CompressedImage) -> UInt8[np.ndarray, "h w 3"]:
    """Return a compressed image message (JPEG, PNG or what else OpenCV reads) as RGB.

    Raises:
        Refused: no image in the data, or one that is too large when unpacked.
    """
    # Only the header is read here: a few kilobytes of PNG can claim gigabytes of pixels.
    from PIL import Image as PillowImage

    what = f"compressed image of format {msg.format!r} and {len(msg.data)} bytes"
    try:
        with PillowImage.open(io.BytesIO(msg.data)) as header:
            width, height = header.size
    except Exception as error:
        raise Refused(f"{what} cannot be read; expected JPEG or PNG data") from error
    check_size(what, height, width)
    # The camera's own pixel grid, whatever orientation its EXIF tag would like.
    image = cv2.imdecode(np.frombuffer(msg.data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise Refused(f"{what} is damaged; expected whole JPEG or PNG data")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def image_to_msg(image: UInt8[np.ndarray, "h w *c"], header: Header) -> Image:
    """Return an image message: rgb8 of (h, w, 3), mono8 of (h, w); bool becomes 0 and 255."""
    pixels = image.astype(np.uint8) * 255 if image.dtype == np.bool_ else image
    height, width = pixels.shape[:2]
    encoding = "mono8" if pixels.ndim == 2 else "rgb8"
    return Image(
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=width * CHANNELS[encoding],
        data=_bytes(pixels),
    )


def header_of(stamp_ns: int, frame_id: str) -> Header:
    """Return a header of a stamp in nanoseconds and a frame id.

    Raises:
        Refused: a stamp that ROS cannot hold.
    """
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    if not -(2**31) <= seconds < 2**31:
        raise Refused(f"stamp is {stamp_ns} ns; expected seconds that fit 32 bits")
    return Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id=frame_id)


def stamp_ns(header: Header) -> int:
    """Return a header's stamp in nanoseconds."""
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


def scene_to_msg(scene: Scene) -> SceneMsg:
    """Return the message of a scene."""
    header = header_of(scene.stamp_ns, scene.frame_id)
    return SceneMsg(header=header, image=image_to_msg(scene.image, header), labels=image_to_msg(scene.labels, header))


def scene_from_msg(msg: SceneMsg) -> Scene:
    """Return the scene of a message.

    Raises:
        Refused: a bad image, bad labels, or labels of another size than the image.
    """
    labels = mono_from_msg(msg.labels, "label image")
    return Scene(image_from_msg(msg.image), labels, stamp_ns(msg.header), msg.header.frame_id)


def goal_to_msg(goal: Goal, header: Header) -> GoalMsg:
    """Return the message of a goal for the scene with this header."""
    mask = Image(header=header) if goal.mask is None else image_to_msg(goal.mask, header)
    return GoalMsg(header=header, mask=mask, instruction=goal.instruction)


def goal_from_fields(mask: Image, instruction: str, size: tuple[int, int]) -> Goal:
    """Return the goal of a mask message and a text, at the scene's `size` (height, width).

    Args:
        mask: mono8 of any size, resized by nearest; 0 x 0 means none.
        instruction: may be empty if there is a mask.
        size: the scene's.

    Raises:
        Refused: neither of the two, an all-zero mask, another encoding, or a bad size.
    """
    check_text(instruction)
    if no_image(mask):
        return Goal(None, instruction)
    return Goal.from_image(mono_from_msg(mask, "goal mask"), size, instruction)


def no_image(msg: Image) -> bool:
    """Return whether the message means "none": 0 x 0 and no data."""
    return msg.height == 0 and msg.width == 0 and not msg.data


def trajectory_to_msg(trajectory: Trajectory, header: Header) -> TrajectoryMsg:
    """Return the message of a trajectory that starts at the frame with this header."""
    frames, height, width = trajectory.labels.shape
    return TrajectoryMsg(header=header, frames=frames, height=height, width=width, labels=_bytes(trajectory.labels))


def trajectory_from_msg(msg: TrajectoryMsg, *, edited: bool) -> Trajectory:
    """Return the trajectory of a message.

    Args:
        msg: the message; it does not tell where the trajectory comes from.
        edited: whether a person or a planner made it, rather than stage 1.

    Raises:
        Refused: sizes out of range or not those of the data, or a value that is no role.
    """
    labels = _video(msg.labels, (msg.frames, msg.height, msg.width), "trajectory")
    return Trajectory(labels, "edited" if edited else "predicted")


def rollout_to_msg(rollout: Rollout) -> RolloutMsg:
    """Return the message of a rollout."""
    header = header_of(rollout.scene.stamp_ns, rollout.scene.frame_id)
    goal = goal_to_msg(rollout.goal, header)
    return RolloutMsg(
        header=header,
        id=rollout.id,
        instruction=rollout.goal.instruction,
        seed=rollout.seed,
        checkpoint=rollout.checkpoint,
        fps=float(rollout.fps),
        source=image_to_msg(rollout.scene.image, header),
        source_labels=image_to_msg(rollout.scene.labels, header),
        goal_mask=goal.mask,
        trajectory=trajectory_to_msg(rollout.trajectory, header),
        trajectory_edited=rollout.trajectory.source == "edited",
        video=_bytes(rollout.video),
        scores=scores_to_msgs(rollout.scores),
        verdict=rollout.verdict,
    )


def rollout_from_msg(msg: RolloutMsg) -> Rollout:
    """Return the rollout of a message.

    Raises:
        Refused: an id that is no plain file name, or anything that its parts refuse.
    """
    if not _ID.fullmatch(msg.id):
        raise Refused(
            f"rollout id is {msg.id[:140]!r}; expected 1 to 128 letters, digits, dots, underscores or hyphens, "
            "beginning with a letter or a digit"
        )
    if len(msg.scores) > MAX_SCORES or not all(np.isfinite(score.value) for score in msg.scores):
        raise Refused(f"rollout {msg.id} has {len(msg.scores)} scores; expected up to {MAX_SCORES}, all finite")
    if len(msg.verdict) > MAX_TEXT:
        raise Refused(f"rollout {msg.id} has a verdict of {len(msg.verdict)} characters; expected up to {MAX_TEXT}")
    scene = Scene(
        image_from_msg(msg.source),
        mono_from_msg(msg.source_labels, "source label image"),
        stamp_ns(msg.header),
        msg.header.frame_id,
    )
    trajectory = trajectory_from_msg(msg.trajectory, edited=msg.trajectory_edited)
    return Rollout(
        id=msg.id,
        scene=scene,
        goal=goal_from_fields(msg.goal_mask, msg.instruction, scene.image.shape[:2]),
        trajectory=trajectory,
        video=_video(msg.video, (*trajectory.labels.shape, 3), "video"),
        fps=msg.fps,
        seed=msg.seed,
        checkpoint=msg.checkpoint,
        scores={score.name: score.value for score in msg.scores},
        verdict=msg.verdict,
    )


def scores_to_msgs(scores: Mapping[str, float]) -> list[Score]:
    """Return the messages of figures by name."""
    return [Score(name=name, value=float(value)) for name, value in scores.items()]


def check_text(text: str) -> str:
    """Return the text unchanged if it is short enough to be an instruction."""
    if len(text) > MAX_TEXT:
        raise Refused(f"instruction has {len(text)} characters; expected up to {MAX_TEXT}")
    return text


def _video(data: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    frames, height, width = shape[:3]
    check_size(name, height, width)
    if not 1 <= frames <= MAX_FRAMES:
        raise Refused(f"{name} has {frames} frames; expected 1 to {MAX_FRAMES}")
    needed = int(np.prod([int(n) for n in shape], dtype=np.int64))
    if len(data) != needed:
        raise Refused(
            f"{name} has {len(data)} bytes; expected {needed} for {frames} frames of {width} x {height} pixels"
        )
    return np.frombuffer(data, np.uint8).reshape(shape).copy()


def _bytes(pixels: np.ndarray) -> array.array:
    """Return the pixels as rclpy takes them at once: 0.07 ms for VGA, where an ndarray takes 77 ms."""
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(pixels).data)
    return data


@cache
def _cv_bridge() -> Any:
    """Return a CvBridge, or None where there is none that works.

    The cv_bridge of Jazzy and Kilted is compiled against numpy 1: under numpy 2, which lerobot
    needs, its first conversion ends the process (ros-perception/vision_opencv issue 535).
    """
    if int(np.__version__.split(".")[0]) >= 2 or find_spec("cv_bridge") is None:
        return None
    from cv_bridge import CvBridge

    return CvBridge()
