from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq
import pytest
from tqdm import tqdm

from mask2iv_ros.data.building import build as building
from mask2iv_ros.data.building import shards
from mask2iv_ros.data.building.build import build
from mask2iv_ros.data.building.clips import seed_of, split_of
from mask2iv_ros.data.building.quality import Quality
from mask2iv_ros.data.building.settings import BuildSettings
from mask2iv_ros.data.clips import load_clips, task_of
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.data.motion import motion_score
from mask2iv_ros.data.sources.lerobot import LeRobotSource
from mask2iv_ros.data.splits import require_split
from mask2iv_ros.data.tiny import write_tiny_dataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import exchange, read_provenance

# The drawn squares are smaller than what is asked of clips by default.
EASY = Quality(consistency=0, swap=0, moves=0, camera=1)


@pytest.fixture(autouse=True, scope="module")
def small_jobs() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "EPISODES_PER_JOB", 2)
        yield


def settings(out: Path, **changes: object) -> BuildSettings:
    told = {"out": out, "name": "robot", "cameras": ("front",), "frames": 4, "fps": 10, "quality": EASY}
    return BuildSettings(**told | changes)


def ids(root: Path) -> list[str]:
    return [one.id for one in read_provenance(root, imagined_only=False)]


@pytest.fixture(scope="module")
def drawn_dataset(tmp_path_factory: pytest.TempPathFactory) -> LeRobotSource:
    return LeRobotSource.open(write_tiny_dataset(tmp_path_factory.mktemp("source") / "dataset", 7, frames=4))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, drawn_dataset: LeRobotSource) -> Path:
    out = tmp_path_factory.mktemp("built") / "out"
    summary, _ = build(drawn_dataset, settings(out, validation=0.4))
    assert len(summary.kept) == 7
    return out


def contents(out: Path) -> dict[str, list]:
    """Ids, label images, videos and tasks of the datasets, in their order."""
    told = {}
    for split in ("train", "validation"):
        dataset = LabelledDataset.open(out / split)
        told[split] = [
            (name, info.task, dataset.read(info.index).labels.tobytes(), dataset.read(info.index).video.tobytes())
            for name, info in zip(ids(out / split), dataset.episodes, strict=True)
        ]
    return told


def test_states_actions_and_texts_are_the_source_s_to_the_bit(tmp_path: Path, make_source, make_episode):
    episodes = {name: make_episode(name, rate=20.0, frames=17, seed=index) for index, name in enumerate("ab")}
    episodes["corrupt"] = None
    summary, plan = build(make_source(episodes), settings(tmp_path / "out", frames=4))
    assert (plan.fps, plan.size, plan.state, plan.action) == (10, (48, 64), ("x", "y", "z"), ("action_0", "action_1"))
    assert ids(tmp_path / "out/train") == [f"robot-{name}.front.{first:06d}" for name in "ab" for first in (0, 10)]
    dataset = LabelledDataset.open(tmp_path / "out/train")
    rows = pq.read_table(tmp_path / "out/train/data/chunk-000/file-000.parquet").to_pydict()
    for number, (name, first) in enumerate((name, first) for name in "ab" for first in (0, 10)):
        source, chosen = episodes[name], slice(first, first + 8, 2)
        own = slice(4 * number, 4 * number + 4)
        assert np.array(rows["observation.state"][own], np.float32).tobytes() == source.state[chosen].tobytes()
        assert np.array(rows["action"][own], np.float32).tobytes() == source.action[chosen].tobytes()
        assert rows["mask2iv.source_stamp_ns"][4 * number] == round(source.times[first] * 1e9)
        assert rows["mask2iv.source_frame_id"][4 * number] == "front"
        found = dataset.read(number)
        np.testing.assert_array_equal(found.labels, source.labels[chosen])
        np.testing.assert_array_equal(found.goal_mask, source.labels[first + 6] == 2)
        assert dataset.episodes[number].task == source.task
    assert [(one.id, one.kind) for one in summary.left] == [("robot-corrupt.front", "cannot be read")]
    assert not any(one.uneven for one in summary.kept)
    assert {one.imagined for one in read_provenance(dataset.root, imagined_only=False)} == {False}


