import numpy as np
import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.framing import Framing, frame_scene
from mask2iv_ros.scene import Goal, Scene


def painted(size: tuple[int, int], thing: tuple[slice, slice], arm: tuple[slice, slice]) -> Scene:
    labels = np.zeros(size, np.uint8)
    labels[arm], labels[thing] = 1, 2
    return Scene(np.zeros((*size, 3), np.uint8), labels, stamp_ns=7, frame_id="optical")


def goal(size: tuple[int, int], where: tuple[slice, slice]) -> Goal:
    mask = np.zeros(size, np.bool_)
    mask[where] = True
    return Goal(mask, "push it")


@pytest.mark.parametrize(
    ("source", "target", "rows", "columns"),
    [
        ((720, 1280), (96, 128), (0, 720), (160, 1120)),  # 16:9 to 4:3
        ((480, 640), (96, 128), (0, 480), (0, 640)),
        ((640, 480), (96, 128), (140, 500), (0, 480)),  # upright
        ((96, 128), (320, 512), (8, 88), (0, 128)),
    ],
)
def test_the_largest_centred_crop_is_seen(source: tuple, target: tuple, rows: tuple, columns: tuple):
    seen = Framing(source, target).crop
    assert (seen[0].start, seen[0].stop) == rows
    assert (seen[1].start, seen[1].stop) == columns


@pytest.mark.parametrize("source", [(1, 1), (1, 900), (900, 1), (3, 5)])
@pytest.mark.parametrize("target", [(8, 256), (256, 8)])
def test_the_thinnest_frames_have_a_crop(source: tuple[int, int], target: tuple[int, int]):
    framing = Framing(source, target)
    assert framing.image(np.zeros((*source, 3), np.uint8)).shape == (*target, 3)
    assert framing.labels(np.zeros(source, np.uint8)).shape == target


def test_image_and_labels_are_cropped_and_resized_alike():
    framing = Framing((72, 128), (24, 32))  # sees columns 16 to 112, a third the size
    image, labels = np.zeros((72, 128, 3), np.uint8), np.zeros((72, 128), np.uint8)
    image[:, :16], image[:, 112:] = 255, 255
    image[12:24, 46:61], labels[12:24, 46:61] = (10, 20, 30), 2
    small, mask = framing.image(image), framing.labels(labels)
    expected = np.zeros((24, 32), np.bool_)
    expected[4:8, 10:15] = True
    np.testing.assert_array_equal(mask == 2, expected)
    np.testing.assert_array_equal(small[expected], np.full((20, 3), (10, 20, 30)))
    assert not small[~expected].any()


def test_a_scene_keeps_its_stamp_and_a_goal_its_instruction():
    size = (72, 128)
    scene = painted(size, np.s_[30:40, 60:70], np.s_[0:20, 30:50])
    framed, framed_goal = frame_scene(scene, goal(size, np.s_[30:40, 90:100]), (24, 32))
    assert (framed.stamp_ns, framed.frame_id) == (7, "optical")
    assert framed.image.shape == (24, 32, 3)
    assert framed_goal.instruction == "push it"
    assert framed_goal.mask.dtype == np.bool_
    assert np.argwhere(framed_goal.mask).mean(0) == pytest.approx([11, 26], abs=1)


@pytest.mark.parametrize(
    ("what", "thing", "arm", "where"),
    [
        ("the object", np.s_[30:40, 0:14], np.s_[0:20, 30:50], np.s_[30:40, 90:100]),
        ("the interactor", np.s_[30:40, 60:70], np.s_[0:20, 115:128], np.s_[30:40, 90:100]),
        ("the goal mask", np.s_[30:40, 60:70], np.s_[0:20, 30:50], np.s_[30:40, 113:128]),
        ("the object", np.s_[30:31, 60:61], np.s_[0:20, 30:50], np.s_[30:40, 90:100]),  # too small to survive
    ],
)
def test_what_lies_outside_of_the_crop_is_refused(what: str, thing: tuple, arm: tuple, where: tuple):
    size = (72, 128)
    with pytest.raises(Refused, match=f"{what} has no pixel left at the generator's 32 x 24; .* columns 16 to 111"):
        frame_scene(painted(size, thing, arm), goal(size, where), (24, 32))


def test_a_goal_mask_of_another_size_is_refused():
    scene = painted((72, 128), np.s_[30:40, 60:70], np.s_[0:20, 30:50])
    with pytest.raises(Refused, match="goal mask is 20 x 10 pixels; expected the scene's 128 x 72"):
        frame_scene(scene, goal((10, 20), np.s_[1:5, 1:5]), (24, 32))


def test_a_scene_without_an_object_is_refused():
    scene = painted((72, 128), np.s_[0:0, 0:0], np.s_[0:20, 30:50])
    with pytest.raises(Refused, match="shows no object"):
        frame_scene(scene, Goal(None, "push it"), (24, 32))
