from dataclasses import replace

import numpy as np
import pytest

from mask2iv_ros.data.clips import Clip
from mask2iv_ros.evaluation.metrics import frame_figures, regions
from mask2iv_ros.generator.paste import paste_and_move
from mask2iv_ros.masks import move_mask


@pytest.fixture
def textured() -> Clip:
    """A thing with a pattern that truly moves over a flat background, before an arm that rests."""
    labels = np.zeros((4, 32, 48), np.uint8)
    labels[:, 4:28, 1:6] = 1
    for frame in range(4):
        labels[frame, 8:14, 12 + 4 * frame : 18 + 4 * frame] = 2
    video = np.zeros((4, 32, 48, 3), np.uint8)
    clip = Clip(video, labels, labels[-1] == 2, "slide", 0, "slide it", 8.0)
    pattern = np.random.default_rng(1).integers(0, 256, (6, 6, 3), np.uint8)
    video = np.full_like(clip.video, 100)
    video[clip.labels == 1] = (200, 30, 30)
    for frame, labels in zip(video, clip.labels, strict=True):
        frame[labels == 2] = pattern.reshape(-1, 3)
    return replace(clip, video=video)


FILLED = 2  # grey levels that inpainting strays from a flat background


def pasted(clip: Clip) -> np.ndarray:
    return paste_and_move(clip.video[0], clip.labels)


def test_what_moves_as_a_whole_is_made_exactly(textured: Clip):
    made, moving = pasted(textured), textured.labels > 0
    np.testing.assert_array_equal(made[moving], textured.video[moving])
    np.testing.assert_array_equal(made[0], textured.video[0])
    np.testing.assert_allclose(made.astype(int), textured.video, atol=FILLED)


def test_masks_that_grow_show_the_nearest_pixel_that_was_seen(textured: Clip):
    labels = textured.labels.copy()
    labels[1:, 4:28, 6:9] = 1  # the arm is wider than frame 0 shows
    made = pasted(replace(textured, labels=labels))
    assert (made[1:, 4:28, 1:9] == (200, 30, 30)).all()
    np.testing.assert_array_equal(made[labels == 2], textured.video[labels == 2])


def test_the_background_behind_them_is_filled_from_around(textured: Clip):
    video = textured.video.copy()
    video[0, 7:15, 11:19] = np.where((textured.labels[0] == 2)[7:15, 11:19, None], video[0, 7:15, 11:19], 104)
    made = pasted(replace(textured, video=video))
    # Where it was nothing of its pattern is left, nor of the rim of another colour round it.
    assert np.abs(made[2:, 7:15, 11:19].astype(int) - 100).max() <= FILLED


def test_a_turned_thing_turns(textured: Clip):
    labels = np.zeros_like(textured.labels)
    labels[0, 14:18, 10:30] = 2
    for frame in range(1, 4):
        labels[frame][move_mask(labels[0] == 2, dx=4, dy=2, rotation=0.3 * frame)] = 2
    video = np.full_like(textured.video, 100)
    video[0, 14:18, 10:20], video[0, 14:18, 20:30] = (250, 0, 0), (0, 0, 250)
    made = pasted(replace(textured, labels=labels, video=video))
    for frame, mask in zip(made[1:], labels[1:] == 2, strict=True):
        columns = np.nonzero(mask)[1]
        left = mask & (np.arange(48) < columns.mean() - 3)
        right = mask & (np.arange(48) > columns.mean() + 3)
        assert (frame[left][:, 0] > 200).all()
        assert (frame[right][:, 2] > 200).all()
        assert np.abs(frame[~mask & (labels[0] == 0)].astype(int) - 100).max() <= FILLED


def test_a_role_that_frame_0_does_not_show_is_not_drawn(textured: Clip):
    labels = textured.labels.copy()
    labels[0][labels[0] == 2] = 0
    video = np.where((labels == 1)[..., None], textured.video, 100).astype(np.uint8)
    made = pasted(replace(textured, labels=labels, video=video))
    assert (made[1:][labels[1:] == 2] == 100).all()


def test_a_thing_that_is_hidden_is_gone(textured: Clip):
    labels = textured.labels.copy()
    labels[2][labels[2] == 2] = 0
    made = pasted(replace(textured, labels=labels))
    assert np.abs(made[2][labels[2] == 0].astype(int) - 100).max() <= FILLED


def test_it_beats_standing_still(textured: Clip):
    still = np.repeat(textured.video[:1], 4, 0)
    values = [frame_figures(one, textured.video, regions(textured.labels)) for one in (pasted(textured), still)]
    assert values[0]["psnr_foreground"] > values[1]["psnr_foreground"] + 10
