import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mask2iv_ros.data.labelled import EpisodeInfo, LabelledDataset
from mask2iv_ros.data.tiny import tiny_clip, write_tiny_dataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import ExportSettings
from mask2iv_ros.export.schema import features, frame_from_labels


@pytest.fixture
def root(tmp_path: Path, tiny_root: Path) -> Path:
    return Path(shutil.copytree(tiny_root, tmp_path / "dataset"))


def edit_info(root: Path, change: Callable[[dict], object]) -> None:
    path = root / "meta/info.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2))


def test_episodes_come_back_whole(tiny_root: Path):
    dataset = LabelledDataset.open(tiny_root)
    assert (dataset.root, dataset.camera, dataset.fps, dataset.size) == (tiny_root, "front", 10, (32, 48))
    assert [(one.index, one.frames, one.task) for one in dataset.episodes] == [
        (seed, 4, f"push the square a little to the {'left' if seed % 2 else 'right'}") for seed in range(4)
    ]
    for info in dataset.episodes:
        clip, found = tiny_clip(info.index), dataset.read(info.index)
        assert psnr(found.video, clip.video) > 38
        np.testing.assert_array_equal(found.labels, clip.labels)
        np.testing.assert_array_equal(found.goal_mask, clip.goal_mask)
        assert (found.video.dtype, found.labels.dtype, found.goal_mask.dtype) == (np.uint8, np.uint8, bool)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset as others record it: two cameras, one without labels; episodes share a video file; no goal mask."""
    from lerobot.configs import RGBEncoderConfig
    from lerobot.datasets import LeRobotDataset

    root = tmp_path_factory.mktemp("foreign") / "dataset"
    own = features(ExportSettings("wrist"), (32, 48))
    kinds = {name: own[name] for name in ("observation.images.wrist", "observation.labels.wrist")}
    kinds["observation.images.top"] = {"dtype": "image", "shape": (16, 16, 3), "names": ["height", "width", "channels"]}
    kinds["observation.state"] = {"dtype": "float32", "shape": (2,), "names": ["x", "y"]}
    dataset = LeRobotDataset.create(
        "someone/else", fps=10, features=kinds, root=root, rgb_encoder=RGBEncoderConfig(vcodec="h264", crf=10)
    )
    for seed, frames in ((0, 7), (1, 2), (2, 5)):
        clip = tiny_clip(seed, frames=frames)
        for image, labels in zip(clip.video, clip.labels, strict=True):
            dataset.add_frame(
                {
                    "observation.images.wrist": image,
                    "observation.labels.wrist": frame_from_labels(labels),
                    "observation.images.top": image[:16, :16],
                    "observation.state": np.zeros(2, np.float32),
                    "task": f"task {seed}",
                }
            )
        dataset.save_episode()
    dataset.finalize()
    return root


def test_a_dataset_of_others_is_read(foreign: Path):
    assert len(list(foreign.rglob("*.mp4"))) == 1
    dataset = LabelledDataset.open(foreign)
    assert [(one.frames, one.task) for one in dataset.episodes] == [(7, "task 0"), (2, "task 1"), (5, "task 2")]
    for info in dataset.episodes:
        clip, found = tiny_clip(info.index, frames=info.frames), dataset.read(info.index)
        assert found.goal_mask is None
        np.testing.assert_array_equal(found.labels, clip.labels)
        # Chroma is halved here; a frame taken for its neighbour would be far worse.
        assert psnr(found.video, clip.video) > 24


def test_frames_kept_as_images_are_read(tmp_path: Path):
    from lerobot.datasets import LeRobotDataset

    kinds = {
        name: kind | {"dtype": "image"}
        for name, kind in features(ExportSettings(), (32, 48)).items()
        if "front" in name
    }
    clip = tiny_clip(3)
    dataset = LeRobotDataset.create("a/b", fps=10, features=kinds, root=tmp_path / "images", use_videos=False)
    for image, labels in zip(clip.video, clip.labels, strict=True):
        frame = dict.fromkeys(kinds, frame_from_labels(labels)) | {"observation.images.front": image, "task": "t"}
        dataset.add_frame(frame)
    dataset.save_episode()
    dataset.finalize()
    np.testing.assert_array_equal(LabelledDataset.open(tmp_path / "images").read(0).video, clip.video)


def test_the_digest_changes_with_what_it_is_of(root: Path, tmp_path: Path):
    def digests(folder: Path) -> list[str]:
        return [one.digest for one in LabelledDataset.open(folder).episodes]

    before = digests(root)
    assert len(set(before)) == 4
    assert digests(root) == before
    changed = sorted(root.rglob("*.mp4"))[2]
    changed.write_bytes(changed.read_bytes())
    assert [one == other for one, other in zip(before, digests(root), strict=True)] == [True, True, False, True]
    (path,) = (root / "data").rglob("*.parquet")
    table = pq.read_table(path)
    column = table.schema.get_field_index("observation.labels.front")
    cells = table.column(column).to_pylist()
    cells[0] = cells[3]
    field = table.schema.field(column)
    pq.write_table(table.set_column(column, field, [[*cells]]), path)
    assert digests(root)[0] != before[0]
    assert digests(root)[1] == before[1]


def test_what_is_no_labelled_dataset_is_refused(root: Path, tmp_path: Path):
    with pytest.raises(Refused, match=r"absent cannot be read .*expected a LeRobot v3 dataset"):
        LabelledDataset.open(tmp_path / "absent")
    with pytest.raises(Refused, match="no labels of a camera 'side'; its cameras with labels are front"):
        LabelledDataset.open(root, "side")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda info: info.update(codebase_version="v2.1"), r"of version v2\.1; expected v3\.0"),
        (lambda info: info.pop("codebase_version"), "expected a LeRobot v3 dataset"),
        (lambda info: info.update(features=[]), "expected a LeRobot v3 dataset"),
        (
            lambda info: info["features"].pop("observation.labels.front"),
            r"no label images; expected .*labels\.<camera>",
        ),
        (lambda info: info["features"]["observation.labels.front"].update(dtype="video"), "no label images"),
        (lambda info: info["features"].pop("observation.images.front"), r"no observation\.images\.front"),
        (
            lambda info: info["features"]["observation.labels.front"].update(shape=[16, 48, 3]),
            r"\(32, 48, 3\).*\(16, 48, 3\)",
        ),
        (
            lambda info: info["features"].update(
                {"observation.labels.side": info["features"]["observation.labels.front"]}
            ),
            "labels of the cameras front, side; expected one of them to be chosen",
        ),
        (lambda info: info.update(total_episodes=5), "counts 5 episodes and holds 4; it is incomplete"),
        (lambda info: info.update(total_episodes=0), "0 episodes of one frame|0 episodes"),
    ],
)
def test_a_dataset_that_lacks_something_is_refused(root: Path, change: Callable, said: str):
    edit_info(root, change)
    with pytest.raises(Refused, match=said):
        LabelledDataset.open(root)


def test_videos_of_one_frame_are_refused(tmp_path: Path):
    from lerobot.datasets import LeRobotDataset

    kinds = {
        name: kind | {"dtype": "image"}
        for name, kind in features(ExportSettings(), (32, 48)).items()
        if "front" in name
    }
    dataset = LeRobotDataset.create("a/b", fps=10, features=kinds, root=tmp_path / "stills", use_videos=False)
    for _ in range(2):
        dataset.add_frame(dict.fromkeys(kinds, np.zeros((32, 48, 3), np.uint8)) | {"task": "t"})
        dataset.save_episode()
    dataset.finalize()
    with pytest.raises(Refused, match="2 episodes of one frame; expected videos of at least 2 frames"):
        LabelledDataset.open(tmp_path / "stills")


@pytest.mark.parametrize("kept", [0, 100, -50])
def test_a_torn_data_file_is_refused(root: Path, kept: int):
    (path,) = (root / "data").rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(Refused, match="expected a LeRobot v3 dataset"):
        LabelledDataset.open(root)


@pytest.mark.parametrize("kept", [0, 100, 0.7])
def test_a_torn_video_is_refused(root: Path, kept: float):
    path = sorted(root.rglob("*.mp4"))[1]
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept < 1 else int(kept)])
    dataset = LabelledDataset.open(root)
    dataset.read(0)
    with pytest.raises(Refused, match=r"episode 1 of .* cannot be read .*it is corrupt"):
        dataset.read(1)


def test_labels_that_are_no_labels_are_refused(tmp_path: Path):
    from lerobot.datasets import LeRobotDataset

    kinds = {
        name: kind | {"dtype": "image"}
        for name, kind in features(ExportSettings(), (32, 48)).items()
        if "front" in name
    }
    dataset = LeRobotDataset.create("a/b", fps=10, features=kinds, root=tmp_path / "grey", use_videos=False)
    for _ in range(2):
        dataset.add_frame(dict.fromkeys(kinds, np.full((32, 48, 3), 90, np.uint8)) | {"task": "t"})
    dataset.save_episode()
    dataset.finalize()
    with pytest.raises(Refused, match=r"episode 0 of .*label frame has a colour that stands for no role"):
        LabelledDataset.open(tmp_path / "grey").read(0)


def test_an_episode_that_is_not_there_is_refused(tiny_root: Path):
    with pytest.raises(Refused, match="has no episode 4; expected 0 to 3"):
        LabelledDataset.open(tiny_root).read(4)


def test_what_is_known_is_plain(tmp_path: Path):
    root = write_tiny_dataset(tmp_path / "one", clips=1, frames=2)
    (info,) = LabelledDataset.open(root).episodes
    assert info == EpisodeInfo(0, 2, "push the square a little to the right", info.digest)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["a", "b"], ("a", "b")),
        ({"motors": ["a", "b"]}, ("a", "b")),
        ({"a": 0, "b": 1}, ("a", "b")),
        (None, ("action_0", "action_1")),
        (7, ("action_0", "action_1")),
    ],
)
def test_columns_are_named_as_any_recorder_of_lerobot_names_them(root: Path, names, found: tuple[str, ...]):
    feature = {"dtype": "float32", "shape": [2], "names": names}
    edit_info(root, lambda info: info["features"].update(action=feature))
    assert LabelledDataset.open(root).settings.action == found


@pytest.mark.parametrize("shape", [[2, 7], [], ["2"], [0], 2, None])
def test_an_action_that_is_no_vector_is_refused(root: Path, shape):
    feature = {"dtype": "float32", "shape": shape, "names": None}
    edit_info(root, lambda info: info["features"].update(action=feature))
    dataset = LabelledDataset.open(root)
    with pytest.raises(Refused, match=r"action of .* has the shape"):
        _ = dataset.settings