def test_what_becomes_no_clip_is_named(tmp_path: Path, make_source, make_episode):
    whole = make_episode("whole")
    gap = replace(make_episode("gap"), times=np.concatenate([np.arange(6), 20 + np.arange(6)]) / 10)
    episodes = {
        "whole": whole,
        "brief": make_episode("brief", frames=3),
        "large": make_episode("large", size=(64, 64)),
        "mute": replace(make_episode("mute"), state=None, state_names=None),
        "bare": make_episode("bare", with_labels=False),
        "gap": gap,
        "still": replace(whole, id="still", frames=whole.frames[[0] * 12], labels=whole.labels[[0] * 12]),
    }
    summary, _ = build(make_source(episodes), settings(tmp_path, frames=12, quality=Quality()))
    assert [one.id for one in summary.kept] == ["robot-whole.front.000000"]
    assert {one.id.split("-")[1].split(".")[0]: one.kind for one in summary.left} == {
        "brief": "shorter than a clip",
        "large": "another size",
        "mute": "other columns",
        "bare": "no masks",
        "gap": "frames missing",
        "still": "nothing moves",
    }
    assert summary.reasons["nothing moves"] == 1


def test_a_varying_rate_is_resampled_and_said(tmp_path: Path, make_source, make_episode):
    shaken = replace(make_episode("a"), times=np.array([0, 5, 10, 15, 20, 41, 45, 60, 80, 90, 99, 110]) / 100)
    summary, _ = build(make_source({"a": shaken}), settings(tmp_path, frames=6, fps=5))
    assert [(one.id, one.uneven) for one in summary.kept] == [("robot-a.front.000000", True)]


def test_cameras_and_spans_and_size(tmp_path: Path, make_source, make_episode):
    from mask2iv_ros.data.sources.base import Span

    both = replace(make_episode("a"), spans=(Span(0, 4, "reach"), Span(4, 7, "too brief"), Span(7, 12, "push")))
    told = settings(tmp_path, cameras=("side", "front"), size=(24, 24), task="")
    summary, _ = build(make_source({"a": both}), told)
    assert [one.id.split("robot-a.")[1] for one in summary.kept] == [
        "side.000000", "side.000007", "front.000000", "front.000007",
    ]  # fmt: skip
    dataset = LabelledDataset.open(tmp_path / "train")
    assert [one.task for one in dataset.episodes] == ["reach", "push"] * 2
    assert dataset.size == (24, 24)
    assert [one.kind for one in summary.left] == ["shorter than a clip"] * 2


def test_datasets_train_as_any_others(built: Path, tmp_path: Path):
    from mask2iv_ros.data.clips import require_training_clips

    clips = [*load_clips(built, "train"), *load_clips(built, "validation")]
    assert {clip.task for clip in clips} == {"robot"}
    assert sorted(clip.seed for clip in clips) == sorted(
        seed_of(name) for s in ("train", "validation") for name in ids(built / s)
    )
    require_training_clips(built / "train")
    require_split([(task_of(name), 5_000_000) for name in ids(built / "train")], "train")


def test_an_episode_s_id_decides_its_split():
    share = np.mean([split_of(f"{number:06d}", 0.2) == "validation" for number in range(2000)])
    assert 0.17 < share < 0.23
    assert split_of("000007", 0.0) == "train"
    assert all(split_of(str(n), 0.4) == "validation" for n in range(99) if split_of(str(n), 0.2) == "validation")


def test_the_same_whatever_the_workers(built: Path, tmp_path: Path, drawn_dataset: LeRobotSource):
    build(drawn_dataset, settings(tmp_path / "out", validation=0.4), workers=2)
    assert contents(tmp_path / "out") == contents(built)


