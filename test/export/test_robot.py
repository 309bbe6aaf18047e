from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import DatasetWriter, ExportSettings, RobotColumns, read_provenance, shard
from mask2iv_ros.export.schema import features, require_same

SETTINGS = ExportSettings(state=("x", "y", "z"), action=("open",))


def robot(seed: int, frames: int = 8) -> RobotColumns:
    rng = np.random.default_rng(seed)
    values = [rng.standard_normal((frames, columns)).astype(np.float32) for columns in (3, 1)]
    values[0][0, 0], values[0][1, 0] = np.float32(1e-42), np.float32(-0.0)
    return RobotColumns(*values)


def write(root: Path, rollouts: list, robots: list[RobotColumns] | None, settings: ExportSettings = SETTINGS) -> Path:
    with shard.lerobot_contained(root.with_name(root.name + ".cache")):
        shard.write_shard(rollouts, root, settings, imagined=False, robots=robots)
    return root


def test_state_and_action_survive_to_the_bit(tmp_path: Path, make_rollout, load):
    robots = [robot(seed) for seed in range(3)]
    with DatasetWriter(tmp_path / "dataset", SETTINGS) as writer:
        for part, numbers in enumerate(([0, 1], [2])):
            rollouts = [make_rollout(number) for number in numbers]
            writer.adopt(write(tmp_path / f"part{part}", rollouts, [robots[number] for number in numbers]))
    dataset = load(tmp_path / "dataset")
    for number, told in enumerate(robots):
        for frame in range(8):
            item = dataset[8 * number + frame]
            assert item["observation.state"].numpy().tobytes() == told.state[frame].tobytes()
            assert item["action"].numpy().tobytes() == told.action[frame].tobytes()
    assert dataset.meta.features["observation.state"]["names"] == ["x", "y", "z"]
    assert len(LabelledDataset.open(tmp_path / "dataset").read(2).labels) == 8
    assert [one.id for one in read_provenance(tmp_path / "dataset", imagined_only=False)] == [
        "rollout-0",
        "rollout-1",
        "rollout-2",
    ]
    with pytest.raises(Refused, match="has the feature action"):
        DatasetWriter(tmp_path / "dataset")
    with pytest.raises(Refused, match="action has names"):
        DatasetWriter(tmp_path / "dataset", ExportSettings(state=("x", "y", "z"), action=("close",)))


def test_columns_that_are_not_the_settings_are_refused(tmp_path: Path, make_rollout):
    rollout = make_rollout(0)
    for robots, settings, said in (
        (None, SETTINGS, "an episode lacks action; expected the same of all"),
        ([RobotColumns(state=robot(0).state)], SETTINGS, "lacks action"),
        ([robot(0)], ExportSettings(state=("x", "y", "z")), "has action"),
        ([robot(0, 7)], SETTINGS, r"observation.state is float32 \(7, 3\); expected float32 \(8, 3\)"),
        ([RobotColumns(robot(0).state.astype(np.float64), robot(0).action)], SETTINGS, "float64"),
    ):
        with pytest.raises(Refused, match=said):
            write(tmp_path / "part", [rollout], robots, settings)
    assert not (tmp_path / "part").exists()


def test_the_features_are_those_that_policies_expect():
    told = features(SETTINGS, (48, 64))
    assert told["observation.state"] == {"dtype": "float32", "shape": (3,), "names": ["x", "y", "z"]}
    assert told["action"] == {"dtype": "float32", "shape": (1,), "names": ["open"]}
    told["observation.images.front"]["info"] = {"video.codec": "h264", "video.pix_fmt": "yuv444p"}
    info = {"codebase_version": "v3.0", "features": told}
    assert require_same(info, SETTINGS, "here") == (48, 64)
