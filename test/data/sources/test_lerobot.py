from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.data.sources.lerobot import LeRobotSource
from mask2iv_ros.data.tiny import tiny_clip
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import ExportSettings, RobotColumns, shard
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory

STATE, ACTION = ("x", "y", "z"), ("forward", "grip")


def robot(frames: int, seed: int) -> RobotColumns:
    rng = np.random.default_rng(seed)
    return RobotColumns(*(rng.standard_normal((frames, len(names))).astype(np.float32) for names in (STATE, ACTION)))


@pytest.fixture(scope="module")
def v3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three drawn episodes with states and actions, by LeRobot's own writer."""
    root = tmp_path_factory.mktemp("v3") / "dataset"
    clips = [tiny_clip(seed, frames=6) for seed in range(3)]
    rollouts = [
        Rollout(
            clip.id, Scene(clip.video[0], clip.labels[0]), Goal(clip.goal_mask, clip.instruction),
            Trajectory(clip.labels), clip.video, clip.fps, clip.seed, "",
        )
        for clip in clips
    ]  # fmt: skip
    with shard.lerobot_contained(root.with_name("cache")):
        settings = ExportSettings("front", STATE, ACTION)
        shard.write_shard(rollouts, root, settings, False, [robot(6, seed) for seed in range(3)])
    return root


@pytest.fixture(scope="module")
def v21(tmp_path_factory: pytest.TempPathFactory, v3: Path) -> Path:
    """The same in the layout of v2.1: a parquet file and a video an episode, metadata in JSON lines."""
    root = tmp_path_factory.mktemp("v21") / "dataset"
    info = json.loads((v3 / "meta/info.json").read_text())
    videos = [name for name, feature in info["features"].items() if feature["dtype"] == "video"]
    info |= {
        "codebase_version": "v2.1",
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "chunks_size": 2,
    }
    tasks = pd.read_parquet(v3 / "meta/tasks.parquet")
    (root / "meta").mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info))
    (root / "meta/tasks.jsonl").write_text(
        "".join(json.dumps({"task_index": int(row.task_index), "task": text}) + "\n" for text, row in tasks.iterrows())
    )
    lines = []
    for number in range(3):
        rows = pq.read_table(v3 / "data/chunk-000/file-000.parquet", filters=[("episode_index", "=", number)])
        data = root / f"data/chunk-{number // 2:03d}/episode_{number:06d}.parquet"
        data.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, data)
        for key in videos:
            video = root / f"videos/chunk-{number // 2:03d}/{key}/episode_{number:06d}.mp4"
            video.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(v3 / f"videos/{key}/chunk-000/file-{number:03d}.mp4", video)
        texts = [str(tasks.index[rows["task_index"][0].as_py()])]
        lines.append(json.dumps({"episode_index": number, "tasks": texts, "length": rows.num_rows}))
    (root / "meta/episodes.jsonl").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.parametrize("version", ["v3", "v21"])
def test_both_versions_give_the_same_to_the_bit(version: str, v3: Path, request: pytest.FixtureRequest):
    source = LeRobotSource.open(request.getfixturevalue(version))
    assert source.cameras() == ("front",), "label images and goal masks are no cameras"
    assert source.ids() == ["000000", "000001", "000002"]
    truth = LabelledDataset.open(v3)
    for number, name in enumerate(source.ids()):
        episode, expected = source.read(name, "front"), truth.read(number)
        np.testing.assert_array_equal(episode.frames, expected.video)
        np.testing.assert_array_equal(episode.labels, expected.labels)
        np.testing.assert_allclose(episode.times, np.arange(6) / 10, atol=1e-6)
        assert episode.task == truth.episodes[number].task
        assert episode.spans is None
        told = robot(6, number)
        assert episode.state.tobytes() == told.state.tobytes()
        assert episode.action.tobytes() == told.action.tobytes()
        assert (episode.state_names, episode.action_names) == (STATE, ACTION)