def test_shards_that_are_finished_before_their_turn(
    built: Path, tmp_path: Path, drawn_dataset: LeRobotSource, monkeypatch: pytest.MonkeyPatch
):
    def ahead(jobs: list, workers: int, work: Callable) -> Iterator:
        for place, job in enumerate(jobs):
            for one in jobs[: 3 if place == 0 else place + 1]:
                if not one.folder.with_suffix(".seen").exists():
                    work(one.units, one.folder)
                    one.folder.with_suffix(".seen").mkdir()
            yield job

    monkeypatch.setattr(building, "_worked", ahead)
    build(drawn_dataset, settings(tmp_path / "out", validation=0.4))
    assert contents(tmp_path / "out") == contents(built)


def test_a_source_that_grew_is_built_on(built: Path, tmp_path: Path, drawn_dataset: LeRobotSource):
    wanted = settings(tmp_path / "out", validation=0.4)
    assert len(build(drawn_dataset, wanted, episodes=3)[0].kept) == 3
    assert len(build(drawn_dataset, wanted)[0].kept) == 7
    assert contents(tmp_path / "out") == contents(built)
    before = (tmp_path / "out/train/meta/info.json").stat().st_ino
    assert len(build(drawn_dataset, wanted)[0].kept) == 7
    assert (tmp_path / "out/train/meta/info.json").stat().st_ino == before, "nothing to do, nothing done"


KILLS = (
    (shards, "write_outcomes", "before"),  # in the middle of a shard
    (exchange, "publish", "before"),  # a shard was finished, and is being added
    (exchange, "publish", "after"),  # it was added, and is not noted
    (building, "write_outcomes", "before"),
    (building, "write_outcomes", "after"),  # it was noted, and is still there
)


def test_a_killed_build_goes_on_to_the_same_datasets(built: Path, tmp_path: Path, drawn_dataset: LeRobotSource):
    out = tmp_path / "out"
    wanted, seen = settings(out, validation=0.4), []
    for where in KILLS:
        process = multiprocessing.get_context("fork").Process(target=_build_until, args=(drawn_dataset, wanted, where))
        process.start()
        process.join(200)
        assert process.exitcode == -signal.SIGKILL
        found = [name for split in ("train", "validation") if (out / split).exists() for name in ids(out / split)]
        assert len(set(found)) == len(found)
        assert set(seen) <= set(found), "what was in a dataset stays there"
        seen = found
    assert 0 < len(seen) < 7
    build(drawn_dataset, wanted)
    assert contents(out) == contents(built)
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in built.iterdir())
    assert not (out / ".build/shards").exists()


def test_a_shard_that_was_added_and_not_noted_is_not_added_again(built: Path, tmp_path: Path, drawn_dataset):
    out = Path(shutil.copytree(built, tmp_path / "out"))
    last = sorted((out / ".build/done").glob("*.json"))[-1]
    shard = out / ".build/shards" / last.stem
    (shard / "samples").mkdir(parents=True)
    last.rename(shard / "outcomes.json")
    build(drawn_dataset, settings(out, validation=0.4))
    assert contents(out) == contents(built)
    assert last.exists()


def test_clips_that_move_least_are_left_out(tmp_path: Path, make_source, make_episode):
    episodes = {}
    for index, frames in enumerate((12, 16, 24, 40)):  # the same way in more frames: slower
        episodes[f"e{index}"] = make_episode(f"e{index}", frames=frames)
    source = make_source(episodes)
    every, _ = build(source, settings(tmp_path / "all", frames=12))
    summary, plan = build(source, settings(tmp_path / "out", frames=12, drop_least=0.3))
    scores = sorted(one.motion for one in every.kept)
    assert len(scores) == 7
    assert plan.least_motion == scores[2]
    assert sorted(one.motion for one in summary.kept) == scores[2:]
    assert summary.reasons == {"least motion": 2}
    dataset = LabelledDataset.open(tmp_path / "out/train")
    assert min(motion_score(dataset.read(one.index).labels) for one in dataset.episodes) == scores[2]


