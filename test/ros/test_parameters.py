import math
from dataclasses import fields
from importlib import import_module
from typing import get_type_hints

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: the ros-* wheels or a sourced installation")

from mask2iv_ros.errors import Refused
from mask2iv_ros.ros.capture_node import CaptureNode
from mask2iv_ros.ros.parameters import declared, markdown_table
from mask2iv_ros.segmentation import registry

NODES = ("capture", "segment", "goal", "imagine", "export", "camera", "playback")
TYPES = {"string": str, "double": float, "int": int, "bool": bool}


@pytest.mark.parametrize("node", NODES)
def test_settings_are_the_files_parameters(node):
    settings = getattr(import_module(f"mask2iv_ros.ros.{node}_node"), f"{node.capitalize()}Settings")
    hints = get_type_hints(settings)
    assert {field.name: hints[field.name] for field in fields(settings)} == {
        parameter.name: TYPES[parameter.type] for parameter in declared(node)
    }


@pytest.mark.parametrize("node", NODES)
def test_every_number_has_a_range_and_every_parameter_a_sentence(node):
    for parameter in declared(node):
        assert parameter.description.endswith(".")
        assert parameter.bounds or parameter.type in ("string", "bool")
        assert f"| `{parameter.name}` |" in markdown_table(node)


def test_back_ends_are_those_that_are_registered():
    table = {parameter.name: parameter for parameter in declared("segment")}
    assert table["backend"].one_of == registry.names()


def test_not_a_number_is_refused_with_its_value():
    max_age = next(parameter for parameter in declared("capture") if parameter.name == "max_age")
    with pytest.raises(Refused, match=r"parameter max_age is nan; expected a finite number from 0\.01 to 3600\.0"):
        max_age.check(math.nan)
    max_age.check(0.01)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("max_age", "-1.0", "a finite number from 0.01 to 3600.0"),
        ("max_age", ".nan", "a finite number from 0.01 to 3600.0"),
        ("max_age", "soon", "a finite number from 0.01 to 3600.0"),
        ("transport", "smoke", "one of raw, compressed"),
        ("continuous", "3", "true or false"),
    ],
)
def test_a_bad_value_at_the_start_is_refused(ros, name, value, says):
    started = ros(capture={name: value})
    with pytest.raises(Refused, match=says):
        started.add(CaptureNode)


def test_a_bad_change_is_answered_and_leaves_the_settings(ros):
    started = ros(capture={"max_age": 2.0})
    node = started.add(CaptureNode)
    for name, value, says in (
        ("max_age", 1e9, "1000000000.0"),
        ("max_age", math.nan, "nan"),
        ("max_age", "soon", "max_age"),
        ("rate", 0.0, "0.0"),
        ("transport", "compressed", "read-only"),
    ):
        result = started.set_parameter("capture", name, value)
        assert not result.successful
        assert says in result.reason
    assert node.get_parameter("max_age").value == 2.0
    assert started.set_parameter("capture", "max_age", 3.0).successful
    assert node._settings.value.max_age == 3.0
