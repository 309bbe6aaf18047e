import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tqdm import tqdm

from mask2iv_ros.data import metaworld
from mask2iv_ros.data.clips import load_clips, write_clips
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.data.metaworld import MetaWorldClips, build
from mask2iv_ros.data.splits import SPLITS, split_of
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import read_provenance

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
    assert [clip.seed for clip in validation] == [SPLITS["validation"].seeds.start]
    for clip in (*train, *validation):
        assert clip.video.shape == (3, 32, 48, 3)
        assert clip.fps == 20
        assert clip.task == "push"
        assert clip.instruction.startswith("push the puck ")
        assert {1, 2} <= set(np.unique(clip.labels[0]))
        assert (clip.labels[-1] != clip.labels[0]).any(), "the arm moves"
        # The goal is the object in the last frame, also where the arm hides it.
        assert (clip.goal_mask | (clip.labels[-1] != 2)).all()
    assert (train[0].video != train[1].video).any()
    assert [split_of(clip.seed) for clip in train] == ["train", "train"]
    assert sorted(path.name for path in built.iterdir()) == [
        ".train.lock",
        ".validation.lock",
        "train",
        "validation",
    ], "nothing else is left"


def test_states_and_actions_are_kept_where_asked_for(built: Path, tmp_path: Path):
    wanted = settings(tmp_path, clips=(("train", 1),), actions=True)
    assert build(wanted) == 1
    dataset = LabelledDataset.open(tmp_path / "train")
    robot = dataset.robot(0)
    assert robot.action.shape == (3, 4)
    assert robot.state.shape == (3, 4)
    # What the hand is told is where it goes.
    way = np.diff(robot.state[:, :3], axis=0).ravel()
    assert way @ robot.action[:-1, :3].ravel() > 0
    np.testing.assert_array_equal(load_clips(tmp_path, "train")[0].video, load_clips(built, "train")[0].video)
    with pytest.raises(Refused, match="action"):
        build(replace(wanted, actions=False, clips=(("train", 2),)))


def test_what_is_there_is_kept_and_what_is_missing_made(built: Path, tmp_path: Path):
    out = Path(shutil.copytree(built, tmp_path / "clips"))
    kept = {path: path.read_bytes() for path in (out / "train/videos").rglob("*.mp4")}
    shutil.rmtree(out / "validation")
    assert build(settings(out, clips=(("train", 3), ("validation", 1)))) == 2
    assert [clip.seed for clip in load_clips(out, "train")] == [0, 1, 2]
    assert len(kept) == 2
    assert {path: path.read_bytes() for path in kept} == kept
    for before, after in zip(load_clips(built, "validation"), load_clips(out, "validation"), strict=True):
        np.testing.assert_array_equal(before.video, after.video)
    assert build(settings(out, clips=(("train", 1),))) == 0


@pytest.mark.parametrize("change", [{"size": (40, 48)}, {"frames": 4}, {"stride": 5}])
def test_a_folder_of_other_clips_is_refused(built: Path, change: dict):
    with pytest.raises(Refused, match=r"clips in .*train are \(3, 32, 48, 20\).* another folder"):
        build(settings(built, **change))


def test_a_shard_that_was_finished_is_added_and_never_twice(built: Path, tmp_path: Path):
    out = Path(shutil.copytree(built, tmp_path / "clips"))
    clips = load_clips(built, "train")
    shards = out / ".train.shards"
    shards.mkdir()
    write_clips(shards / "000000-push-0", clips)  # added, and killed before it was removed
    write_clips(shards / "000002-push-2", [replace(clips[0], seed=2)])
    write_clips(shards / "000003-push-3.part", [replace(clips[0], seed=3)])
    assert build(settings(out, clips=(("train", 3),))) == 0
    assert [clip.seed for clip in load_clips(out, "train")] == [0, 1, 2]
    assert not shards.exists()


def test_two_builders_do_not_meet(built: Path, tmp_path: Path):
    from mask2iv_ros.export import DatasetWriter

    with (
        DatasetWriter(tmp_path / "train"),
        pytest.raises(Refused, match=r"train is being written by process \d+; expected no other writer"),
    ):
        build(settings(tmp_path))


def test_a_killed_build_goes_on_and_loses_and_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(metaworld, "_CLIPS_PER_SHARD", 2)
    wanted, train, seen = settings(tmp_path, clips=(("train", 6),)), tmp_path / "train", 0
    for moment in (
        lambda: list(tmp_path.glob(".train.shards/*.part/data")),  # in the middle of a shard
        lambda: train.exists() and not (tmp_path / ".train.staging").exists(),  # after one was added
    ):
        process = multiprocessing.get_context("fork").Process(target=_build_quietly, args=(wanted,))
        process.start()
        _wait_until(moment)
        workers = _children(process.pid)
        assert process.is_alive()
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        _wait_until(lambda: not any(map(_runs, workers)))  # noqa: B023 called in this round only
        if train.exists():
            ids = [one.id for one in read_provenance(train, imagined_only=False)]
            assert len(ids) == len(set(ids)) >= seen
            assert len(load_clips(tmp_path, "train")) == len(ids)
            seen = len(ids)
    assert 0 < seen < 6
    assert build(wanted) <= 6 - seen
    assert [clip.seed for clip in load_clips(tmp_path, "train")] == list(range(6))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".train.lock", "train"]


def _build_quietly(wanted: MetaWorldClips) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    # A fork shares tqdm's lock with the test; killed while it holds it, it would take it along.
    tqdm.set_lock(threading.RLock())
    build(wanted)


def _wait_until(condition: Callable[[], object], seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    "change",
    [
        {"tasks": ("juggle",)},
        {"size": (33, 48)},
        {"size": (24, 48)},
        {"size": (544, 48)},
        {"frames": 1},
        {"stride": 0},
        {"stride": 3},
        {"clips": (("train", -1),)},
        {"clips": (("exam", 1),)},
    ],
)
def test_settings_out_of_range_are_refused(tmp_path: Path, change: dict):
    with pytest.raises(Refused, match=r"expected|accepted"):
        settings(tmp_path, **change)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path):
    (tmp_path / ".train.shards").write_text("in the way")
    with pytest.raises(Refused, match=r"cannot be written .*File exists.*finished clips are kept"):
        build(settings(tmp_path))


def test_no_workers_are_refused(tmp_path: Path):
    with pytest.raises(Refused, match="workers is 0; expected at least 1"):
        build(settings(tmp_path), workers=0)
