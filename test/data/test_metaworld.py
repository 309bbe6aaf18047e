from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.data.clips import load_clips, read_clips, save_clips
from mask2iv_ros.data.metaworld import MetaWorldClips, build
from mask2iv_ros.data.splits import SPLITS, split_of
from mask2iv_ros.errors import Refused

# Not importorskip: mujoco must not be imported before its renderer is chosen.
pytestmark = pytest.mark.skipif(find_spec("metaworld") is None, reason="the clips need the extra 'demo'")


def settings(out: Path, **change: object) -> MetaWorldClips:
    whole = MetaWorldClips(out, ("push",), (32, 48), frames=3, stride=4, clips=(("train", 2), ("validation", 1)))
    return replace(whole, **change)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    assert build(settings(folder)) == 3
    return folder


def test_clips_are_of_their_split_and_show_the_expert(built: Path):
    train, validation = load_clips(built, "train"), load_clips(built, "validation")
    assert [clip.seed for clip in train] == [0, 1]
    assert [clip.seed for clip in validation] == [SPLITS["validation"].start]
    for clip in (*train, *validation):
        assert clip.video.shape == (3, 32, 48, 3)
        assert clip.fps == 20
        assert clip.task == "push"
        assert {1, 2} <= set(np.unique(clip.labels[0]))
        assert (clip.labels[-1] != clip.labels[0]).any(), "the arm moves"
        # The goal is the object in the last frame, also where the arm hides it.
        assert (clip.goal_mask | (clip.labels[-1] != 2)).all()
    assert (train[0].video != train[1].video).any()
    assert [split_of(clip.seed) for clip in train] == ["train", "train"]


def test_what_is_there_is_kept_and_what_is_missing_made(built: Path):
    kept, lost = (built / f"push-{split}-000000.safetensors" for split in ("train", "validation"))
    before, stamp = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    assert build(settings(built)) == 1
    assert lost.read_bytes() == before
    assert kept.stat().st_mtime_ns == stamp
    assert build(settings(built, clips=(("train", 1),))) == 0


def test_torn_and_short_files_are_made_anew(built: Path, tmp_path: Path):
    whole = read_clips(built / "push-train-000000.safetensors")
    path = tmp_path / "push-train-000000.safetensors"
    for content in (b"torn", None):
        save_clips(path, whole[:1])
        if content is not None:
            path.write_bytes(content)
        assert build(settings(tmp_path, clips=(("train", 2),))) == 2
        again = read_clips(path)
        for one, other in zip(whole, again, strict=True):
            np.testing.assert_array_equal(one.video, other.video)
            np.testing.assert_array_equal(one.labels, other.labels)
            np.testing.assert_array_equal(one.goal_mask, other.goal_mask)


@pytest.mark.parametrize("change", [{"size": (40, 48)}, {"frames": 4}, {"stride": 5}])
def test_a_folder_of_other_clips_is_refused(built: Path, change: dict):
    with pytest.raises(Refused, match=r"clips in .*push-train-000000.* are \(3, 32, 48, 20.0\).* another folder"):
        build(settings(built, **change))


@pytest.mark.parametrize(
    "change",
    [
        {"tasks": ("juggle",)},
        {"size": (33, 48)},
        {"size": (24, 48)},
        {"size": (544, 48)},
        {"frames": 1},
        {"stride": 0},
        {"clips": (("train", -1),)},
        {"clips": (("exam", 1),)},
    ],
)
def test_settings_out_of_range_are_refused(tmp_path: Path, change: dict):
    with pytest.raises(Refused, match=r"expected|accepted"):
        settings(tmp_path, **change)


def test_no_workers_are_refused(tmp_path: Path):
    with pytest.raises(Refused, match="workers is 0; expected at least 1"):
        build(settings(tmp_path), workers=0)
