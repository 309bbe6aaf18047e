import numpy as np
import pytest

from mask2iv_ros.data.instruction import instruct


def square(row: int, column: int) -> np.ndarray:
    mask = np.zeros((96, 128), bool)
    mask[row - 2 : row + 3, column - 2 : column + 3] = True
    return mask


@pytest.mark.parametrize(
    ("down", "across", "words"),
    [
        (0, 12, "a little to the right"),
        (-12, 12, "a little up and to the right"),
        (-12, 0, "a little up"),
        (-12, -12, "a little up and to the left"),
        (0, -12, "a little to the left"),
        (12, -12, "a little down and to the left"),
        (12, 0, "a little down"),
        (12, 12, "a little down and to the right"),
        (12, 30, "far to the right"),  # 21.8 degrees
        (13, 30, "far down and to the right"),  # 23.4 degrees: past half of a sector
        (0, 31, "a little to the right"),
        (0, 32, "far to the right"),  # a quarter of the width
    ],
)
def test_the_words_say_which_way_and_how_far(down: int, across: int, words: str):
    assert instruct("push the puck", square(45, 60), square(45 + down, 60 + across)) == f"push the puck {words}"


def test_a_part_that_is_hidden_does_not_turn_the_direction_round():
    start, goal = square(40, 40), square(40, 80)
    start[:, :40] = False
    assert instruct("push it", start, goal) == "push it far to the right"
