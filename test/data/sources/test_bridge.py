import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from mask2iv_ros.data.sources.bridge import BridgeRaw
from mask2iv_ros.errors import Refused

OLD, NEW = "2021-07-22_23-59-59", "2022-01-01_00-00-00"
TRAJECTORY = f"rss/toykitchen2/set_table/00/{NEW}/raw/traj_group0/traj0"
ID = TRAJECTORY.replace("/", ".")


def write(folder: Path, seed: int, cameras: tuple[str, ...] = ("images0", "images2"), count: int = 5) -> dict:
    """A trajectory as rail-berkeley/bridge_data_robot's RawSaver writes it."""
    rng = np.random.default_rng(seed)
    stamps = 1.65e9 + np.cumsum([0.31, *rng.uniform(0.19, 0.22, count - 1)])  # the first step takes longer
    state, actions = rng.normal(size=(count, 7)), rng.normal(size=(count - 1, 7))
    for camera in cameras:
        (folder / camera).mkdir(parents=True)
        for step in range(count):
            picture = np.full((48, 64, 3), 20 * step + seed, np.uint8)
            cv2.imwrite(str(folder / camera / f"im_{step}.jpg"), picture)
    observed = {"full_state": state, "time_stamp": stamps, "env_done": np.zeros(count, bool), "qpos": state[:, :6]}
    (folder / "obs_dict.pkl").write_bytes(pickle.dumps(observed))
    wrapped = [{"actions": one, "policy_type": "VRTeleopPolicy"} for one in actions]
    (folder / "policy_out.pkl").write_bytes(pickle.dumps(wrapped))
    (folder / "lang.txt").write_text("put the pot on the stove\nconfidence: 1\n")
    return {"state": state, "actions": actions, "stamps": stamps}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / TRAJECTORY, 0)
    return tmp_path


def test_a_trajectory_comes_back(tmp_path: Path):
    truth = write(tmp_path / TRAJECTORY, 3)
    source = BridgeRaw.open(tmp_path)
    assert (source.ids(), source.cameras()[:2]) == ([ID], ("images0", "images1"))
    found = pickle.loads(pickle.dumps(source)).read(ID, "images2")
    assert found.frames.shape == (4, 48, 64, 3)
    np.testing.assert_allclose(found.frames.mean((1, 2, 3)), [3, 23, 43, 63], atol=1)
    np.testing.assert_array_equal(found.state, truth["state"][:4].astype(np.float32))
    np.testing.assert_array_equal(found.action, truth["actions"].astype(np.float32))
    np.testing.assert_array_equal(found.times, truth["stamps"][:4] - truth["stamps"][0])
    assert found.task == "put the pot on the stove"
    assert found.action_names == ("delta_x", "delta_y", "delta_z", "delta_roll", "delta_pitch", "delta_yaw", "gripper")


def test_before_july_23rd_2021_the_camera_lags_by_one_step(tmp_path: Path):
    truth = write(tmp_path / OLD / "raw/traj_group0/traj7", 0)
    (found,) = [BridgeRaw.open(tmp_path).read(id_, "images0") for id_ in BridgeRaw.open(tmp_path).ids()]
    np.testing.assert_allclose(found.frames.mean((1, 2, 3)), [20, 40, 60], atol=1)
    np.testing.assert_array_equal(found.state, truth["state"][1:4].astype(np.float32))
    np.testing.assert_array_equal(found.action, truth["actions"][:3].astype(np.float32))
    assert found.times[0] == 0


def test_bare_actions_no_instruction_and_no_times(root: Path):
    folder = root / TRAJECTORY
    (folder / "policy_out.pkl").write_bytes(pickle.dumps(list(np.ones((4, 7), np.float32))))
    (folder / "obs_dict.pkl").write_bytes(pickle.dumps({"full_state": np.ones((5, 7))}))
    (folder / "lang.txt").unlink()
    found = BridgeRaw.open(root).read(ID, "images0")
    assert found.task == ""
    assert found.action.sum() == 28
    np.testing.assert_allclose(found.times, [0, 0.2, 0.4, 0.6])


@pytest.mark.parametrize("start", ["", "rss", f"rss/toykitchen2/set_table/00/{NEW}", TRAJECTORY.removesuffix("/traj0")])
def test_any_folder_above_trajectories_will_do(root: Path, start: str):
    dated = (root / TRAJECTORY).parents[2]
    for other in ("raw/traj_group0/traj10", "raw/traj_group1/traj9", "raw/traj_group0/trajx", "lmdb/traj_group0/traj0"):
        (dated / other).mkdir(parents=True)
    source = BridgeRaw.open(root / start)
    below = ID[len(start) + 1 :] if start else ID
    others = [] if start.endswith("group0") else [below.replace("group0.traj0", "group1.traj9")]
    assert source.ids() == [below, below[:-1] + "10", *others]
    assert len(source.read(source.ids()[0], "images0").frames) == 4


