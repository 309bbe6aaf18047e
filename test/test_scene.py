from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory, check_image

IMAGE = np.zeros((4, 6, 3), np.uint8)


def labels_of(*values: int) -> np.ndarray:
    labels = np.zeros((4, 6), np.uint8)
    labels.flat[: len(values)] = values
    return labels


@pytest.fixture
def rollout() -> Rollout:
    scene = Scene(IMAGE, labels_of(1, 2))
    trajectory = Trajectory(np.zeros((3, 4, 6), np.uint8))
    video = np.zeros((3, 4, 6, 3), np.uint8)
    return Rollout("a", scene, Goal(instruction="push"), trajectory, video, 8.0, 1, "default@0")


def test_a_scene_shows_where_its_roles_are():
    scene = Scene(IMAGE, labels_of(1, 2, 2, 255), stamp_ns=5, frame_id="camera")
    assert scene.mask(Role.OBJECT).sum() == 2
    assert scene.mask(Role.OBJECT)[0, 1:3].all()
    assert scene.require_roles() is scene
    with pytest.raises(FrozenInstanceError):
        scene.stamp_ns = 6


@pytest.mark.parametrize(
    ("image", "labels", "message"),
    [
        (IMAGE.astype(float), labels_of(), r"image is float64 of shape \(4, 6, 3\); expected uint8 RGB \(h, w, 3\)"),
        (IMAGE[..., :2], labels_of(), r"image is uint8 of shape \(4, 6, 2\)"),
        (IMAGE[..., 0], labels_of(), r"image is uint8 of shape \(4, 6\)"),
        (IMAGE[:0], labels_of()[:0], r"image is uint8 of shape \(0, 6, 3\)"),
        (IMAGE, labels_of().astype(int), r"label map is int64 of shape \(4, 6\); expected uint8 with axes \(h, w\)"),
        (IMAGE, labels_of(3), "label map has the value 3; accepted are 0 background, 1 interactor, 2 object, 255 unl"),
        (IMAGE, labels_of()[:, :5], "label map is 5 x 4 pixels; expected the image's 6 x 4 pixels"),
    ],
)
def test_a_scene_that_does_not_fit_together_is_refused(image: np.ndarray, labels: np.ndarray, message: str):
    with pytest.raises(Refused, match=message):
        Scene(image, labels)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (labels_of(1), "shows no object: its label map has 0 pixels of value 2; expected at least one"),
        (labels_of(2, 255), "shows no interactor: its label map has 0 pixels of value 1"),
    ],
)
def test_a_scene_without_arm_or_object_is_refused_when_both_are_needed(labels: np.ndarray, message: str):
    with pytest.raises(Refused, match=message):
        Scene(IMAGE, labels).require_roles()


def test_check_image_passes_what_a_scene_takes():
    assert check_image(IMAGE) is None


@pytest.mark.parametrize(
    ("mask", "instruction", "message"),
    [
        (None, "", "neither a mask nor an instruction; expected one of them"),
        (None, " \n", "neither a mask nor an instruction"),
        (labels_of(1), "", r"goal mask is uint8 of shape \(4, 6\); expected bool with axes \(h, w\)"),
        (labels_of(1)[None] > 0, "", r"goal mask is bool of shape \(1, 4, 6\)"),
        (labels_of() > 0, "push", "goal mask is all zero; expected at least one non-zero pixel"),
    ],
)
def test_a_goal_that_says_nothing_is_refused(mask: np.ndarray | None, instruction: str, message: str):
    with pytest.raises(Refused, match=message):
        Goal(mask, instruction)


def test_a_goal_image_of_any_size_and_value_becomes_a_mask_of_the_scenes_size():
    image = np.array([[0, 7, 255]], np.uint8)
    goal = Goal.from_image(image, (4, 6), "push")
    assert goal.instruction == "push"
    assert goal.mask.dtype == np.bool_
    np.testing.assert_array_equal(goal.mask, [[False, False, True, True, True, True]] * 4)


