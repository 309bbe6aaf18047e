from __future__ import annotations

from pathlib import Path

import pytest

from mask2iv_ros.data.building.settings import BuildSettings
from mask2iv_ros.errors import Refused


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "push"}, "none of Meta-World's tasks"),
        ({"name": "a-b"}, "name is 'a-b'"),
        ({"cameras": ()}, "cameras are none"),
        ({"cameras": ("a", "a")}, "each once"),
        ({"frames": 1}, "frames is 1"),
        ({"fps": -1}, "fps is -1"),
        ({"size": (8, 64)}, r"size is \(8, 64\)"),
        ({"overlap": 1.0}, r"overlap is 1\.0"),
        ({"validation": -0.1}, r"validation is -0\.1"),
        ({"camera": "a.b"}, "camera name"),
    ],
)
def test_settings_out_of_range(tmp_path: Path, change: dict, said: str):
    with pytest.raises(Refused, match=said):
        BuildSettings(**{"out": tmp_path, "name": "robot", "cameras": ("front",)} | change)