def test_tasks_that_change_within_an_episode_are_spans(v21: Path, tmp_path: Path):
    root = Path(shutil.copytree(v21, tmp_path / "dataset"))
    path = root / "data/chunk-000/episode_000000.parquet"
    table = pq.read_table(path)
    changed = table.set_column(
        table.schema.get_field_index("task_index"), "task_index", [[0, 0, 1, 1, 1, 1]]
    )  # frames 2 on: the other episodes' text
    pq.write_table(changed, path)
    texts = [json.loads(line)["task"] for line in (root / "meta/tasks.jsonl").read_text().splitlines()]
    spans = LeRobotSource.open(root).read("000000", "front").spans
    assert [tuple(span) for span in spans] == [(0, 2, texts[0]), (2, 6, texts[1])]


def test_names_of_columns_in_a_mapping_and_none_at_all(v21: Path, tmp_path: Path):
    root = Path(shutil.copytree(v21, tmp_path / "dataset"))
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["observation.state"]["names"] = {"motors": ["a", "b", "c"]}
    info["features"]["action"]["names"] = None
    (root / "meta/info.json").write_text(json.dumps(info))
    episode = LeRobotSource.open(root).read("000001", "front")
    assert episode.state_names == ("a", "b", "c")
    assert episode.action_names is None


def test_a_corrupt_episode_is_refused_and_the_others_are_not(v21: Path, tmp_path: Path):
    root = Path(shutil.copytree(v21, tmp_path / "dataset"))
    video = root / "videos/chunk-000/observation.images.front/episode_000000.mp4"
    video.write_bytes(video.read_bytes()[:200])
    (root / "data/chunk-000/episode_000001.parquet").write_bytes(b"PAR1")
    source = LeRobotSource.open(root)
    for name in ("000000", "000001"):
        with pytest.raises(Refused, match=rf"episode {name} of .*dataset cannot be read .*it is corrupt"):
            source.read(name, "front")
    assert len(source.read("000002", "front").frames) == 6
    with pytest.raises(Refused, match=r"has no camera 'wrist'; its cameras are front"):
        source.read("000002", "wrist")
    with pytest.raises(Refused, match=r"has no episode '7'; expected one such as '000000'"):
        source.read("7", "front")


def test_a_video_that_no_decoder_is_for_is_refused(v21: Path, tmp_path: Path):
    """PyAV would crash the process."""
    root = Path(shutil.copytree(v21, tmp_path / "dataset"))
    video = root / "videos/chunk-000/observation.images.front/episode_000000.mp4"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode())
    video.write_bytes(video.read_bytes().replace(b"mp4v", b"zzzz").replace(b"esds", b"free"))
    with pytest.raises(Refused, match=r"episode_000000\.mp4 has no video that can be decoded"):
        LeRobotSource.open(root).read("000000", "front")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"codebase_version": "v1.6"}, r"version v1\.6; accepted are v2\.0, v2\.1, v3\.0"),
        ({"features": {"action": {"dtype": "float32", "shape": [2], "names": None}}}, "has no camera"),
        ({"fps": "ten"}, "cannot be read .*expected a LeRobot dataset"),
    ],
)
def test_metadata_that_do_not_fit(v21: Path, tmp_path: Path, change: dict, said: str):
    root = Path(shutil.copytree(v21, tmp_path / "dataset"))
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps(info | change))
    with pytest.raises(Refused, match=said):
        LeRobotSource.open(root)


def test_neither_a_folder_nor_an_id_of_the_hub(tmp_path: Path):
    with pytest.raises(Refused, match="expected a folder, or an id of the hub as owner/name"):
        LeRobotSource.open(tmp_path / "nowhere")
    with pytest.raises(Refused, match=r"cannot be read .*info\.json"):
        LeRobotSource.open(tmp_path)


def test_a_dataset_of_the_hub_is_read_from_its_cache(v21: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    own = tmp_path / "datasets--lab--pushes"
    shutil.copytree(v21, own / "snapshots" / commit)
    (own / "refs").mkdir()
    (own / "refs/main").write_text(commit)
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    source = LeRobotSource.open("lab/pushes")
    assert source.files.revision == commit
    np.testing.assert_array_equal(
        source.read("000002", "front").frames, LeRobotSource.open(v21).read("000002", "front").frames
    )
    (own / "snapshots" / commit / "data/chunk-000/episode_000000.parquet").unlink()
    with pytest.raises(
        ConnectionError, match=r"data/chunk-000/episode_000000\.parquet of lab/pushes cannot be fetched"
    ):
        source.read("000000", "front")
    with pytest.raises(Refused, match="the hub did not give it"):
        LeRobotSource.open("lab/others")
