"""The ROS half of ``pip install``: CMakeLists.txt builds the interfaces, the wheel carries them.

colcon does not read this file (package.xml says ament_cmake); everything that is not built stands
in pyproject.toml. The tree that CMake installs is split in two: the generated Python joins the
package, while libraries, executables, launch files and the ament index go under the environment's
prefix, which that makes a ROS prefix.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from setuptools import Command, Distribution, setup
from setuptools.command.build import build

ROOT = Path(__file__).resolve().parent
NAME = "mask2iv_ros"
GENERATED = ("msg", "srv", "action")


def ros_prefixes() -> list[Path]:
    """Return the folders that hold ament and rosidl: the one of the build's own wheels first."""
    spec = importlib.util.find_spec("ament_package")
    own = [Path(spec.origin).resolve().parents[4]] if spec and spec.origin else []
    sourced = [Path(path) for path in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if path]
    found = [path for path in dict.fromkeys([*own, *sourced]) if (path / "share" / "ament_index").is_dir()]
    if not found:
        raise SystemExit("No ROS 2 to build the messages with: install pyproject.toml's ros-* wheels or source ROS 2.")
    return found


class BuildRos(Command):
    """Run CMake and hand what it installs to the wheel.

    A sub-command of ``build`` and not a part of ``build_py``, whose errors are mere warnings in
    editable installs.
    """

    description = "build the ROS interfaces with CMake"
    user_options = []
    editable_mode = False

    def initialize_options(self) -> None:
        """Declare the folders that the command ``build`` decides on."""
        self.build_lib = self.build_temp = None

    def finalize_options(self) -> None:
        """Take the folders from the command ``build``."""
        self.set_undefined_options("build", ("build_lib", "build_lib"), ("build_temp", "build_temp"))

    def run(self) -> None:
        """Build, then sort the files: the package's to ``build_lib``, the others to ``data_files``."""
        stage = self.cmake(Path(self.build_temp).resolve() / "ros")
        for folder in ("lib", "share"):
            self.add_data(stage / folder, Path(folder))
        package = stage / "python" / NAME
        if self.editable_mode:
            # Without an __init__.py at the top, this folder only extends the checkout's package.
            site = Path(sysconfig.get_path("purelib", vars={"base": ""})).relative_to("/")
            for name in GENERATED:
                self.add_data(package / name, site / NAME / name)
            self.distribution.data_files.append((str(site / NAME), [str(path) for path in package.glob("*.so")]))
        else:
            for path in [*package.glob("*.so"), *(path for name in GENERATED for path in files(package / name))]:
                target = Path(self.build_lib, NAME, path.relative_to(package))
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)

    def cmake(self, folder: Path) -> Path:
        """Configure, build and install below ``folder``; return where it installed to."""
        shutil.rmtree(folder, ignore_errors=True)
        tree, stage = folder / "build", folder / "stage"
        prefixes = os.pathsep.join(map(str, ros_prefixes()))
        options = {
            "CMAKE_BUILD_TYPE": "Release",
            "CMAKE_INSTALL_PREFIX": stage,
            "AMENT_CMAKE_ENVIRONMENT_PARENT_PREFIX_PATH_GENERATION": "OFF",
            "BUILD_TESTING": "OFF",
            "Python3_EXECUTABLE": sys.executable,
            "PYTHON_INSTALL_DIR": "python",
        }
        generator = ["-G", "Ninja"] if shutil.which("ninja") else []
        for arguments in (
            ["-S", ROOT, "-B", tree, *generator, *(f"-D{key}={value}" for key, value in options.items())],
            ["--build", tree, "--parallel"],
            ["--install", tree],
        ):
            environment = os.environ | {"AMENT_PREFIX_PATH": prefixes, "CMAKE_PREFIX_PATH": prefixes}
            subprocess.run(["cmake", *arguments], check=True, env=environment)
        return stage

    def add_data(self, source: Path, target: Path) -> None:
        """Have the files below ``source`` installed below ``target``, relative to the prefix."""
        for path in files(source):
            folder = target / path.parent.relative_to(source)
            self.distribution.data_files.append((str(folder), [str(path)]))

    def get_source_files(self) -> list[str]:
        """Nothing for the sdist here: MANIFEST.in names it."""
        return []

    def get_outputs(self) -> list[str]:
        """Nothing: ``build_lib`` and ``data_files`` are collected by others."""
        return []

    def get_output_mapping(self) -> dict[str, str]:
        """Nothing: no output is a link to a source."""
        return {}


def files(folder: Path) -> Iterator[Path]:
    """Yield the files below ``folder`` that are worth installing."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix not in (".c", ".pyc"))


class Build(build):
    """The usual build, then the interfaces."""

    sub_commands = [*build.sub_commands, ("build_ros", None)]


class RosDistribution(Distribution):
    """A platform wheel, whose data files an editable install carries too."""

    def has_ext_modules(self) -> bool:
        """Have the wheel tagged with Python's and the machine's ABI."""
        return True

    def has_data(self) -> bool:
        """Have ``install_data`` run although the files are known only after the build."""
        return True


setup(
    version=ElementTree.parse(ROOT / "package.xml").findtext("version"),
    data_files=[],
    distclass=RosDistribution,
    cmdclass={"build": Build, "build_ros": BuildRos},
)
