"""The nodes as processes, as a user starts them."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.ros.bringup import Arguments, Bringup, NodeSpec, command, nodes

NODES = ("capture", "segment", "goal", "imagine", "export", "camera", "playback")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def lines():
    """Return a list for what nodes print; shown if the test fails."""
    printed = []
    yield printed
    print("\n".join(printed))


@pytest.fixture
def film(tmp_path):
    """Return a folder with one VGA picture."""
    folder = tmp_path / "film"
    folder.mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    cv2.imwrite(str(folder / "0.png"), cv2.GaussianBlur(picture, (15, 15), 0))
    return folder


def test_the_description_follows_the_arguments():
    plain = {spec.name: spec for spec in nodes(Arguments())}
    assert set(plain) == {"capture", "segment", "goal", "imagine", "export"}
    assert all(not spec.remappings for spec in plain.values())
    chosen = {
        spec.name: spec
        for spec in nodes(
            Arguments(
                camera="/arm/image_raw",
                labels="/perception/labels",
                checkpoint="/weights",
                segmentation="grabcut",
                dataset="/data/set",
                stand_in="metaworld",
                parameters={"imagine": {"seed": 4}, "camera": {"width": 64}},
            )
        )
    }
    assert ("image", "/arm/image_raw") in chosen["capture"].remappings
    assert ("labels", "/perception/labels") in chosen["segment"].remappings
    assert chosen["segment"].parameters["backend"] == "grabcut"
    assert chosen["export"].parameters["dataset"] == "/data/set"
    assert chosen["imagine"].parameters["checkpoint"] == "/weights"
    assert chosen["imagine"].parameters["seed"] == 4
    assert chosen["camera"].parameters == {"width": 64}
    assert ("image", "/arm/image_raw") in chosen["camera"].remappings


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"stand_in": "gazebo"}, "stand-in is 'gazebo'; accepted are none, metaworld, playback"),
        ({"stand_in": "playback"}, "expected a path with the stand-in playback"),
        ({"playback": "film.mp4"}, "and none with another"),
        ({"params_file": "/nowhere.yaml"}, "'/nowhere.yaml' is not there"),
        ({"parameters": {"camera": {"width": 64}}}, "parameters for 'camera'; the nodes are imagine, export"),
    ],
)
def test_arguments_that_name_no_system_are_refused(arguments, says):
    with pytest.raises(Refused) as refusal:
        nodes(Arguments(**arguments))
    assert says in str(refusal.value)


def test_the_description_names_parameters_that_exist():
    pytest.importorskip("rclpy", reason="needs ROS 2: the ros-* wheels or a sourced installation")
    from mask2iv_ros.ros.parameters import declared

    for stand_in, playback in (("metaworld", ""), ("playback", "film.mp4")):
        for spec in nodes(Arguments(stand_in=stand_in, playback=playback)):
            assert set(spec.parameters) <= {parameter.name for parameter in declared(spec.name)}
            assert importlib.util.find_spec(f"mask2iv_ros.ros.{spec.executable}")


def test_the_launch_file_starts_the_same_nodes():
    pytest.importorskip("launch_ros", reason="needs launch_ros of a full ROS 2")
    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument

    spec = importlib.util.spec_from_file_location("imagine_launch", ROOT / "launch/imagine.launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    description, context = module.generate_launch_description(), LaunchContext()
    for entity in description.entities:
        if isinstance(entity, DeclareLaunchArgument):
            entity.execute(context)
    started = module.start(context)
    assert [action.node_executable for action in started] == [spec.executable for spec in nodes(Arguments())]


def heard(ros):
    """Return the names of the nodes whose diagnostics have arrived."""
    from diagnostic_msgs.msg import DiagnosticArray

    arrays = ros.listen(DiagnosticArray, "/diagnostics", 50)
    return lambda: {status.hardware_id for array in arrays for status in array.status}


def test_every_node_leaves_cleanly(ros, tmp_path, film):
    """On SIGTERM; on SIGINT all but the camera are ended in the test of the whole chain."""
    if (
        importlib.util.find_spec("metaworld") is None
    ):  # not importorskip: mujoco must not be imported before its renderer is chosen
        pytest.skip("the stand-in camera needs the extra demo")
    small = {"width": 64, "height": 48}
    specs = [
        NodeSpec("capture_node", "capture"),
        NodeSpec("segment_node", "segment"),
        NodeSpec("goal_node", "goal"),
        NodeSpec("imagine_node", "imagine"),
        NodeSpec("export_node", "export", {"dataset": str(tmp_path / "dataset")}),
        NodeSpec("playback_node", "playback", {"path": str(film)}),
        NodeSpec("camera_node", "camera", small),
        NodeSpec("camera_node", "interrupted", small),
    ]
    names = heard(ros())
    processes = {
        spec.name: subprocess.Popen(
            command(spec, Arguments()), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for spec in specs
    }
    end = time.monotonic() + 180
    while names() != set(processes) and time.monotonic() < end:
        time.sleep(0.1)
    missing = set(processes) - names()
    begun = time.monotonic()
    for name, process in processes.items():
        process.send_signal(signal.SIGINT if name == "interrupted" else signal.SIGTERM)
    printed = {name: process.communicate(timeout=30)[0] for name, process in processes.items()}
    print(f"all left in {time.monotonic() - begun:.2f} s")
    codes = {name: process.returncode for name, process in processes.items()}
    assert not missing, {name: printed[name] for name in missing}
    assert codes == dict.fromkeys(processes, 0), printed
    assert not [text for text in printed.values() if "Traceback" in text]


def test_a_bad_parameter_ends_a_node_with_one_sentence():
    pytest.importorskip("rclpy", reason="needs ROS 2: the ros-* wheels or a sourced installation")
    line = command(NodeSpec("capture_node", "capture", {"max_age": -1.0}), Arguments())
    ended = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "-1.0" in ended.stderr
    assert "expected a finite number from 0.01 to 3600.0" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_dead_node_is_noticed_and_the_others_are_ended(lines, tmp_path):
    pytest.importorskip("rclpy", reason="needs ROS 2: the ros-* wheels or a sourced installation")
    arguments = Arguments(
        stand_in="playback",
        playback=str(tmp_path / "missing"),
        dataset=str(tmp_path / "dataset"),
        parameters={"imagine": {"autostart": False}},
    )
    with Bringup(arguments, lines.append) as bringup:
        end = time.monotonic() + 60
        while not bringup.poll() and time.monotonic() < end:
            time.sleep(0.05)
        assert bringup.poll() == {"playback": 2}
        codes = bringup.stop()
    assert codes.pop("playback") == 2
    assert set(codes.values()) == {0}
    assert any("missing' does not exist" in line and line.startswith("[playback] ") for line in lines)


def test_nodes_do_not_outlive_a_killed_bringup(tmp_path):
    pytest.importorskip("rclpy", reason="needs ROS 2: the ros-* wheels or a sourced installation")
    program = (
        "import time; from mask2iv_ros.ros.bringup import *;"
        "b = Bringup(Arguments(dataset='d', parameters={'imagine': {'autostart': False}})); b.start();"
        "print(*(p.pid for p in b._processes.values()), flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    children = [int(pid) for pid in parent.stdout.readline().split()]
    time.sleep(3)
    parent.kill()
    parent.wait()
    end = time.monotonic() + 30
    while any(map(alive, children)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(alive, children))


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_from_a_camera_frame_and_a_goal_mask_to_a_dataset(ros, lines, tmp_path, tiny, film):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from mask2iv_ros.msg import Rollout as RolloutMsg
    from mask2iv_ros.msg import Scene as SceneMsg
    from mask2iv_ros.srv import Capture
    from sensor_msgs.msg import Image
    from std_msgs.msg import String

    from mask2iv_ros.export.provenance import read_provenance
    from mask2iv_ros.generator.imagine import Imaginer
    from mask2iv_ros.ros import convert, qos

    labels = np.zeros((480, 640), np.uint8)
    labels[50:200, 50:200], labels[300:400, 300:400] = 1, 2
    arguments = Arguments(
        camera="/arm/image_raw",
        namespace="robot",
        checkpoint=str(tiny),
        dataset=str(tmp_path / "dataset"),
        stand_in="playback",
        playback=str(film),
        parameters={"playback": {"rate": 20.0, "frame_id": "optical"}, "imagine": {"seed": 11}},
    )
    ros = ros()
    latest = ros.diagnostics()
    scenes = ros.listen(SceneMsg, "/robot/scene", qos.LATEST)
    rollouts = ros.listen(RolloutMsg, "/robot/rollout", qos.ROLLOUTS)
    exported = ros.listen(String, "/robot/exported", qos.ROLLOUTS)
    perception = ros.probe.create_publisher(Image, "/robot/labels", qos.SENSOR)
    ros.probe.create_subscription(
        Image,
        "/arm/image_raw",
        lambda image: perception.publish(convert.image_to_msg(labels, image.header)),
        qos.SENSOR,
    )
    with Bringup(arguments, lines.append) as bringup:
        ros.wait(lambda: (s := latest("robot/imagine")) and s.message == "ready", "the generator", 180)
        # Labels are sent once and have the stamp of one frame: those of the captured frame must find who takes them.
        ros.wait(lambda: latest("robot/segment") and perception.get_subscription_count(), "the segment node", 60)
        masks = ros.publisher(Image, "/robot/goal_mask")
        answer = ros.call(Capture, "/robot/capture", Capture.Request())
        assert answer.success, answer.message
        ros.wait(lambda: scenes, "the scene")
        assert scenes[0].header == answer.header
        goal = convert.image_to_msg(np.roll(labels == 2, 40, 1), answer.header)
        totals = []
        for count in (1, 2, 3):
            begun = time.monotonic()
            masks.publish(goal)
            ros.wait(lambda count=count: len(rollouts) == count, "the rollout")
            totals.append(time.monotonic() - begun)
        ros.wait(lambda: len(exported) == 3, "the export", 300)
        assert bringup.poll() == {}
        # One more is running while the nodes are told to end.
        masks.publish(goal)
        assert set(bringup.stop().values()) == {0}
    rollout = convert.rollout_from_msg(rollouts[0])
    imaginer = Imaginer.load(tiny, "cpu")
    generator = []
    for _ in range(3):
        begun = time.monotonic()
        scene = convert.scene_from_msg(scenes[0])
        own = imaginer.imagine(
            scene,
            convert.goal_from_fields(goal, "", (480, 640)),
            seed=11,
            rollout_id=rollout.id,
            on_step=lambda progress: None,
        )
        generator.append(time.monotonic() - begun)
    np.testing.assert_array_equal(own.video, rollout.video)
    print(f"goal mask to rollout {min(totals):.3f} s, of it the generator {min(generator):.3f} s")
    assert min(totals) - min(generator) < 0.3
    dataset = LeRobotDataset("test/dataset", root=tmp_path / "dataset")
    assert dataset.num_episodes >= 3
    first = read_provenance(tmp_path / "dataset")[0]
    assert (first.source_stamp_ns, first.source_frame_id) == (convert.stamp_ns(answer.header), "optical")


def test_only_the_imagine_node_imports_torch_at_its_start():
    pytest.importorskip("rclpy", reason="needs ROS 2: the ros-* wheels or a sourced installation")
    modules = ", ".join(f"mask2iv_ros.ros.{name}_node" for name in NODES)
    program = f"import sys, {modules}; print(sorted({{'torch', 'lerobot', 'mujoco'}} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ))
    assert ended.stdout.strip() == "[]", ended.stderr
