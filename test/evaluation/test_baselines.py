from dataclasses import replace

import numpy as np

from mask2iv_ros.data.clips import Clip
from mask2iv_ros.evaluation.baselines import linear_translation, repeat_first


def test_repeating_shows_the_first_frame_throughout(clip: Clip):
    still = repeat_first(clip)
    assert still.video.shape == clip.video.shape
    for video, labels in zip(still.video, still.labels, strict=True):
        np.testing.assert_array_equal(video, clip.video[0])
        np.testing.assert_array_equal(labels, clip.labels[0])
    np.testing.assert_array_equal(still.goal_mask, clip.goal_mask)


def test_gliding_is_even_and_ends_at_the_goals_centroid(clip: Clip):
    labels = linear_translation(clip)
    np.testing.assert_array_equal(labels[0], clip.labels[0])
    centres = np.array([np.argwhere(frame == 2).mean(0) for frame in labels])
    np.testing.assert_allclose(centres[-1], np.argwhere(clip.goal_mask).mean(0), atol=0.5)
    np.testing.assert_allclose(np.diff(centres, axis=0), [(0, 4)] * 3, atol=0.6)
    np.testing.assert_array_equal(labels == 1, clip.labels == 1)


def test_gliding_is_right_where_things_do_glide(clip: Clip):
    np.testing.assert_array_equal(linear_translation(clip), clip.labels)


def test_the_arm_stays_before_what_glides(clip: Clip):
    labels = clip.labels.copy()
    labels[:, 8:14, 26:30] = 1
    labels = linear_translation(replace(clip, labels=labels))
    assert (labels[:, 8:14, 26:30] == 1).all()


def test_without_an_object_nothing_glides(clip: Clip):
    labels = np.where(clip.labels == 2, 0, clip.labels).astype(np.uint8)
    np.testing.assert_array_equal(linear_translation(replace(clip, labels=labels)), labels)