@pytest.mark.parametrize("shape", [(4, 6, 3), (6,), (0, 0), (0, 6), (4, 0)])
def test_a_goal_image_of_another_shape_is_refused(shape: tuple[int, ...]):
    with pytest.raises(Refused, match=r"goal mask has shape \(.*\); expected one channel \(h, w\) with pixels"):
        Goal.from_image(np.zeros(shape, np.uint8), (4, 6))


def test_an_all_zero_goal_image_is_refused():
    with pytest.raises(Refused, match="goal mask is all zero"):
        Goal.from_image(np.zeros((2, 3), np.uint8), (4, 6))


def test_a_goal_too_thin_for_the_scenes_size_is_refused_and_not_called_zero():
    image = np.zeros((40, 60), np.uint8)
    image[20, 32] = 255
    with pytest.raises(Refused, match="has 1 non-zero pixels of 60 x 40 pixels, and none is left at the scene's 6 x 4"):
        Goal.from_image(image, (4, 6))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (labels_of(), r"trajectory has shape \(4, 6\); expected axes \(t, h, w\)"),
        (labels_of(9)[None], "trajectory has the value 9"),
        (labels_of()[None].astype(np.int16), "trajectory is int16"),
    ],
)
def test_a_trajectory_of_another_shape_is_refused(labels: np.ndarray, message: str):
    with pytest.raises(Refused, match=message):
        Trajectory(labels)


def test_a_rollout_has_its_own_scores(rollout: Rollout):
    other = replace(rollout, id="b", scores={"goal_iou": 0.5})
    assert rollout.scores == {}
    assert (other.id, other.scores["goal_iou"]) == ("b", 0.5)
    assert other.trajectory.source == "predicted"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video": np.zeros((3, 4, 6, 3))}, r"video is float64 of shape \(3, 4, 6, 3\); expected uint8"),
        ({"video": np.zeros((3, 4, 6, 4), np.uint8)}, r"video is uint8 of shape \(3, 4, 6, 4\)"),
        ({"video": np.zeros((4, 6, 3), np.uint8)}, r"video is uint8 of shape \(4, 6, 3\)"),
        ({"video": np.zeros((2, 4, 6, 3), np.uint8)}, r"video has shape \(2, 4, 6\) and its trajectory \(3, 4, 6\)"),
        ({"scene": Scene(IMAGE[:3], labels_of()[:3])}, "video frames are 6 x 4 pixels; expected the scene's 6 x 3"),
        ({"fps": 0.0}, "fps is 0.0; expected a positive number"),
        ({"fps": -1.0}, "fps is -1.0"),
        ({"fps": float("nan")}, "fps is nan"),
        ({"fps": float("inf")}, "fps is inf"),
    ],
)
def test_a_rollout_that_does_not_fit_together_is_refused(rollout: Rollout, change: dict, message: str):
    with pytest.raises(Refused, match=message):
        replace(rollout, **change)


@pytest.mark.parametrize("verdict", ["", "good", "doubtful: the object vanishes in 4 of 16 frames"])
def test_a_rollout_can_be_judged(rollout: Rollout, verdict: str):
    assert replace(rollout, verdict=verdict).verdict == verdict


@pytest.mark.parametrize("verdict", ["fine", "good: very", "doubtful", "doubtful: ", "doubtful: a\nb"])
def test_a_verdict_in_other_words_is_refused(rollout: Rollout, verdict: str):
    with pytest.raises(Refused, match=r"verdict of rollout a is .*; expected 'good', 'doubtful: ' and why, or nothing"):
        replace(rollout, verdict=verdict)


def test_no_score_has_the_verdicts_name(rollout: Rollout):
    with pytest.raises(Refused, match="rollout a has a score named 'verdict'"):
        replace(rollout, scores={"verdict": 0.5})
