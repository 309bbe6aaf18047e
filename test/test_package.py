"""The package as a whole: what it declares is there, and what is there it declares."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path
from xml.etree import ElementTree

import pytest

import mask2iv_ros

ROOT = Path(__file__).resolve().parents[1]
INTERFACES = sorted(path for kind in ("msg", "srv", "action") for path in (ROOT / kind).glob(f"*.{kind}"))
OPTIONAL = {"cv_bridge"}  # used where a ROS installation has one that works
ROS_PACKAGES = {element.text for element in ElementTree.parse(ROOT / "package.xml").iter() if "depend" in element.tag}


def cmake_list(name: str) -> list[str]:
    text = (ROOT / "CMakeLists.txt").read_text()
    return re.search(rf"set\({name}\s([^)]*)\)", text).group(1).split()


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def canonical(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement).group().lower().replace("_", "-")


def requirements() -> Iterator[str]:
    yield from project()["build-system"]["requires"]
    yield from project()["project"]["dependencies"]
    for extra in project()["project"]["optional-dependencies"].values():
        yield from extra


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().split()
    return dict(line.split("==") for line in lines)


def sources() -> list[Path]:
    return [path for folder in ("mask2iv_ros", "test") for path in (ROOT / folder).rglob("*.py")]


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def test_cmake_builds_every_interface():
    assert len(INTERFACES) >= 11
    assert sorted(cmake_list("INTERFACES")) == sorted(str(path.relative_to(ROOT)) for path in INTERFACES)


@pytest.mark.parametrize("path", INTERFACES, ids=lambda path: path.name)
def test_built_interfaces_are_the_ones_of_this_folder(path: Path):
    kind = getattr(importlib.import_module(f"mask2iv_ros.{path.parent.name}"), path.stem)
    first = {"msg": kind, "srv": getattr(kind, "Request", None), "action": getattr(kind, "Goal", None)}[
        path.parent.name
    ]
    declared = [
        words[1]
        for line in path.read_text().split("---")[0].splitlines()
        if len(words := line.split("#")[0].split()) == 2 and "=" not in line.split("#")[0]
    ]
    assert list(first.get_fields_and_field_types()) == declared


def test_one_version_everywhere():
    assert ElementTree.parse(ROOT / "package.xml").findtext("version") == mask2iv_ros.__version__
    assert version("mask2iv_ros") == mask2iv_ros.__version__


def test_every_node_has_its_module():
    nodes = cmake_list("NODES")
    assert nodes
    modules = {path.stem for path in (ROOT / "mask2iv_ros" / "ros").glob("*_node.py")}
    assert set(nodes) == modules
    for node in nodes:
        assert "def main(" in (ROOT / "mask2iv_ros" / "ros" / f"{node}.py").read_text()


def test_constraints_pin_all_that_is_required_and_nothing_by_url():
    assert "/" not in (ROOT / "constraints.txt").read_text()
    assert {canonical(requirement) for requirement in requirements()} <= pins().keys()


def test_constraints_are_what_runs_here():
    for name in ("lerobot", "torch", "diffusers", "numpy"):
        assert version(name).split("+")[0] == pins()[name]


def test_every_import_is_declared():
    owners = packages_distributions()
    declared = {canonical(requirement) for requirement in requirements()}
    known = sys.stdlib_module_names | ROS_PACKAGES | OPTIONAL | {"mask2iv_ros"}
    undeclared = {
        (path.relative_to(ROOT).as_posix(), module)
        for path in sources()
        for module in imported(ast.parse(path.read_text())) - known
        if declared.isdisjoint(map(canonical, owners.get(module, [module])))
    }
    assert not undeclared


def imported(tree: ast.Module) -> set[str]:
    modules = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    modules += [
        node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module and not node.level
    ]
    return {module.partition(".")[0] for module in modules}


def test_ros_wheels_stay_in_their_extra():
    assert not [name for name in project()["project"]["dependencies"] if name.startswith("ros-")]


def test_the_core_knows_neither_ros_nor_the_command_line():
    outward = re.compile(r"^\s*(from|import) (rclpy|\w+_msgs|mask2iv_ros\.(ros|cli|msg|srv|action))\b", re.MULTILINE)
    package = ROOT / "mask2iv_ros"
    core = [path for path in package.rglob("*.py") if path.relative_to(package).parts[0] not in ("ros", "cli")]
    assert not {path for path in core if outward.search(path.read_text())}


def test_the_tree_stays_small():
    sizes = {path: path.stat().st_size for path in tracked()}
    assert max(sizes.values()) <= 16 * 2**20
    assert sum(sizes.values()) < 50e6


def test_files_stay_short_and_named_for_what_they_hold():
    assert not {path for path in sources() if path.stem in ("utils", "util", "helpers", "misc", "common")}
    assert not {path for path in sources() if len(path.read_text().splitlines()) > 350}


def test_every_file_of_the_weights_travels_in_a_wheel():
    package = ROOT / "mask2iv_ros"
    patterns = project()["tool"]["setuptools"]["package-data"]["mask2iv_ros"]
    packed = {path for pattern in patterns for path in package.glob(pattern) if path.is_file()}
    weights = {path for path in (package / "weights").rglob("*") if path.is_file()}
    assert len([path for path in weights if path.suffix == ".safetensors"]) >= 3
    assert weights <= packed
    assert sum(path.stat().st_size for path in weights if path.suffix == ".safetensors") < 30e6