def test_ids_tell_odd_folders_apart(tmp_path: Path):
    tails = ("a b", "a-b", "a.b", "a/b", "é" * 90, "x" * 200, "x" * 199)
    for tail in tails:
        (tmp_path / tail / NEW / "raw/traj_group0/traj0").mkdir(parents=True)
    source = BridgeRaw.open(tmp_path)
    assert len(set(source.ids())) == len(tails)
    for id_ in source.ids():
        with pytest.raises(Refused, match=r"has no camera 'images0'; its cameras are none$"):  # not: a bad id
            source.read(id_, "images0")


@pytest.mark.parametrize("id_", ["..", "/etc", "rss/toykitchen2", "", f"{ID}/.."])
def test_ids_lead_nowhere_else(root: Path, id_: str):
    with pytest.raises(Refused, match="has no trajectory"):
        BridgeRaw.open(root).read(id_, "images0")


def test_what_is_missing_or_corrupt_is_named(root: Path):
    folder = root / TRAJECTORY
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def damaged(name: str, data: bytes | None, camera: str = "images0") -> None:
        path = folder / name
        path.unlink() if data is None else path.write_bytes(data)
        try:
            BridgeRaw.open(root).read(ID, camera)
        finally:
            path.write_bytes(kept[path])

    jpeg = kept[folder / "images0/im_2.jpg"]
    large = cv2.imencode(".jpg", np.zeros((48, 32, 3), np.uint8))[1].tobytes()
    four = {"full_state": np.ones((4, 7)), "time_stamp": np.arange(5.0)}
    cases = [
        ("lang.txt", b"x", "images1", r"traj0 has no camera 'images1'; its cameras are images0, images2$"),
        ("images0/im_2.jpg", None, "images0", "has 4 images and no im_2.jpg; expected them numbered without a gap"),
        ("images0/im_4.jpg", None, "images0", "has 4 images, 5 states, 5 times and 4 actions; expected as many"),
        ("images0/im_2.jpg", jpeg[:300], "images0", r"im_2\.jpg cannot be decoded"),
        ("images0/im_2.jpg", b"GIF89a", "images0", r"im_2\.jpg cannot be decoded"),
        ("images0/im_2.jpg", large, "images0", r"im_2\.jpg is 32 x 48 pixels; expected 64 x 48"),
        ("obs_dict.pkl", None, "images0", r"obs_dict\.pkl cannot be read \(No such file"),
        ("obs_dict.pkl", pickle.dumps([1]), "images0", "has a list of observations and a list of actions"),
        ("obs_dict.pkl", pickle.dumps({}), "images0", r"full_state in .*obs_dict\.pkl is a NoneType"),
        ("obs_dict.pkl", pickle.dumps(four), "images0", "5 images, 4 states"),
        (
            "obs_dict.pkl",
            pickle.dumps(four | {"full_state": np.ones(5)}),
            "images0",
            r"is float64 \(5,\); expected a row",
        ),
        ("obs_dict.pkl", pickle.dumps(os.getcwd), "images0", r"it asks for \w+.getcwd"),
        (
            "obs_dict.pkl",
            pickle.dumps({"full_state": np.ones((5, 7)), "time_stamp": np.zeros(5)}),
            "images0",
            "its frames' times do not ascend",
        ),
        ("policy_out.pkl", pickle.dumps([]), "images0", "the list of actions in .* is a list; expected an array"),
        (
            "policy_out.pkl",
            pickle.dumps([{}] * 4),
            "images0",
            "the list of actions in .* is a list of 4; expected",
        ),
        ("lang.txt", b"\xff\xfe", "images0", r"lang\.txt cannot be read .*UTF-8"),
    ]
    for name, data, camera, match in cases:
        with pytest.raises(Refused, match=match):
            damaged(name, data, camera)
    assert len(BridgeRaw.open(root).read(ID, "images0").frames) == 4


def test_folders_that_are_not_the_release(tmp_path: Path):
    with pytest.raises(Refused, match="holds no folder such as raw/traj_group0/traj0"):
        BridgeRaw.open(tmp_path)
    with pytest.raises(Refused, match="is no folder"):
        BridgeRaw.open(tmp_path / "missing")
    write(tmp_path / "mine/raw/traj_group0/traj0", 0)
    with pytest.raises(Refused, match="lies below a folder 'mine'; expected the release's"):
        BridgeRaw.open(tmp_path).read("mine.raw.traj_group0.traj0", "images0")
    write(tmp_path / NEW / "raw/traj_group0/traj0", 0, count=1)
    with pytest.raises(Refused, match="list of actions"):
        BridgeRaw.open(tmp_path / NEW).read("raw.traj_group0.traj0", "images0")
