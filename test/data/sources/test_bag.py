from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.data.building.build import build
from mask2iv_ros.data.building.prompts import told_prompts
from mask2iv_ros.data.building.quality import Quality
from mask2iv_ros.data.building.settings import BuildSettings
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.data.sources import bag_pictures
from mask2iv_ros.data.sources.bag import BagSource
from mask2iv_ros.data.sources.bag_topics import BagTopics
from mask2iv_ros.errors import Refused

START, MS = 1_700_000_000 * 10**9, 10**6
CAMERA, JOINTS, COMMAND, LABELS = "/camera/image_raw", "/joint_states", "/command", "/labels"
IMAGE, JOINT_STATE, ARRAY = "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState", "std_msgs/msg/Float64MultiArray"
EASY = Quality(consistency=0, swap=0, moves=0, camera=1)


def read(path: Path, **topics: object):
    source = BagSource.open(path, BagTopics(**topics))
    return source.read(source.ids()[0], source.cameras()[0])


@pytest.mark.parametrize("mode", ["file", "message", "storage"])
def test_compressed_bags(tmp_path: Path, bags, mode: str):
    video, _, state, action = bags.scene(4)
    bags.write(tmp_path / "a", bags.demonstration(video, None, state, action), "mcap", mode)
    assert not any(one.suffix == ".mcap" for one in (tmp_path / "a").iterdir()) or mode != "file"
    found = read(tmp_path / "a")
    np.testing.assert_array_equal(found.frames, video)
    assert found.action.tobytes() == action.tobytes()


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_comes_back_to_the_bit(tmp_path: Path, bags, storage: str):
    video, labels, state, action = bags.scene()
    bags.write(tmp_path / "demo-1", bags.demonstration(video, labels, state, action), storage)
    source = pickle.loads(pickle.dumps(BagSource.open(tmp_path, BagTopics((CAMERA,), labels=LABELS))))
    assert (source.ids(), source.cameras()) == (["demo-1"], ("camera.image_raw",))
    assert (source.topics.state, source.topics.action) == (JOINTS, COMMAND)
    found = source.read("demo-1", "camera.image_raw")
    np.testing.assert_array_equal(found.frames, video)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(found.times, np.arange(10) / 10, atol=1e-9)
    assert found.state.tobytes() == state.tobytes()
    assert found.action.tobytes() == action.tobytes()
    assert found.state_names == ("joint_0", "joint_1", "joint_2")
    assert (found.action_names, found.spans, found.missing) == (None, None, ())
    told = source.describe()
    assert told[0] == f"cameras: {CAMERA}; state: {JOINTS}; action: {COMMAND}; labels: {LABELS}"
    assert told[1].startswith(f"demo-1: times of {CAMERA}, {JOINTS} are their headers', of {COMMAND} those of recep")


def test_demonstrations_as_bags_build_the_dataset_that_they_came_from(tmp_path: Path, bags):
    """States and actions exactly, alignment right, labels of a topic."""
    scenes = [bags.scene(8, seed) for seed in range(3)]
    for number, (video, labels, state, action) in enumerate(scenes):
        bags.write(tmp_path / f"bags/demo_{number}", bags.demonstration(video, labels, state, action))
    (tmp_path / "bags/demo_1/demo_1.mcap").write_bytes((tmp_path / "bags/demo_1/demo_1.mcap").read_bytes()[:5000])
    source = BagSource.open(tmp_path / "bags", BagTopics((CAMERA,), labels=LABELS))
    settings = BuildSettings(
        tmp_path / "out", "bag", source.cameras(), frames=8, fps=10, quality=EASY, task="push", source="bags"
    )
    summary, plan = build(source, settings)
    assert (plan.state, plan.action) == (("joint_0", "joint_1", "joint_2"), ("action_0", "action_1"))
    assert [one.id for one in summary.kept] == [f"bag-demo_{number}.camera.image_raw.000000" for number in (0, 2)]
    assert [(one.id, one.kind) for one in summary.left] == [("bag-demo_1.camera.image_raw", "cannot be read")]
    built = LabelledDataset.open(tmp_path / "out/train")
    for episode, number in enumerate((0, 2)):
        video, labels, state, action = scenes[number]
        found, robot = built.read(episode), built.robot(episode)
        assert robot.state.tobytes() == state.tobytes()
        assert robot.action.tobytes() == action.tobytes()
        np.testing.assert_array_equal(found.labels, labels)
        assert np.abs(found.video.astype(int) - video).mean() < 3
        # A frame off by one differs by more than the video's coding.
        assert np.abs(found.video[1:].astype(int) - video[:-1]).mean() > np.abs(found.video.astype(int) - video).mean()


def test_labels_by_prompts(tmp_path: Path, bags):
    video, labels, state, action = bags.scene(8)
    bags.write(tmp_path / "demo", bags.demonstration(video, None, state, action))
    source = BagSource.open(tmp_path / "demo")
    prompts = told_prompts(["0,18,10,12"], ["10,16,12,16"])
    settings = BuildSettings(
        tmp_path / "out", "bag", source.cameras(), "prompts", prompts, frames=8, fps=10, quality=EASY, source="demo"
    )
    summary, _ = build(source, settings)
    assert len(summary.kept) == 1, summary.left
    found = LabelledDataset.open(tmp_path / "out/train").read(0).labels
    for role in (1, 2):
        assert ((found == role) & (labels == role)).sum() / ((found == role) | (labels == role)).sum() > 0.7


