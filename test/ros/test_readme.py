from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: the ros-* wheels or a sourced installation")

from mask2iv_ros.ros.parameters import markdown_table

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.mark.parametrize("node", ["capture", "segment", "goal", "imagine", "export", "camera", "playback"])
def test_the_readme_has_the_declared_parameters(node):
    assert markdown_table(node) in README.read_text(encoding="utf-8")
