from pathlib import Path

import av
import numpy as np
import pytest

from mask2iv_ros.evaluation.video import side_by_side, write_mp4
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory


def read(path: Path) -> tuple[np.ndarray, float]:
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]), float(rate)


@pytest.mark.parametrize("fps", [8.0, 16 / 3, 29.97])
def test_a_film_is_read_back_frame_by_frame(tmp_path: Path, fps: float):
    video = np.stack([np.full((48, 64, 3), (20 * n, 100, 200 - 15 * n), np.uint8) for n in range(9)])
    write_mp4(tmp_path / "film.mp4", video, fps)
    found, rate = read(tmp_path / "film.mp4")
    assert found.shape == video.shape
    assert rate == pytest.approx(fps, rel=1e-3)
    # 4:2:0 and a quantiser of 17 keep flat colours within a few levels.
    assert np.abs(found.astype(int) - video).max() <= 6


def test_odd_sides_lose_their_last_line(tmp_path: Path):
    write_mp4(tmp_path / "film.mp4", np.zeros((3, 33, 47, 3), np.uint8), 10)
    assert read(tmp_path / "film.mp4")[0].shape == (3, 32, 46, 3)


def rollout(level: int, *, goal: bool = True) -> Rollout:
    labels = np.zeros((3, 24, 32), np.uint8)
    labels[:, 4:12, 4:12] = 2
    mask = np.zeros((24, 32), np.bool_)
    mask[14:22, 20:30] = True
    video = np.full((3, 24, 32, 3), level, np.uint8)
    return Rollout(
        "r",
        Scene(np.full((24, 32, 3), 50, np.uint8), labels[0]),
        Goal(mask) if goal else Goal(None, "push it"),
        Trajectory(labels),
        video,
        8.0,
        0,
        "tiny@0",
    )


def test_rollouts_stand_beside_each_other_masks_above_video():
    whole = side_by_side([rollout(level) for level in (100, 150, 200)], columns=2, tile_width=64)
    assert whole.shape == (3, 2 * 2 * 48, 2 * 64, 3)
    assert (whole[:, 2, 2] == 50).all()  # the source frame
    assert (whole[:, 10:22, 10:22, 1] > 120).all()  # the object's tint
    assert (whole[:, 48 + 2, 2] == 100).all()
    assert (whole[:, 48 + 2, 64 + 2] == 150).all()
    assert (whole[:, 3 * 48 + 2, 2] == 200).all()
    assert (whole[:, 2 * 48 :, 64:] == 0).all()  # no fourth
    for top in (0, 48):
        assert (whole[:, top + 28, 42:58] == (255, 255, 0)).all()  # the goal's upper edge


def test_a_rollout_without_a_goal_mask_has_no_outline():
    whole = side_by_side([rollout(100, goal=False)], tile_width=64)
    assert whole.shape == (3, 96, 64, 3)
    assert not (whole == (255, 255, 0)).all(-1).any()