@pytest.mark.parametrize(
    ("encoding", "order", "padding"),
    [("rgb8", "rgb", 5), ("bgr8", "bgr", 0), ("rgba8", "rgba", 3), ("bgra8", "bgra", 0)],
)
def test_encodings(tmp_path: Path, bags, encoding: str, order: str, padding: int):
    rgba = np.random.default_rng(0).integers(0, 256, (12, 10, 4), np.uint8)
    sent = bags.image(rgba[..., ["rgba".index(one) for one in order]], START, encoding, padding)
    bags.write(tmp_path / "a", [(CAMERA, IMAGE, START, sent)])
    np.testing.assert_array_equal(read(tmp_path / "a").frames[0], rgba[..., :3])


def test_grey_and_compressed_images(tmp_path: Path, bags):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
    bags.write(tmp_path / "grey", [(CAMERA, IMAGE, START, bags.image(pixels[..., 0], START, "mono8", 6))])
    np.testing.assert_array_equal(read(tmp_path / "grey").frames[0], pixels[..., [0, 0, 0]])
    kind = "sensor_msgs/msg/CompressedImage"
    bags.write(tmp_path / "png", [(CAMERA, kind, START, bags.compressed(pixels, START))])
    np.testing.assert_array_equal(read(tmp_path / "png").frames[0], pixels)
    smooth = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    bags.write(tmp_path / "jpg", [(CAMERA, kind, START, bags.compressed(smooth, START, "jpg"))])
    assert np.abs(read(tmp_path / "jpg").frames[0].astype(int) - smooth).max() < 5


def test_only_frames_with_label_images_are_taken(tmp_path: Path, bags):
    video, labels, state, action = bags.scene(10)
    told = bags.demonstration(video, labels, state, action)
    slow = [one for one in told if one[0] != LABELS] + [one for one in told if one[0] == LABELS][::2]
    bags.write(tmp_path / "slow", slow)
    found = read(tmp_path / "slow", cameras=(CAMERA,), labels=LABELS)
    np.testing.assert_array_equal(found.labels, labels[::2])
    np.testing.assert_array_equal(found.frames, video[::2])
    assert found.action.tobytes() == action[::2].tobytes()
    half = read(tmp_path / "slow", cameras=(CAMERA,), labels=LABELS, height=24)
    assert half.frames.shape == (5, 24, 32, 3)
    assert half.labels.shape == (5, 24, 32)
    assert np.unique(half.labels).tolist() == [0, 1, 2]


def test_texts_are_tasks(tmp_path: Path, bags):
    kind = "std_msgs/msg/String"
    texts = [
        ("/task", kind, START + t * MS, bags.new(kind, data=said)) for t, said in ((150, "push"), (350, "pull\n it"))
    ]
    bags.write(tmp_path / "a", bags.in_time(bags.frames_at([0, 100, 200, 300, 400, 500]), texts))
    found = read(tmp_path / "a", task="/task")
    assert found.spans == ((0, 4, "push"), (4, 6, "pull it"))
    assert found.task == "push"


def test_topics_are_chosen_or_asked_for(tmp_path: Path, bags):
    video, labels, state, action = bags.scene(2)
    told = bags.demonstration(video, labels, state, action)
    told.append(("/other", JOINT_STATE, START, bags.joints("z", [1], START)))
    bags.write(tmp_path / "a", told)
    several = f"has 2 topics that may be the camera: {CAMERA} ({IMAGE}), {LABELS} ({IMAGE}); expected --camera with one"
    unknown = (
        f"has no topic '/nothing'; its topics are {CAMERA} ({IMAGE}), {COMMAND} ({ARRAY}), {JOINTS} ({JOINT_STATE})"
    )
    for topics, words in (
        ({}, several),
        ({"labels": LABELS}, f"has 2 topics that may be the state: {JOINTS} ({JOINT_STATE}), /other ({JOINT_STATE})"),
        ({"cameras": ("/nothing",)}, unknown),
        ({"cameras": (CAMERA,), "state": "/nothing"}, unknown),
        ({"cameras": (JOINTS,)}, f"topic {JOINTS} is of type {JOINT_STATE}; expected one of {IMAGE}"),
        (
            {"cameras": (CAMERA,), "state": "none", "action": CAMERA},
            f"topic {CAMERA} is of type {IMAGE}; expected one of {JOINT_STATE}",
        ),
        ({"cameras": (CAMERA, LABELS), "labels": LABELS}, "labels are of one camera"),
        ({"state": JOINTS, "action": JOINTS}, f"state and action are both {JOINTS}"),
        ({"height": 3}, "height is 3; expected 16 to 8192 pixels"),
        ({"stale": float("nan")}, "stale is nan; expected more than 0"),
    ):
        with pytest.raises(Refused) as refusal:
            read(tmp_path / "a", **topics)
        assert words in str(refusal.value)
    found = read(tmp_path / "a", cameras=(CAMERA,), state="/other", action=JOINTS)
    assert (found.state_names, found.action_names) == (("z",), ("joint_0", "joint_1", "joint_2"))


def test_memory_is_asked_for_before_it_is_taken(tmp_path: Path, bags, monkeypatch: pytest.MonkeyPatch):
    bags.write(tmp_path / "a", bags.frames_at(list(range(0, 2000, 100))))
    monkeypatch.setattr(bag_pictures, "_MOST_BYTES", 20 * 16 * 16 * 3 - 1)
    with pytest.raises(Refused, match=r"has 20 frames of 16 x 16 pixels, more than 0 GiB.*or a --height"):
        read(tmp_path / "a")
