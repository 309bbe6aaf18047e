from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mask2iv_ros.data.building.clips import clips_of
from mask2iv_ros.data.building.plan import Plan
from mask2iv_ros.data.building.settings import BuildSettings
from mask2iv_ros.data.sources.bag import BagSource
from mask2iv_ros.data.sources.bag_topics import BagTopics

START, MS = 1_700_000_000 * 10**9, 10**6
CAMERA, JOINTS = "/camera/image_raw", "/joint_states"
IMAGE, JOINT_STATE = "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState"


def read(path: Path, **topics: object):
    source = BagSource.open(path, BagTopics(**topics))
    return source.read(source.ids()[0], source.cameras()[0])


def test_states_are_the_latest_and_commands_the_first_upon_a_frame(tmp_path: Path, bags):
    frames, joints = bags.frames_at([0, 100, 200, 300]), bags.joints_at([0, 60, 100, 199, 201, 290, 310])
    # 100 has a command at its own time, 200 none before the next frame: what was commanded before holds.
    bags.write(tmp_path / "a", bags.in_time(frames, joints, bags.commands_at([5, 40, 100, 130, 340])))
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

    both = bags.in_time(bags.frames_at([20, 120, 220, 320]), joints("ba")[::2], joints("ab")[1::2], joints("c", 10))
    bags.write(tmp_path / "bags/1", both)
    bags.write(tmp_path / "bags/2", bags.in_time(bags.frames_at(times), joints("cab")))
    source = BagSource.open(tmp_path / "bags")
    first, second = (source.read(id_, "camera.image_raw") for id_ in source.ids())
    assert first.state_names == second.state_names == ("b", "a", "c")
    assert (first.state - [[ord(one) for one in "bac"]]).tolist() == [[t, t, t + 10] for t in times]
    assert (second.state - [[ord(one) for one in "bac"]]).tolist() == [[t] * 3 for t in times]


def test_a_joint_that_vanishes_splits_the_episode_and_is_named(tmp_path: Path, bags):
    frames = bags.frames_at(list(range(0, 3000, 100)))
    joints = [*bags.joints_at(list(range(0, 3000, 50)), "a"), *bags.joints_at(list(range(0, 1000, 50)), "b")]
    joints += bags.joints_at(list(range(2000, 3000, 50)), "b")
    bags.write(tmp_path / "a", bags.in_time(frames, joints))
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
    frames = bags.frames_at(list(range(0, 2000, 100)))
    bags.write(tmp_path / "a", bags.in_time(frames, bags.joints_at(list(range(250, 1000, 50)))))
    found = read(tmp_path / "a")
    # The last is of 950 ms; the next would have been due at 1000 and is overdue at 1025.
    assert found.frames[:, 0, 0, 0].tolist() == list(range(3, 11))
    assert found.times[0] == 0
    assert [one.frame for one in found.missing] == [11], "as many frames as a topic takes to begin are no news"


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
        bags.write(tmp_path / str(number), [*bags.frames_at([0]), ("/command", kind, START, message)])
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
