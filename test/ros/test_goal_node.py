import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: the ros-* wheels or a sourced installation")

from mask2iv_ros.msg import Goal as GoalMsg
from mask2iv_ros.msg import Scene as SceneMsg
from mask2iv_ros.srv import OffsetGoal
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from mask2iv_ros.ros import convert, qos
from mask2iv_ros.ros.goal_node import GoalNode
from mask2iv_ros.scene import Scene

STAMP = 1_700_000_000_123_456_789


class Rig:
    """A goal node, its inputs and its goals."""

    def __init__(self, ros, **parameters):
        self.ros = ros(goal=parameters)
        self.latest = self.ros.diagnostics()
        self.goals = self.ros.listen(GoalMsg, "goal", qos.LATEST)
        self.node = self.ros.add(GoalNode)
        self.masks = self.ros.publisher(Image, "goal_mask")
        self.texts = self.ros.publisher(String, "instruction")

    def show(self, image, labels, stamp=STAMP):
        publisher = self.ros.publisher(SceneMsg, "scene", qos.LATEST)
        publisher.publish(convert.scene_to_msg(Scene(image, labels, stamp, "optical")))
        self.ros.wait(lambda: self.node._scene and self.node._scene.stamp_ns == stamp, "the scene")

    def send(self, mask, stamp=0):
        self.masks.publish(convert.image_to_msg(mask, convert.header_of(stamp, "optical")))

    def goal(self, number):
        self.ros.wait(lambda: len(self.goals) >= number, f"goal {number}")
        return self.goals[number - 1]

    def says(self, what):
        self.ros.wait(lambda: (s := self.latest("goal")) and what in s.message, f"diagnostics to say {what!r}")

    def offset(self, **fields):
        return self.ros.call(OffsetGoal, "offset_goal", OffsetGoal.Request(**fields))


def test_a_mask_of_any_size_becomes_a_goal_for_the_scene(ros, scene_arrays):
    rig = Rig(ros)
    rig.show(*scene_arrays)
    rig.texts.publish(String(data="push it there"))
    rig.ros.wait(lambda: rig.node._instruction, "the instruction")
    mask = np.zeros((24, 32), np.uint8)
    mask[10:14, 20:26] = 200
    rig.send(mask)
    goal = rig.goal(1)
    assert (convert.stamp_ns(goal.header), goal.header.frame_id) == (STAMP, "optical")
    assert goal.instruction == "push it there"
    np.testing.assert_array_equal(convert.mono_from_msg(goal.mask, "mask") > 0, mask.repeat(2, 0).repeat(2, 1) > 0)


def test_a_mask_before_any_scene_is_kept_for_the_first_one_only(ros, scene_arrays):
    image, labels = scene_arrays
    rig = Rig(ros)
    rig.send((labels == 2).astype(np.uint8))
    rig.says("a goal mask waits for the first scene")
    rig.show(image, labels)
    assert convert.stamp_ns(rig.goal(1).header) == STAMP
    rig.show(image, labels, STAMP + 1)
    rig.says("goals are made for the present scene")
    assert len(rig.goals) == 1


def test_a_mask_that_overtakes_its_scene_waits_for_it(ros, scene_arrays):
    image, labels = scene_arrays
    mask = (labels == 2).astype(np.uint8)
    rig = Rig(ros)
    rig.show(image, labels)
    rig.send(mask, STAMP + 5)
    rig.show(image, labels, STAMP + 5)
    assert convert.stamp_ns(rig.goal(1).header) == STAMP + 5
    # A clock of its own must not keep a mask waiting: nobody sends a scene of that stamp.
    rig.send(mask, STAMP + 10**12)
    assert convert.stamp_ns(rig.goal(2).header) == STAMP + 5


@pytest.mark.parametrize(
    ("msg", "says"),
    [
        (convert.image_to_msg(np.zeros((9, 9), np.uint8), Header()), "goal mask is all zero"),
        (Image(), "goal mask is 0 x 0 pixels"),
        (Image(height=1, width=1, step=3, encoding="rgb8", data=bytes(3)), "'rgb8'; accepted are mono8"),
        (Image(height=1, width=1, step=2, encoding="mono16", data=bytes(2)), "'mono16'; accepted are mono8"),
        (Image(height=4, width=4, step=4, encoding="mono8", data=bytes(15)), "15 bytes of data; expected 16"),
    ],
)
@pytest.mark.parametrize("with_scene", [True, False])
def test_a_bad_mask_is_said_so_and_the_next_one_taken(ros, scene_arrays, msg, says, with_scene):
    rig = Rig(ros)
    if with_scene:
        rig.show(*scene_arrays)
    rig.masks.publish(msg)
    rig.says(says)
    assert not rig.goals
    rig.send((scene_arrays[1] == 2).astype(np.uint8))
    if not with_scene:
        rig.show(*scene_arrays)
    rig.goal(1)


def test_an_instruction_alone_is_a_goal_where_asked_for(ros, scene_arrays):
    rig = Rig(ros, instruction_alone=True)
    rig.texts.publish(String(data="too early"))
    rig.says("an instruction arrived before any scene")
    rig.show(*scene_arrays)
    rig.texts.publish(String(data="push it"))
    goal = rig.goal(1)
    assert goal.instruction == "push it"
    assert convert.no_image(goal.mask)
    rig.texts.publish(String(data="x" * 5000))
    rig.says("instruction has 5000 characters; expected up to 4096")


def test_the_objects_mask_can_be_moved(ros, scene_arrays):
    rig = Rig(ros)
    answer = rig.offset(dx=5.0)
    assert not answer.success
    assert "there is no scene" in answer.message
    rig.show(*scene_arrays)
    answer = rig.offset(dx=-6.0, dy=-5.0)
    assert answer.success, answer.message
    expected = np.roll(scene_arrays[1] == 2, (-5, -6), (0, 1))
    np.testing.assert_array_equal(convert.mono_from_msg(answer.mask, "mask") > 0, expected)
    np.testing.assert_array_equal(convert.mono_from_msg(rig.goal(1).mask, "mask") > 0, expected)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"dx": float("nan")}, "dx is nan; expected a finite number"),
        ({"dx": 1000.0}, "leaves the 64 x 48 image"),
        ({"scale": 11.0}, "scale is 11"),
        ({"rotation": float("inf")}, "rotation is inf"),
    ],
)
def test_a_bad_offset_is_answered(ros, scene_arrays, fields, says):
    rig = Rig(ros)
    rig.show(*scene_arrays)
    answer = rig.offset(**fields)
    assert not answer.success
    assert says in answer.message
    assert not rig.goals
