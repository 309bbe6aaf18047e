from dataclasses import replace

import cv2
import numpy as np
import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.sheet import Strip, contact_sheet, describe_scores, rollout_strips, write_png
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory

CAPTION = 18


def levels(count: int) -> np.ndarray:
    """Frames of 12 x 16 pixels, each of a grey that says its number."""
    return np.repeat(np.arange(count, dtype=np.uint8), 12 * 16 * 3).reshape(count, 12, 16, 3) * 10


def test_frames_go_evenly_from_first_to_last_below_their_caption():
    sheet = contact_sheet([Strip("", levels(16))], columns=4, tile_width=32)
    assert sheet.shape == (CAPTION + 24, 4 * 32, 3)
    assert sheet.dtype == np.uint8
    assert (sheet[:CAPTION] == 255).all()
    tiles = sheet[CAPTION:].reshape(24, 4, 32, 3)
    assert [int(tiles[:, n].min()) for n in range(4)] == [0, 50, 100, 150]
    assert [int(tiles[:, n].max()) for n in range(4)] == [0, 50, 100, 150]


def test_shorter_strips_are_filled_with_white():
    sheet = contact_sheet([Strip("", levels(2)), Strip("", levels(5))], columns=8, tile_width=16)
    assert sheet.shape == (2 * (CAPTION + 12), 5 * 16, 3)
    assert (sheet[CAPTION : CAPTION + 12, 32:] == 255).all()
    assert (sheet[CAPTION : CAPTION + 12, :16] == 0).all()


def test_a_caption_is_written():
    captioned = contact_sheet([Strip("best", levels(3))])
    assert (captioned[:CAPTION] < 100).any()
    np.testing.assert_array_equal(captioned[CAPTION:], contact_sheet([Strip("", levels(3))])[CAPTION:])


def test_labels_are_tinted_and_the_goal_is_outlined():
    labels, goal = np.zeros((2, 12, 16), np.uint8), np.zeros((12, 16), np.bool_)
    labels[1, 2:6, 2:6] = 2
    goal[4:9, 8:13] = True
    video = np.zeros((2, 12, 16, 3), np.uint8)
    sheet = contact_sheet([Strip("", video, labels, goal)], tile_width=16)[CAPTION:]
    first, second = sheet[:, :16], sheet[:, 16:]
    rim = goal.copy()
    rim[5:8, 9:12] = False
    for tile in (first, second):
        assert (tile[rim] == (255, 255, 0)).all()
        assert not tile[5:8, 9:12].any()
    assert not first[2:6, 2:6].any()
    assert (second[2:6, 2:6, 1] > 100).all()
    assert not second[2:6, 2:6, [0, 2]].any()


def test_a_rollout_is_two_strips():
    video, labels = levels(3), np.zeros((3, 12, 16), np.uint8)
    goal = np.zeros((12, 16), np.bool_)
    goal[3:6, 3:6] = True
    scene = Scene(np.full((12, 16, 3), 9, np.uint8), labels[0])
    rollout = Rollout(
        "r7", scene, Goal(goal), Trajectory(labels), video, 8.0, 42, "tiny@0", {"permanence": 0.5, "goal_iou": 0.254}
    )
    masks, frames = rollout_strips(rollout)
    assert masks.caption == "r7: imagined masks over the source frame (goal_iou 0.25, permanence 0.50)"
    doubted = replace(rollout, verdict="doubtful: it jerks")
    assert describe_scores(doubted) == "doubtful: it jerks (goal_iou 0.25, permanence 0.50)"
    assert describe_scores(replace(doubted, scores={})) == "doubtful: it jerks"
    assert frames.caption == "r7: imagined video, seed 42"
    assert (masks.video == 9).all()
    assert masks.video.shape == video.shape
    np.testing.assert_array_equal(masks.labels, labels)
    np.testing.assert_array_equal(frames.video, video)
    assert frames.labels is None
    for strip in (masks, frames):
        np.testing.assert_array_equal(strip.goal, goal)


def test_write_png_keeps_every_pixel_and_says_where_it_cannot(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
    write_png(tmp_path / "image.png", image)
    write_png(tmp_path / "labels.png", image[..., 0])
    assert np.array_equal(cv2.imread(str(tmp_path / "image.png"))[..., ::-1], image)
    assert np.array_equal(cv2.imread(str(tmp_path / "labels.png"), cv2.IMREAD_GRAYSCALE), image[..., 0])
    with pytest.raises(Refused, match=r"nowhere/image\.png cannot be written"):
        write_png(tmp_path / "nowhere" / "image.png", image)
