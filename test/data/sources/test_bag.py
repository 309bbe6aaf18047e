from __future__ import annotations

import pickle
import shutil
import sqlite3
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.data.building.build import build
from mask2iv_ros.data.building.clips import clips_of
from mask2iv_ros.data.building.plan import Plan
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


def scene(frames: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A dark arm that pushes an orange square to the right in 48 x 64, with states and actions."""
    rng = np.random.default_rng(seed)
    video = np.broadcast_to(rng.integers(120, 200, (48, 64, 3), np.uint8), (frames, 48, 64, 3)).copy()
    labels = np.zeros((frames, 48, 64), np.uint8)
    for frame in range(frames):
        tip = 10 + 3 * frame
        video[frame, 18:30, :tip], labels[frame, 18:30, :tip] = (20, 20, 60), 1
        video[frame, 16:32, tip : tip + 12], labels[frame, 16:32, tip : tip + 12] = (240, 120, 20), 2
    state, action = (rng.standard_normal((frames, columns)).astype(np.float32) for columns in (3, 2))
    return video, labels, state, action


def read(path: Path, **topics: object):
    source = BagSource.open(path, BagTopics(**topics))
    return source.read(source.ids()[0], source.cameras()[0])


def frames_at(bags, times: list[int], stamped: bool = True) -> list[tuple]:
    """Grey images that are as bright as their number."""
    pixels = [np.full((16, 16, 3), number, np.uint8) for number in range(len(times))]
    stamps = [START + time * MS if stamped else 0 for time in times]
    return [
        (CAMERA, IMAGE, START + time * MS, bags.image(one, stamp))
        for time, one, stamp in zip(times, pixels, stamps, strict=True)
    ]


def joints_at(bags, times: list[int], names: str = "ab") -> list[tuple]:
    """Joint states that tell their time in ms."""
    return [
        (JOINTS, JOINT_STATE, START + time * MS, bags.joints(names, [time] * len(names), START + time * MS))
        for time in times
    ]


def commands_at(bags, times: list[int]) -> list[tuple]:
    return [(COMMAND, ARRAY, START + time * MS, bags.array([time])) for time in times]


def in_time(*topics: list[tuple]) -> list[tuple]:
    return sorted((one for topic in topics for one in topic), key=lambda one: one[2])


@pytest.mark.parametrize("mode", ["file", "message", "storage"])
def test_compressed_bags(tmp_path: Path, bags, mode: str):
    video, _, state, action = scene(4)
    bags.write(tmp_path / "a", bags.demonstration(video, None, state, action), "mcap", mode)
    assert not any(one.suffix == ".mcap" for one in (tmp_path / "a").iterdir()) or mode != "file"
    found = read(tmp_path / "a")
    np.testing.assert_array_equal(found.frames, video)
    assert found.action.tobytes() == action.tobytes()


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_comes_back_to_the_bit(tmp_path: Path, bags, storage: str):
    video, labels, state, action = scene()
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
    scenes = [scene(8, seed) for seed in range(3)]
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
    video, labels, state, action = scene(8)
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


def test_states_are_the_latest_and_commands_the_first_upon_a_frame(tmp_path: Path, bags):
    frames, joints = frames_at(bags, [0, 100, 200, 300]), joints_at(bags, [0, 60, 100, 199, 201, 290, 310])
    # 100 has a command at its own time, 200 none before the next frame: what was commanded before holds.
    bags.write(tmp_path / "a", in_time(frames, joints, commands_at(bags, [5, 40, 100, 130, 340])))
    found = read(tmp_path / "a")
    assert found.state[:, 0].tolist() == [0, 100, 199, 290]
    assert found.action[:, 0].tolist() == [5, 100, 130, 340]


def test_joints_are_found_by_name(tmp_path: Path, bags):
    """Two publishers, each of some joints, in orders that change; the first bag's order holds for all."""
    times = [0, 100, 200, 300]

    def joints(names: str, late: int = 0) -> list[tuple]:
        return [
            (JOINTS, JOINT_STATE, START + t * MS, bags.joints(names, [ord(one) + t for one in names], START + t * MS))
            for t in (time + late for time in times)
        ]

    both = in_time(frames_at(bags, [20, 120, 220, 320]), joints("ba")[::2], joints("ab")[1::2], joints("c", 10))
    bags.write(tmp_path / "bags/1", both)
    bags.write(tmp_path / "bags/2", in_time(frames_at(bags, times), joints("cab")))
    source = BagSource.open(tmp_path / "bags")
    first, second = (source.read(id_, "camera.image_raw") for id_ in source.ids())
    assert first.state_names == second.state_names == ("b", "a", "c")
    assert (first.state - [[ord(one) for one in "bac"]]).tolist() == [[t, t, t + 10] for t in times]
    assert (second.state - [[ord(one) for one in "bac"]]).tolist() == [[t] * 3 for t in times]


def test_a_joint_that_vanishes_splits_the_episode_and_is_named(tmp_path: Path, bags):
    frames = frames_at(bags, list(range(0, 3000, 100)))
    joints = [*joints_at(bags, list(range(0, 3000, 50)), "a"), *joints_at(bags, list(range(0, 1000, 50)), "b")]
    joints += joints_at(bags, list(range(2000, 3000, 50)), "b")
    bags.write(tmp_path / "a", in_time(frames, joints))
    found = read(tmp_path / "a")
    # The last b before the hole is of 950 ms and holds for 0.5 s.
    assert [(span.start, span.stop) for span in found.spans] == [(0, 15), (15, 25)]
    assert found.frames[14:16, 0, 0, 0].tolist() == [14, 20]
    ((frame, words),) = found.missing
    assert (frame, words) == (
        15,
        f"{JOINTS} does not tell b at frames 15 to 19, from 1.50 s on; expected messages at most 0.5 s old, and "
        "frames no later than the last of them",
    )
    assert [len(read(tmp_path / "a", stale=stale).frames) for stale in (0.2, 2.0)] == [22, 30]
    source = BagSource.open(tmp_path / "a")
    settings = BuildSettings(tmp_path / "out", "bag", source.cameras(), frames=4, fps=10, source="a")
    left = list(clips_of(source, "a", "camera.image_raw", settings, Plan.make(source, settings), None))
    assert [(one.id, one.drop.kind) for one in left] == [
        ("bag-a.camera.image_raw.000015", "state or command missing"),
        ("bag-a.camera.image_raw.000000", "no masks"),
        ("bag-a.camera.image_raw.000015", "no masks"),
    ]
    assert left[0].drop.words == words


def test_nothing_is_told_before_the_first_or_after_the_last_message(tmp_path: Path, bags):
    frames = frames_at(bags, list(range(0, 2000, 100)))
    bags.write(tmp_path / "a", in_time(frames, joints_at(bags, list(range(250, 1000, 50)))))
    found = read(tmp_path / "a")
    # The last is of 950 ms; the next would have been due at 1000 and is overdue at 1025.
    assert found.frames[:, 0, 0, 0].tolist() == list(range(3, 11))
    assert found.times[0] == 0
    assert [one.frame for one in found.missing] == [11], "as many frames as a topic takes to begin are no news"


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


def test_commands_of_other_types(tmp_path: Path, bags):
    vector, new = (
        (lambda *values: bags.new("geometry_msgs/msg/Vector3", **dict(zip("xyz", values, strict=True)))),
        bags.new,
    )
    twist = new("geometry_msgs/msg/Twist", linear=vector(1, 2, 3), angular=vector(4, 5, 6))
    pose = new(
        "geometry_msgs/msg/Pose",
        position=new("geometry_msgs/msg/Point", x=1.0, y=2.0, z=3.0),
        orientation=new("geometry_msgs/msg/Quaternion", x=0.5, y=0.5, z=0.5, w=-0.5),
    )
    none, late = np.zeros(0), new("builtin_interfaces/msg/Duration", sec=1, nanosec=0)
    point = new(
        "trajectory_msgs/msg/JointTrajectoryPoint",
        positions=np.array([7.0, 8.0]), velocities=none, accelerations=none, effort=none, time_from_start=late,
    )  # fmt: skip
    trajectory = {"joint_names": ["p", "q"], "points": [point, replace(point, positions=np.array([9.0, 9.0]))]}
    axes = tuple(f"{part}.{axis}" for part in ("linear", "angular") for axis in "xyz")
    cases = [
        ("geometry_msgs/msg/Twist", twist, axes, [1, 2, 3, 4, 5, 6]),
        ("geometry_msgs/msg/TwistStamped", {"twist": twist}, axes, [1, 2, 3, 4, 5, 6]),
        ("geometry_msgs/msg/Pose", pose, ("x", "y", "z", "qx", "qy", "qz", "qw"), [1, 2, 3, 0.5, 0.5, 0.5, -0.5]),
        ("geometry_msgs/msg/PoseStamped", {"pose": pose}, None, [1, 2, 3, 0.5, 0.5, 0.5, -0.5]),
        ("trajectory_msgs/msg/JointTrajectory", trajectory, ("p", "q"), [7, 8]),
        ("std_msgs/msg/Float32MultiArray", bags.array([0.1, 2], "uv", 32), ("u", "v"), np.float32([0.1, 2]).tolist()),
    ]
    for number, (kind, told, names, values) in enumerate(cases):
        message = new(kind, header=bags.header(START), **told) if isinstance(told, dict) else told
        bags.write(tmp_path / str(number), [*frames_at(bags, [0]), ("/command", kind, START, message)])
        found = read(tmp_path / str(number), action="/command", state="none")
        assert found.action.tolist() == [values]
        assert names is None or found.action_names == names
        assert found.state is None


def test_which_clock(tmp_path: Path, bags):
    times, first = list(range(0, 1000, 100)), START + 50 * MS

    def clock(name: str, camera: list[int], joints: list[int], stamped: bool = True) -> tuple[str, np.ndarray]:
        """Received 100 ms apart, joints 50 ms before the frames; with such stamps, in ms."""
        told = [
            message
            for time, seen, moved in zip(times, camera, joints, strict=True)
            for message in (
                (JOINTS, JOINT_STATE, START + time * MS, bags.joints("a", [time], moved * MS if stamped else 0)),
                (CAMERA, IMAGE, first + time * MS, bags.image(np.zeros((8, 8, 3), np.uint8), seen * MS)),
            )
        ]
        source = BagSource.open(bags.write(tmp_path / name, told))
        return source.describe()[1], source.read(name, "camera.image_raw").times

    now, uneven = START // MS, [time + 7 * (time % 200 > 0) for time in times]
    said, found = clock("sane", [now + time for time in uneven], [now + time for time in times])
    assert said == f"sane: times of {CAMERA}, {JOINTS} are their headers'"
    np.testing.assert_allclose(found, np.array(uneven) / 1e3, atol=1e-6)
    # All in simulated time.
    said, found = clock("sim", [5000 + time for time in uneven], [5000 + time for time in times])
    assert said == f"sim: times of {CAMERA}, {JOINTS} are their headers'"
    np.testing.assert_allclose(found, np.array(uneven) / 1e3, atol=1e-6)
    for name, camera, joints, stamped, words in (
        ("own clock", [5000 + time for time in uneven], [now + time for time in times], True, "s apart"),
        ("one in simulated time", [5000 + time for time in uneven], times, False, "s apart"),
        ("zero", [0] * 10, [0] * 10, True, "none has stamps that ascend"),
        ("back", [now + time for time in (*uneven[1:], 0)], times, False, "none has stamps that ascend"),
        ("same", [now] * 10, times, False, "none has stamps that ascend"),
    ):
        said, found = clock(name.replace(" ", "_"), camera, joints, stamped)
        assert "those of reception" in said, name
        assert said.endswith(words), said
        np.testing.assert_allclose(found, np.array(times) / 1e3, atol=1e-6)


def test_only_frames_with_label_images_are_taken(tmp_path: Path, bags):
    video, labels, state, action = scene(10)
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
    bags.write(tmp_path / "a", in_time(frames_at(bags, [0, 100, 200, 300, 400, 500]), texts))
    found = read(tmp_path / "a", task="/task")
    assert found.spans == ((0, 4, "push"), (4, 6, "pull it"))
    assert found.task == "push"


def test_topics_are_chosen_or_asked_for(tmp_path: Path, bags):
    video, labels, state, action = scene(2)
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


def test_hostile_messages_are_one_sentence_and_the_other_bag_is_read(tmp_path: Path, bags):
    pixels = np.zeros((8, 8, 3), np.uint8)
    image, joints = bags.image(pixels, START), bags.joints("ab", [1, 2], START)
    short = bags.store.serialize_cdr(joints, JOINT_STATE)[:-9]

    def spoilt(**fields: object) -> list[tuple]:
        return [(CAMERA, IMAGE, START, replace(image, **fields)), (JOINTS, JOINT_STATE, START, joints)]

    def moved(message: object) -> list[tuple]:
        return [(CAMERA, IMAGE, START, image), (JOINTS, JOINT_STATE, START, message)]

    two = [*moved(joints), (CAMERA, IMAGE, START + MS, bags.image(pixels[:4], START + MS))]
    cases = [
        (spoilt(encoding="16UC1"), "image 0 on /camera/image_raw has the encoding '16UC1'; accepted are rgb8"),
        (spoilt(data=image.data[:50]), "has 50 bytes of data; expected 192: step 24 x height 8"),
        (spoilt(step=3), "has a step of 3 bytes; expected at least 24"),
        (spoilt(height=2**31), "is 8 x 2147483648 pixels; expected 1 to 8192 each way"),
        (spoilt(width=0), "is 0 x 8 pixels"),
        (two, "image 1 on /camera/image_raw is 8 x 4 pixels and those before 8 x 8; expected one size"),
        (moved(bags.joints("ab", [1, np.nan], START)), "message 0 on /joint_states has nan for b; expected a number"),
        (moved(bags.joints("ab", [1, 1e300], START)), "has 1e+300 for b; expected a number"),
        (moved(bags.joints("ab", [1], START)), "has 1 positions of 2 joints (a, b); expected one each"),
        (moved(bags.joints("aa", [1, 2], START)), "has 2 positions of 2 joints (a, a)"),
        (moved(bags.joints("", [], START)), "has 0 values; expected 1 to 1024"),
        (moved(bytes(short)), "a message of 67 bytes on /joint_states is no sensor_msgs/msg/JointState"),
        (moved(bags.joints(["a\nb"], [1], START)), r"has the name 'a\nb'; expected up to 100 printable"),
        (moved(None), "has no message on /joint_states; expected some"),
        ([(CAMERA, IMAGE, 0, None), *moved(joints)[1:]], "has no message on /camera/image_raw"),
        (moved(joints)[1:], "has no topic '/camera/image_raw'; its topics are /joint_states"),
        (moved(bags.joints("ab", [1, 2], START))[:1], "has no topic '/joint_states'"),
        ([*moved(joints), moved(joints)[0]], "its frames' times do not ascend"),
        (
            [moved(joints)[0], (JOINTS, IMAGE, START, image)],
            f"{JOINTS} is of type {IMAGE}; expected one of {JOINT_STATE}",
        ),
    ]
    bags.write(tmp_path / "bags/0", moved(joints))
    for number, (messages, _) in enumerate(cases, 1):
        bags.write(tmp_path / f"bags/{number}", messages, "mcap" if number % 2 else "sqlite3")
    source = BagSource.open(tmp_path / "bags", BagTopics())
    assert source.ids() == [str(number) for number in range(len(cases) + 1)]
    assert source.read("0", "camera.image_raw").state.tolist() == [[1, 2]]
    for number, (_, words) in enumerate(cases, 1):
        with pytest.raises(Refused) as refusal:
            pytest.fail(f"{number} gives {source.read(str(number), 'camera.image_raw').frames.shape}")
        assert words in str(refusal.value)
        assert str(tmp_path / f"bags/{number}") in str(refusal.value)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_files_that_are_cut_or_are_none(tmp_path: Path, bags, storage: str):
    video, _, state, action = scene(4)
    folder = bags.write(tmp_path / "whole", bags.demonstration(video, None, state, action), storage)
    file = next(one for one in folder.iterdir() if one.name != "metadata.yaml")
    data, cut = file.read_bytes(), tmp_path / f"cut{file.suffix}"
    for length in np.linspace(0, len(data) - 1, 25).astype(int):
        cut.write_bytes(data[:length])
        with pytest.raises(Refused, match=r"cannot be read .*expected a whole ROS 2 bag: `mcap recover` or"):
            read(cut)
    rng = np.random.default_rng(0)
    for _ in range(25):
        spoilt = bytearray(data)
        for place in rng.integers(0, len(data), 6):
            spoilt[place] = rng.integers(256)
        cut.write_bytes(spoilt)
        with suppress(Refused):  # and nothing else
            assert len(read(cut).frames) <= 4
    # A crash leaves no metadata.yaml; the file may be whole all the same.
    (folder / "metadata.yaml").unlink()
    np.testing.assert_array_equal(read(folder).frames, video)
    (folder / "metadata.yaml").write_text("{a: [")
    with pytest.raises(Refused, match="whole cannot be read"):
        read(folder)


def test_an_mcap_without_an_index_is_scanned(tmp_path: Path, bags):
    video, _, state, action = scene(4)
    file = bags.write(tmp_path / "a", bags.demonstration(video, None, state, action)) / "a.mcap"
    data = bytearray(file.read_bytes())
    data[-28:-12] = bytes(16)  # where the summary begins, in the footer
    (tmp_path / "bare.mcap").write_bytes(data)
    found = read(tmp_path / "bare.mcap")
    np.testing.assert_array_equal(found.frames, video)
    assert found.action.tobytes() == action.tobytes()


def test_bags_of_humble_have_no_definitions(tmp_path: Path, bags):
    video, _, state, action = scene(4)
    file = bags.write(tmp_path / "a", bags.demonstration(video, None, state, action), "sqlite3") / "a.db3"
    with sqlite3.connect(file) as database:
        database.executescript(
            "DROP TABLE message_definitions; DROP TABLE schema; DROP TABLE metadata; "
            "ALTER TABLE topics DROP COLUMN type_description_hash"
        )
    database.close()
    shutil.move(file, tmp_path / "old.db3")
    assert read(tmp_path / "old.db3").state.tobytes() == state.tobytes()


@pytest.mark.parametrize("values", ["-5, x''", "'soon', x''", "5000000000000000000, x''", "5, NULL", "5, 'text'"])
def test_a_database_with_anything_in_it(tmp_path: Path, bags, values: str):
    file = bags.write(tmp_path / "a", [*frames_at(bags, [0]), *joints_at(bags, [0])], "sqlite3") / "a.db3"
    with sqlite3.connect(file) as database:
        schema = "id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp, data"
        database.executescript(
            f"ALTER TABLE messages RENAME TO old; CREATE TABLE messages({schema}); "
            "INSERT INTO messages SELECT * FROM old; "
            f"INSERT INTO messages(topic_id, timestamp, data) VALUES (2, {values})"
        )
    database.close()
    with pytest.raises(Refused, match=r"expected bytes, received at 0 to|cannot be read|is no sensor_msgs/msg/Joint"):
        read(tmp_path / "a")


def test_another_definition_of_a_type_is_refused(tmp_path: Path, bags):
    bags.write(tmp_path / "a", [*frames_at(bags, [0]), *joints_at(bags, [0])])
    metadata = tmp_path / "a/metadata.yaml"
    digest = bags.store.hash_rihs01(JOINT_STATE)
    assert digest in metadata.read_text()
    metadata.write_text(metadata.read_text().replace(digest, digest[:-4] + "0000"))
    with pytest.raises(Refused, match=f"its {JOINT_STATE} on {JOINTS} is defined otherwise than that of ROS 2 Jazzy"):
        read(tmp_path / "a")


def test_memory_is_asked_for_before_it_is_taken(tmp_path: Path, bags, monkeypatch: pytest.MonkeyPatch):
    bags.write(tmp_path / "a", frames_at(bags, list(range(0, 2000, 100))))
    monkeypatch.setattr(bag_pictures, "_MOST_BYTES", 20 * 16 * 16 * 3 - 1)
    with pytest.raises(Refused, match=r"has 20 frames of 16 x 16 pixels, more than 0 GiB.*or a --height"):
        read(tmp_path / "a")


def test_where_bags_are(tmp_path: Path, bags):
    for name in ("s/day 2/b10", "s/day 2/b9", "s/lone"):
        bags.write(tmp_path / name, frames_at(bags, [0]))
    (tmp_path / "s/lone/lone.mcap").rename(tmp_path / "s/lone.mcap")
    shutil.rmtree(tmp_path / "s/lone")
    (tmp_path / "s/notes.txt").write_text("")
    assert BagSource.open(tmp_path / "s").ids() == ["day_2_b9", "day_2_b10", "lone"]
    assert BagSource.open([tmp_path / "s/day 2/b10", tmp_path / "s/lone.mcap"]).ids() == ["b10", "lone"]
    with pytest.raises(Refused, match="would both be episode 'b9'; rename one"):
        BagSource.open([tmp_path / "s/day 2", tmp_path / "s/day 2/b9"])
    for path in (tmp_path / "nowhere", tmp_path / "s/notes.txt"):
        with pytest.raises(
            Refused, match=r"holds no ROS 2 bag; expected a folder with metadata.yaml, a file that ends"
        ):
            BagSource.open(path)
    source = BagSource.open(tmp_path / "s")
    with pytest.raises(Refused, match=r"there is no bag '../b9'; expected one of day_2_b9"):
        source.read("../b9", "camera.image_raw")
    with pytest.raises(Refused, match=r"has no camera 'left'; its cameras are camera.image_raw"):
        source.read("lone", "left")
