import numpy as np
import pytest

from mask2iv_ros.imagining.wording import act_of, text_for
from mask2iv_ros.masks import move_mask


@pytest.fixture
def start() -> np.ndarray:
    mask = np.zeros((60, 100), bool)
    mask[28:32, 48:52] = True
    return mask


def test_a_text_that_names_a_direction_names_the_new_one(start: np.ndarray):
    text = "push the mug far up and to the left"
    assert act_of(text) == "push the mug"
    assert text_for(text, start, move_mask(start, 30)) == "push the mug far to the right"
    assert text_for(text, start, move_mask(start, 0, 9)) == "push the mug a little down"


@pytest.mark.parametrize("text", ["put the mug to the left of the plate", "far up", "push it a little", ""])
def test_other_texts_stay(start: np.ndarray, text: str):
    assert act_of(text) == text
    assert text_for(text, start, move_mask(start, 30)) == text
