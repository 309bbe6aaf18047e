import numpy as np
import pytest

from mask2iv_ros.data.building.drop import Dropped
from mask2iv_ros.data.building.handled_object import MOVED, REACHED, find_object
from mask2iv_ros.data.building.moving import find_by_motion
from mask2iv_ros.data.building.moving_interactor import Moving, find_interactor
from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role, iou, resize_labels
from mask2iv_ros.segmentation import create
from mask2iv_ros.segmentation.base import Unusable


def find(video: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """Return the interactor in every frame, the object in the first, and how it was told."""
    moving = Moving.look(video)
    interactor = find_interactor(moving)
    thing, how = find_object(moving, interactor, video[0], create("grabcut"))
    return np.stack([resize_labels(one.astype(np.uint8), video.shape[1:3]) > 0 for one in interactor]), thing, how


def test_an_arm_and_what_it_moves(drawn):
    video, labels = drawn(24, (96, 128), back=True)
    interactor, thing, how = find(video)
    assert how == MOVED
    assert iou(thing, labels[0] == Role.OBJECT) > 0.75
    # While it pushes the square, that moves along and is part of what moves.
    assert np.mean([iou(one & (true != 2), true == 1) for one, true in zip(interactor, labels, strict=True)]) > 0.6


def test_an_arm_and_what_it_stops_at(drawn):
    video, labels = drawn(30, (96, 128))
    interactor, thing, how = find(video[:13])  # it has just come to the square
    assert how == REACHED
    assert iou(thing, labels[0] == Role.OBJECT) > 0.75
    assert interactor.any((1, 2)).all()


def test_where_nothing_is_told(drawn):
    video, _ = drawn(8)
    grabcut = create("grabcut")
    with pytest.raises(Dropped, match="no pixel moves") as caught:
        find_by_motion(video[[0] * 8], grabcut)
    assert caught.value.drop.kind == "nothing moves"
    ball = np.repeat(video[:1], 8, 0)
    for frame in range(8):
        ball[frame, 20:28, 16 + 2 * frame : 24 + 2 * frame] = (250, 250, 0)
    with pytest.raises(Dropped, match="nothing that moves touches the picture's border"):
        find_by_motion(ball, grabcut)
    fly = np.repeat(drawn(10, (144, 192))[0][:1], 10, 0)
    for frame in range(10):
        fly[frame, 20:25, 2 * frame : 5 + 2 * frame] = 255
    with pytest.raises(Dropped, match=r"nothing that moves at the picture's border fills more than 0\.2 %"):
        find_by_motion(fly, grabcut)
    with pytest.raises(Dropped, match="half of the picture moves by") as caught:
        find_by_motion(drawn(8, (96, 128), pan=3.0)[0], grabcut)
    assert caught.value.drop.kind == "moving camera"


def test_a_back_end_without_points_is_refused(drawn):
    with pytest.raises(Refused, match="'external' takes no points"):
        find_by_motion(drawn(12)[0], create("external"))


def test_missing_weights_are_not_taken_for_a_missing_object(drawn):
    class Empty:
        name, takes = "empty", frozenset({"points"})

        def segment(self, *_: object) -> None:
            raise Unusable("no weights")

    with pytest.raises(Unusable, match="no weights"):
        find_by_motion(drawn(24, (96, 128), back=True)[0], Empty())
