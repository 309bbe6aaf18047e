from __future__ import annotations

import numpy as np
import pytest

from mask2iv_ros.data.building.candidates import inter_frame_iou, manipulated, prompts_for
from mask2iv_ros.data.building.drop import Dropped
from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role
from mask2iv_ros.segmentation import Prompt
from mask2iv_ros.segmentation.base import Box, Track


def squares(step: int, frames: int = 5) -> np.ndarray:
    masks = np.zeros((frames, 20, 40), bool)
    for frame in range(frames):
        masks[frame, 5:15, frame * step : frame * step + 10] = True
    return masks


def test_iou_from_frame_to_frame_by_hand():
    assert inter_frame_iou(squares(0)) == 1
    assert inter_frame_iou(squares(5)) == pytest.approx(50 / 150)
    gone = squares(0)
    gone[2:] = False
    assert inter_frame_iou(gone) == pytest.approx(0.5), "1, then 0, then two steps with nothing"
    assert np.isnan(inter_frame_iou(np.zeros((4, 5, 5), bool)))


def test_what_changes_most_is_manipulated():
    assert manipulated([squares(0), squares(3), squares(1)]) == 1
    assert manipulated([np.zeros((5, 20, 40), bool), squares(1)]) == 1
    with pytest.raises(Dropped, match=r"2 candidate objects, of which two have inter-frame IoUs of 0\.818 and 0\.818"):
        manipulated([squares(1), squares(1)])
    with pytest.raises(Dropped, match="none of 1 candidate objects is seen"):
        manipulated([np.zeros((3, 5, 5), bool)])


class Colours:
    """Finds things by the names of their colours, and follows what has the colour of a box's middle."""

    name, needs_prompt, takes = "colours", True, frozenset({"box"})
    known = {"black": (0, 0, 0), "red": (200, 0, 0), "blue": (0, 0, 200)}

    def candidates(self, image: np.ndarray, words: str) -> list[Box]:
        boxes = []
        for word in words.split():
            rows, columns = np.nonzero((image == self.known.get(word, (1, 2, 3))).all(-1))
            if rows.size:
                box = (int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
                boxes.append(Box(box, 0.9, word))
        return boxes

    def track(self, video: np.ndarray, prompts: list[Prompt], on_frame: object = None) -> Track:
        labels = np.zeros(video.shape[:3], np.uint8)
        for prompt in prompts:
            x, y, width, height = prompt.box
            labels[(video == video[0, y + height // 2, x + width // 2]).all(-1)] = prompt.role
        return Track(labels, np.ones((len(video), 2)))

    def segment(self, image: np.ndarray, prompt: Prompt | None, labels: np.ndarray | None) -> None:
        raise NotImplementedError

    def follow(self, video: np.ndarray, labels: np.ndarray, on_frame: object = None) -> Track:
        raise NotImplementedError

    def close(self) -> None: ...


def video(moving: str) -> np.ndarray:
    frames = np.full((6, 40, 60, 3), 120, np.uint8)
    for frame, one in enumerate(frames):
        one[:8, 10 + frame : 30 + frame] = Colours.known["black"]
        for top, colour in ((12, "red"), (26, "blue")):
            left = 5 + (4 * frame if colour == moving else 0)
            one[top : top + 10, left : left + 10] = Colours.known[colour]
    return frames


@pytest.mark.parametrize("moving", ["red", "blue"])
def test_of_several_objects_the_words_mean_the_one_that_moves(moving: str):
    asked = [Prompt(Role.INTERACTOR, words="black"), Prompt(Role.OBJECT, words="red blue black")]
    found = prompts_for(video(moving), asked, Colours(), 1)
    assert [one.role for one in found] == [Role.INTERACTOR, Role.OBJECT]
    assert found[0].box == (10, 0, 20, 8)
    assert found[1].box == (5, 12 if moving == "red" else 26, 10, 10), "and not the interactor, which moves too"


def test_words_that_find_nothing_and_things_that_move_alike_are_dropped():
    black = Prompt(Role.INTERACTOR, words="black")
    with pytest.raises(Dropped, match="the words 'green cup' find no object") as caught:
        prompts_for(video("red"), [black, Prompt(Role.OBJECT, words="green cup")], Colours(), 1)
    assert caught.value.drop.kind == "object not found"
    with pytest.raises(Dropped, match="click on the one that is meant"):
        prompts_for(video("neither"), [black, Prompt(Role.OBJECT, words="red blue")], Colours(), 1)


def test_clicks_are_left_alone():
    click = Prompt.from_lists(2, [4], [5])
    found = prompts_for(video("red"), [Prompt(Role.INTERACTOR, words="black"), click], Colours(), 1)
    assert found[0] is click


def test_a_box_that_holds_no_thing_does_not_hide_the_others():
    class Sceptical(Colours):
        def track(self, video: np.ndarray, prompts: list[Prompt], on_frame: object = None) -> Track:
            if prompts[0].box[1] == 26:
                raise Refused("the object found is 99 % of the image")
            return super().track(video, prompts, on_frame)

    asked = [Prompt(Role.INTERACTOR, words="black"), Prompt(Role.OBJECT, words="red blue")]
    assert prompts_for(video("red"), asked, Sceptical(), 1)[1].box == (5, 12, 10, 10)
