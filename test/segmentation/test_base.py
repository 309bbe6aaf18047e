import numpy as np
import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role
from mask2iv_ros.segmentation.base import Prompt


def test_lists_become_a_prompt():
    prompt = Prompt.from_lists(2, [3, 4], [5, 6], [True, False], [1, 2, 10, 12])
    assert prompt.role is Role.OBJECT
    assert prompt.points.tolist() == [[3, 5], [4, 6]]
    assert prompt.inside.tolist() == [True, False]
    assert prompt.box == (1, 2, 10, 12)


def test_words_are_a_prompt_of_their_own():
    prompt = Prompt.from_lists(2, words="the red cup")
    assert prompt.words == "the red cup"
    assert prompt.kinds == {"words"}
    assert Prompt.from_lists(2, [3], [4], box=[1, 2, 10, 12]).kinds == {"points", "box"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"words": "cup", "x": [1], "y": [1]}, "the words 'cup' and points or a box; expected one of the two"),
        ({"words": "cup", "box": [1, 2, 9, 9]}, "the words 'cup' and points or a box"),
        ({"words": "  "}, "the words '  '; expected one line of text"),
        ({"words": "a\ncup"}, r"the words 'a\\ncup'; expected one line"),
        ({"words": "x" * 201}, "words of 201 characters; expected at most 200"),
    ],
)
def test_words_that_say_nothing_are_refused(arguments: dict, message: str):
    with pytest.raises(Refused, match=message):
        Prompt.from_lists(2, **arguments)


def test_points_without_flags_are_inside_and_no_box_is_none():
    prompt = Prompt.from_lists(1, [3, 4], [5, 6])
    assert prompt.inside.tolist() == [True, True]
    assert prompt.box is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, [1], [1]), "prompt for role 0; accepted are 1 interactor, 2 object"),
        ((255, [1], [1]), "prompt for role 255; accepted"),
        ((7, [1], [1]), "prompt for role 7; accepted"),
        ((2, [1, 2], [1]), "prompt has 2 x and 1 y coordinates"),
        ((2, [1], [1], [True, True]), "prompt has 2 inside flags for 1 points"),
        ((2, [], [], [], [1, 2, 3]), "box has 3 numbers; expected x, y, width, height"),
        ((2,), "prompt has 0 points, none of them inside, and no box"),
        ((2, [1], [1], [False]), "prompt has 1 points, none of them inside, and no box"),
        ((2, [3, 3], [5, 5], [True, False]), r"point \(3, 5\) is said to be inside and outside"),
        ((2, [], [], [], [1, 2, 3, 9]), "box is 3 x 9 pixels; expected at least 4 x 4"),
        ((2, [], [], [], [1, 2, 9, -9]), "box is 9 x -9 pixels"),
        ((2, [9], [2], [True], [1, 1, 8, 8]), r"inside point \(9, 2\) lies outside of the box \(1, 1, 8, 8\)"),
    ],
)
def test_a_prompt_that_says_nothing_is_refused(arguments: tuple, message: str):
    with pytest.raises(Refused, match=message):
        Prompt.from_lists(*arguments)


def test_a_point_outside_may_lie_beyond_the_box():
    assert Prompt.from_lists(2, [9], [2], [False], [1, 1, 8, 8]).inside.tolist() == [False]


@pytest.mark.parametrize(
    ("points", "inside", "message"),
    [
        (np.zeros((2, 3), np.int64), np.ones(2, np.bool_), r"points are int64 of shape \(2, 3\)"),
        (np.zeros((2, 2)), np.ones(2, np.bool_), "points are float64"),
        (np.zeros((2, 2), np.int64), np.ones(3, np.bool_), "expected one bool for each of the 2 points"),
        (np.zeros((2, 2), np.int64), np.ones(2, np.uint8), "inside is uint8"),
    ],
)
def test_arrays_of_a_wrong_shape_are_refused(points: np.ndarray, inside: np.ndarray, message: str):
    with pytest.raises(Refused, match=message):
        Prompt(Role.OBJECT, points, inside)


def test_a_box_of_five_numbers_is_refused():
    with pytest.raises(Refused, match="box has 5 numbers"):
        Prompt(Role.OBJECT, box=(1, 2, 3, 4, 5))
