from collections import namedtuple
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mask2iv_ros.ros import fastdds
from mask2iv_ros.ros.fastdds import JAZZY, KILTED, use_image_profile

Usage = namedtuple("Usage", "total used free")
PLENTY = Usage(2**34, 0, 2**34)


@pytest.fixture
def shm(monkeypatch):
    return lambda usage: monkeypatch.setattr(fastdds.shutil, "disk_usage", lambda path: usage)


def test_the_profile_is_named_where_this_distribution_looks(shm, tmp_path):
    shm(PLENTY)
    kilted, jazzy = {}, {"AMENT_PREFIX_PATH": str(tmp_path)}
    (tmp_path / "share/fastrtps").mkdir(parents=True)
    assert use_image_profile(jazzy) == ""
    assert set(jazzy) == {"AMENT_PREFIX_PATH", JAZZY}
    assert use_image_profile(kilted) == ""
    assert all(Path(path).name == "fastdds.xml" for path in kilted.values())


@pytest.mark.parametrize("variable", [KILTED, JAZZY])
def test_a_users_own_profile_stands(shm, variable):
    shm(PLENTY)
    environment = {variable: "/mine.xml"}
    assert use_image_profile(environment) == ""
    assert environment == {variable: "/mine.xml"}


def test_too_small_a_shared_memory_is_said_so(shm):
    shm(Usage(2**26, 0, 2**26))
    environment = {}
    assert "/dev/shm has 64 MiB free, 512 are needed" in use_image_profile(environment)
    assert not environment


def test_the_profile_keeps_no_robot_out():
    root = ElementTree.parse(fastdds.config_file("fastdds.xml")).getroot()
    names = {element.tag.split("}")[1] for element in root.iter()}
    assert "segment_size" in names
    assert "interfaceWhiteList" not in names
