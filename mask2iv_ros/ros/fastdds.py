"""The Fast DDS profile that images need: a shared-memory segment that holds them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import MutableMapping
from pathlib import Path

from mask2iv_ros.ros.files import config_file

KILTED, JAZZY = "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"
_NEEDED_MIB = 512  # a segment of 64 MiB for each of eight nodes


def use_image_profile(environment: MutableMapping[str, str]) -> str:
    """Name the profile in `environment`, unless the user named one; to be called before rclpy starts.

    Returns:
        Why the profile was left out, or an empty string.
    """
    if environment.get(KILTED) or environment.get(JAZZY):
        return ""
    try:
        free = shutil.disk_usage("/dev/shm").free // 2**20
    except OSError:
        free = 0
    if free < _NEEDED_MIB:
        return (
            f"/dev/shm has {free} MiB free, {_NEEDED_MIB} are needed for images through shared memory: "
            "they may arrive late or not at all (in Docker: --shm-size=1g)"
        )
    environment[_variable(environment)] = str(config_file("fastdds.xml"))
    return ""


def _variable(environment: MutableMapping[str, str]) -> str:
    """Return the variable that this distribution reads; Jazzy's Fast DDS 2 was called fastrtps."""
    prefixes = [sys.prefix, *filter(None, environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep))]
    return JAZZY if any((Path(prefix) / "share/fastrtps").is_dir() for prefix in prefixes) else KILTED
