import cv2
import numpy as np
import pytest

from mask2iv_ros.data.building.camera import camera_motion
from mask2iv_ros.data.building.quality import Quality, judge, measure
from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role


def kind(video: np.ndarray, labels: np.ndarray, **asked: float) -> str | None:
    drop = judge(measure(video, labels), Quality(**asked))
    return drop and drop.kind


def test_true_masks_are_kept(drawn):
    video, labels = drawn()
    figures = measure(video, labels)
    assert kind(video, labels) is None
    assert min(figures.consistency) > 0.7
    assert min(figures.own) > 0.5
    assert figures.scores().keys() == {"consistency_interactor", "consistency_object"}
    assert figures.camera < 0.01


def test_a_mask_that_flickers(drawn):
    video, labels = drawn()
    rng = np.random.default_rng(0)
    noise = np.stack([cv2.dilate((rng.random(one.shape) < 0.02).astype(np.uint8), np.ones((3, 3))) for one in labels])
    labels[labels == Role.INTERACTOR] = 0
    labels[(noise > 0) & (labels == 0)] = Role.INTERACTOR
    assert kind(video, labels, swap=0) == "interactor flickers"
    assert kind(video, labels, swap=0, consistency=0) is None


def test_an_area_that_jumps(drawn):
    video, labels = drawn()
    grown = cv2.dilate((labels[7] == Role.OBJECT).astype(np.uint8), np.ones((25, 25))) > 0
    labels[7][grown & (labels[7] == 0)] = Role.OBJECT
    assert measure(video, labels).jump[1] > 5
    assert kind(video, labels) == "object area jumps"
    assert kind(video, labels, jump=0, swap=0) is None


def test_a_mask_that_goes_over_to_another_thing(drawn):
    video, labels = drawn()
    video[:, 2:14, 44:56] = (20, 60, 220)  # a blue square that rests
    for frame in range(6, len(labels)):
        labels[frame][labels[frame] == Role.OBJECT] = 0
        labels[frame, 2:14, 44:56] = Role.OBJECT
    figures = measure(video, labels)
    assert figures.own[1] == 0
    assert kind(video, labels) == "object identity swap"
    assert kind(video, labels, swap=0) is None


def test_what_comes_back_into_sight_as_another_thing(drawn):
    video, labels = drawn()
    video[:, 2:14, 44:56] = (20, 60, 220)
    for frame in range(5, len(labels)):
        labels[frame][labels[frame] == Role.OBJECT] = 0
        labels[frame, 2:14, 44:56] = Role.OBJECT if frame > 7 else labels[frame, 2:14, 44:56]
    assert kind(video, labels) == "object identity swap"
    labels[8:, :36, 20:] = np.where(labels[8:, :36, 20:] == 0, Role.OBJECT, labels[8:, :36, 20:])
    assert kind(video, labels) == "object area jumps"


def test_what_is_too_small_too_large_or_out_of_sight(drawn):
    video, labels = drawn()
    gone = labels.copy()
    gone[-1][gone[-1] == Role.OBJECT] = 0
    assert kind(video, gone) == "object too small or unseen"
    hidden = labels.copy()
    hidden[2:11][hidden[2:11] == Role.OBJECT] = 0
    assert kind(video, hidden) == "object out of sight"
    assert kind(video, np.where(labels == Role.INTERACTOR, 0, labels)) == "interactor out of sight"
    full = np.where(labels == 0, Role.INTERACTOR, labels).astype(np.uint8)
    assert kind(video, full) == "interactor fills the picture"


def test_nothing_that_moves(drawn):
    video, labels = drawn()
    still = np.repeat(video[:1], 8, 0), np.repeat(labels[:1], 8, 0)
    assert kind(*still) == "nothing moves"
    assert kind(*still, moves=0) is None


def test_a_moving_camera_is_told_from_a_moving_arm(drawn):
    video, labels = drawn(size=(96, 128), pan=2.0)
    assert camera_motion(video, labels > 0) > 0.1
    assert kind(video, labels) == "moving camera"
    assert kind(video, labels, camera=1) is None
    assert camera_motion(drawn(size=(96, 128))[0]) < 0.01, "without masks too"


def test_before_a_plain_background_nothing_is_told_of_the_camera():
    assert np.isnan(camera_motion(np.full((3, 64, 64, 3), 90, np.uint8)))


@pytest.mark.parametrize(
    ("name", "value"), [("consistency", 1.5), ("jump", 0.5), ("jump", -1), ("camera", float("nan")), ("smallest", -1)]
)
def test_thresholds_out_of_range_are_refused(name: str, value: float):
    with pytest.raises(Refused, match=rf"quality\.{name} is {value}; expected"):
        Quality(**{name: value})
