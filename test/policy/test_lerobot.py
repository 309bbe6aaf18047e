"""LeRobot's own commands with the plugin, in this process: their imports cost more than what they do here."""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from lerobot.datasets.dataset_reader import DatasetReader
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.scripts import lerobot_eval, lerobot_train
from lerobot.transforms import ImageTransforms, ImageTransformsConfig

from mask2iv_ros.policy.remembered import remember_frames

PLUGIN = "discover_packages_path=mask2iv_ros.policy"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root, handlers = logging.getLogger(), list(logging.getLogger().handlers)
    # A process has one precision for good, and other tests train in another one.
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    root.handlers[:] = handlers
    remember_frames(0)


def test_a_policy_is_trained_and_tried(shown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out, records = tmp_path / "train", tmp_path / "episodes.jsonl"
    training = f"""
        --policy.{PLUGIN} --policy.type=small_act --policy.push_to_hub=false --policy.device=cpu
        --policy.dim_model=16 --policy.dim_feedforward=16 --policy.channels=[8,8,8]
        --dataset.repo_id=x --dataset.root={shown} --output_dir={out} --steps=2 --batch_size=2 --num_workers=0
    """
    monkeypatch.setattr(sys, "argv", ["lerobot-train", *training.split()])
    lerobot_train.main()
    saved = out / "checkpoints/last/pretrained_model"
    assert json.loads((saved / "config.json").read_text())["input_features"].keys() == {
        "observation.images.front",
        "observation.goal_mask.front",
        "observation.state",
    }
    trying = f"""
        --policy.path={saved} --env.{PLUGIN} --env.type=mask2iv_metaworld --env.task=coffee-push
        --env.height=48 --env.width=64 --env.episode_length=6 --env.records={records}
        --eval.n_episodes=2 --eval.batch_size=1 --seed=5 --output_dir={tmp_path}
    """
    monkeypatch.setattr(sys, "argv", ["lerobot-eval", *trying.split()])
    lerobot_eval.main()
    told = json.loads((tmp_path / "eval_info.json").read_text())
    rows = [json.loads(line) for line in records.read_text().splitlines()]
    assert [row["seed"] for row in rows] == [5, 6]
    assert told["per_task"][0]["metrics"]["successes"] == [row["success"] for row in rows]
    assert len(list(tmp_path.glob("videos/*/*.mp4"))) == 2


def test_frames_are_remembered_as_lerobot_reads_them(shown: Path, monkeypatch: pytest.MonkeyPatch):
    deltas = {"action": [0, 1 / 16]}
    dataset = LeRobotDataset("x", root=shown, delta_timestamps=deltas, return_uint8=True)
    fresh = [dataset[idx] for idx in (3, 20)]
    remember_frames(1)
    for _ in range(2):
        for want, idx in zip(fresh, (3, 20), strict=True):
            item = dataset[idx]
            assert item.keys() == want.keys()
            for key, value in want.items():
                if key.startswith(("observation.labels", "observation.goal")):
                    torch.testing.assert_close(item[key] / 255, value)
                elif isinstance(value, torch.Tensor):
                    torch.testing.assert_close(item[key], value)
                else:
                    assert item[key] == value
    assert list(dataset.reader._mask2iv_kept) == [3]
    remember_frames(0)
    assert DatasetReader.get_item.__name__ == "get_item"
    torch.testing.assert_close(dataset[3]["observation.state"], fresh[0]["observation.state"])


def test_transforms_are_drawn_anew_and_leave_masks_as_they_are(shown: Path):
    remember_frames(10)
    config = ImageTransformsConfig(enable=True)
    del config.tfs["affine"]
    plain = LeRobotDataset("x", root=shown, return_uint8=True)[0]
    dataset = LeRobotDataset("x", root=shown, return_uint8=True, image_transforms=ImageTransforms(config))
    torch.manual_seed(0)
    seen = [dataset[0] for _ in range(3)]
    key = "observation.images.front"
    assert len({tuple(one[key].float().mean((1, 2)).tolist()) for one in seen}) == 3
    for one in seen:
        torch.testing.assert_close(one["observation.goal_mask.front"], plain["observation.goal_mask.front"])
