from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.data.clips import Clip, write_clips
from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.nearest import NearestClip, TrainingClips


def shifted(clip: Clip, columns: int, frames: slice = np.s_[:]) -> Clip:
    """Return another clip whose thing is some columns further right, in some frames."""
    labels = clip.labels.copy()
    labels[frames][labels[frames] == 2] = 0
    labels[frames] |= np.where(np.roll(clip.labels[frames], columns, 2) == 2, 2, 0).astype(np.uint8)
    return replace(clip, labels=labels, goal_mask=labels[-1] == 2, seed=clip.seed + 100)


@pytest.mark.parametrize("ask", ["by_goal", "by_trajectory"])
def test_the_nearest_clip_is_itself_or_its_neighbour(clip: Clip, ask: str):
    train = [shifted(clip, columns) for columns in (-6, 0, 3, 9)]
    find = getattr(NearestClip(train), ask)
    for one in train:
        assert find(one) is one
    assert find(shifted(clip, 4)) is train[2]
    assert find(shifted(clip, 1)) is train[1]
    assert find(shifted(clip, 12)) is train[3]


def test_only_the_trajectory_sees_the_way_between(clip: Clip):
    detour = replace(clip, labels=clip.labels.copy())
    detour.labels[1:3] = shifted(clip, 10).labels[1:3]
    nearest = NearestClip([shifted(clip, 2), detour])
    probe = replace(detour, labels=detour.labels.copy())
    probe.labels[[0, 3]] = shifted(clip, 2).labels[[0, 3]]
    probe = replace(probe, goal_mask=probe.labels[-1] == 2)
    assert nearest.by_goal(probe).seed == clip.seed + 100
    assert nearest.by_trajectory(probe) is detour


def test_every_role_counts_as_another(clip: Clip):
    probe = replace(clip, labels=np.full_like(clip.labels, 255))
    others = [replace(clip, labels=np.full_like(clip.labels, role)) for role in (0, 1, 2)]
    # One pixel is right, of a role that shares a bit with all others.
    right = others[2].labels.copy()
    right[0, 0, 0] = 255
    best = replace(clip, labels=right)
    assert NearestClip([*others, best]).by_trajectory(probe) is best


def test_the_nearest_is_found_among_clips_of_one_shape_alone(clip: Clip):
    with pytest.raises(Refused, match="0 training clips"):
        NearestClip([])
    with pytest.raises(Refused, match=r"slide-0 is \(3, 32, 48\) \(t, h, w\); the first is \(4, 32, 48\)"):
        NearestClip([clip, replace(clip, labels=clip.labels[:3])])


def test_training_clips_are_decoded_when_asked_for(tmp_path: Path, clip: Clip):
    with pytest.raises(Refused, match="has no train clips"):
        TrainingClips(tmp_path)
    flat = replace(clip, video=np.full_like(clip.video, 90), task="b", seed=2)
    write_clips(tmp_path / "train", [flat, replace(flat, task="a", seed=7), shifted(flat, 5)])
    train = TrainingClips(tmp_path)
    assert [one.id for one in train] == ["a-7", "b-2", "b-102"]
    assert [one.seed for one in train[1:]] == [2, 102]
    np.testing.assert_array_equal(train[1].labels, clip.labels)
    np.testing.assert_array_equal(train[1].goal_mask, clip.goal_mask)
    assert np.abs(train[1].video.astype(int) - 90).max() <= 4
    nearest = NearestClip(train)
    found = nearest.by_goal(shifted(flat, 4))
    assert found.id == "b-102"
    # Two clips with one nearest share its frames.
    assert nearest.by_trajectory(shifted(flat, 6)) is found