def test_a_measure_of_motion_killed_with_fewer_episodes_counts_none_twice(tmp_path: Path, make_source, make_episode):
    frames = (4, 5, 8, 6, 7)  # the third moves least: twice among the scores, it would shift what 40 % of them are
    source = make_source({f"e{index}": make_episode(f"e{index}", frames=many) for index, many in enumerate(frames)})
    wanted = settings(tmp_path / "out", drop_least=0.4)
    where = (building, "least_motion", "before")
    process = multiprocessing.get_context("fork").Process(target=_build_until, args=(source, wanted, where, 3))
    process.start()
    process.join(200)
    assert process.exitcode == -signal.SIGKILL
    _, plan = build(source, wanted)
    assert plan == build(source, settings(tmp_path / "whole", drop_least=0.4))[1]


def test_other_settings_are_refused(built: Path, drawn_dataset: LeRobotSource, tmp_path: Path):
    out = Path(shutil.copytree(built, tmp_path / "out"))
    for change, said in (
        ({"frames": 3}, "was begun with frames 4 and 3 is wanted; build into another folder"),
        ({"quality": Quality(moves=0.5)}, "was begun with quality"),
        ({"validation": 0.1}, r"was begun with validation 0\.4 and 0\.1"),
    ):
        with pytest.raises(Refused, match=said):
            build(drawn_dataset, settings(out, **{"validation": 0.4} | change))
    shutil.rmtree(out / "train")
    with pytest.raises(Refused, match=r"lacks robot-\d+\.front\.000000, which was built into it"):
        build(drawn_dataset, settings(out, validation=0.4))


def test_what_cannot_be_built(tmp_path: Path, drawn_dataset: LeRobotSource, make_source, make_episode):
    write_tiny_dataset(tmp_path / "theirs/train", 1)
    (tmp_path / "file").write_text("")
    for source, told, said in (
        (drawn_dataset, settings(tmp_path / "theirs"), "is there and was not begun by this build"),
        (drawn_dataset, settings(tmp_path / "file"), "cannot be written"),
        (drawn_dataset, settings(tmp_path / "out", cameras=("wrist",)), "has no camera 'wrist'; its cameras are front"),
        (make_source({"a": None, "b": None}), settings(tmp_path / "b"), "none of the source's 2 episodes can be read"),
        (make_source({}), settings(tmp_path / "c"), "the source has no episode"),
        (make_source({"a-b": None, "a_b": None}), settings(tmp_path / "d"), "differ in '-' and '_' alone"),
    ):
        with pytest.raises(Refused, match=said):
            build(source, told)
    with pytest.raises(Refused, match="workers is 0"):
        build(drawn_dataset, settings(tmp_path / "out"), workers=0)
    with pytest.raises(Refused, match="episodes is 0"):
        build(drawn_dataset, settings(tmp_path / "out"), episodes=0)
    assert not (tmp_path / "out").exists()


def test_two_builds_do_not_meet(tmp_path: Path, drawn_dataset: LeRobotSource):
    from mask2iv_ros.export.lock import DatasetLock

    lock = DatasetLock(tmp_path / ".build.lock", tmp_path)
    with pytest.raises(Refused, match=r"is being written by process \d+; expected no other writer"):
        build(drawn_dataset, settings(tmp_path))
    lock.release()


def test_damaged_notes_are_refused(built: Path, tmp_path: Path, drawn_dataset: LeRobotSource):
    out = Path(shutil.copytree(built, tmp_path / "out"))
    next((out / ".build/done").glob("00000000-*.json")).write_text("{")
    with pytest.raises(Refused, match=r"00000000-\w+\.json cannot be read"):
        build(drawn_dataset, settings(out, validation=0.4))
    (out / ".build/plan.json").write_text(json.dumps({"plan": 3}))
    with pytest.raises(Refused, match=r"plan\.json cannot be read"):
        build(drawn_dataset, settings(out, validation=0.4))


def _build_until(
    source: LeRobotSource, wanted: BuildSettings, where: tuple[ModuleType, str, str], episodes: int | None = None
) -> None:
    """Build, and be killed the first time that a function is called."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    # A fork shares tqdm's lock with the test; killed while it holds it, it would take it along.
    tqdm.set_lock(threading.RLock())
    module, name, when = where
    true = getattr(module, name)

    def last(*arguments: object) -> None:
        if when == "after":
            true(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(module, name, last)
    build(source, wanted, episodes=episodes)
