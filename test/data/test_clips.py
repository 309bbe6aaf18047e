import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from mask2iv_ros.data.clips import Clip, load_clips, read_clips, save_clips
from mask2iv_ros.errors import Refused


def clip(seed: int, task: str = "push", size: tuple[int, int] = (16, 24)) -> Clip:
    rng = np.random.default_rng(seed)
    return Clip(
        video=rng.integers(0, 256, (3, *size, 3), np.uint8),
        labels=rng.integers(0, 3, (3, *size), np.uint8),
        goal_mask=rng.random(size) < 0.5,
        task=task,
        seed=seed,
        instruction=f"{task} it",
        fps=12.5,
    )


def rewrite(path: Path, tensors: dict[str, np.ndarray] | None = None, about: object = None) -> None:
    """Replace some tensors of a file, or what it says about itself."""
    with safe_open(path, "np") as file:
        kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 not a dict
        said = json.loads(file.metadata()["clips"])
    for name, value in (tensors or {}).items():
        kept[name] = value
        if value is None:
            del kept[name]
    save_file(kept, path, metadata={"clips": json.dumps(said if about is None else about)})


def test_clips_come_back_as_they_were(tmp_path: Path):
    clips = [clip(3), clip(5)]
    save_clips(tmp_path / "push-train-000000.safetensors", clips)
    loaded = load_clips(tmp_path, "train")
    assert len(loaded) == 2
    for before, after in zip(clips, loaded, strict=True):
        for field in fields(Clip):
            one, other = getattr(before, field.name), getattr(after, field.name)
            assert type(one) is type(other)
            np.testing.assert_array_equal(one, other)
            if isinstance(one, np.ndarray):
                assert one.dtype == other.dtype
    assert [path.name for path in tmp_path.iterdir()] == ["push-train-000000.safetensors"]


def test_a_split_is_loaded_alone_task_by_task_and_seed_by_seed(tmp_path: Path):
    for name, seeds in (
        ("push-train-000020", [20, 21]),
        ("push-train-000000", [0, 1]),
        ("plate-slide-train-000000", [0, 1, 2]),
        ("push-test-000000", [9]),
    ):
        task = name.rsplit("-", 2)[0]
        save_clips(tmp_path / f"{name}.safetensors", [clip(seed, task) for seed in seeds])
    found = [(one.task, one.seed) for one in load_clips(tmp_path, "train")]
    assert found == [("plate-slide", 0), ("plate-slide", 1), ("plate-slide", 2)] + [("push", n) for n in (0, 1, 20, 21)]
    limited = [(one.task, one.seed) for one in load_clips(tmp_path, "train", limit_per_task=3)]
    assert limited == [
        ("plate-slide", 0),
        ("plate-slide", 1),
        ("plate-slide", 2),
        ("push", 0),
        ("push", 1),
        ("push", 20),
    ]
    with pytest.raises(Refused, match=r"no validation clips.*mask2iv data"):
        load_clips(tmp_path, "validation")


@pytest.mark.parametrize(
    "clips", [[], [clip(0), clip(1, "other")], [clip(0), clip(1, size=(8, 8))], [clip(0), replace(clip(1), fps=3.0)]]
)
def test_clips_of_several_kinds_do_not_go_into_one_file(tmp_path: Path, clips: list[Clip]):
    with pytest.raises(Refused, match="expected one task, fps, length and size"):
        save_clips(tmp_path / "push-train-000000.safetensors", clips)
    assert not list(tmp_path.iterdir())


def test_files_of_different_sizes_are_not_loaded_together(tmp_path: Path):
    save_clips(tmp_path / "a-train-000000.safetensors", [clip(0)])
    save_clips(tmp_path / "b-train-000000.safetensors", [clip(0, size=(8, 8))])
    with pytest.raises(Refused, match=r"b-train-000000.*\(3, 8, 8\).*expected \(3, 16, 24\)"):
        load_clips(tmp_path, "train")


@pytest.mark.parametrize("size", [0, 7, 200, -1])
def test_a_torn_file_is_refused(tmp_path: Path, size: int):
    path = tmp_path / "push-train-000000.safetensors"
    save_clips(path, [clip(0)])
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(Refused, match=r"push-train-000000.* is not a file of clips"):
        load_clips(tmp_path, "train")


@pytest.mark.parametrize(
    ("tensors", "about"),
    [
        ({"labels": None}, None),
        ({"labels": np.zeros((1, 2, 16, 24), np.uint8)}, None),
        ({"labels": np.full((1, 3, 16, 24), 7, np.uint8)}, None),
        ({"video": np.zeros((1, 3, 16, 24, 3), np.float32)}, None),
        ({"video": np.zeros((1, 3, 16, 24), np.uint8)}, None),
        ({"goal_mask": np.zeros((1, 8, 24), np.uint8)}, None),
        ({"seed": np.zeros(2, np.int64)}, None),
        ({name: np.zeros((0, 3, 16, 24, 3), np.uint8) for name in ("video",)}, None),
        ({}, ["a list"]),
        ({}, {"task": "push"}),
        ({}, {"task": "push", "instruction": "", "fps": "quick"}),
    ],
)
def test_a_foreign_file_is_refused(tmp_path: Path, tensors: dict, about: object):
    path = tmp_path / "push-train-000000.safetensors"
    save_clips(path, [clip(0)])
    rewrite(path, tensors, about)
    with pytest.raises(Refused, match=r"push-train-000000.* is not a file of clips"):
        read_clips(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(Refused, match=r"none\.safetensors is not a file of clips"):
        read_clips(tmp_path / "none.safetensors")
