"""Parameters: declared once in `config/NODE.yaml`, read as one frozen dataclass.

The files keep to the keys of generate_parameter_library (type, default_value, description,
read_only, validation), so that people who know it can read them; a small loader stands here
because that library cannot be installed without a full ROS.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any

import yaml
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from mask2iv_ros.errors import Refused
from mask2iv_ros.ros.files import config_file

_TYPES: dict[str, type] = {"string": str, "double": float, "int": int, "bool": bool}


@dataclass(frozen=True)
class Parameter:
    """One declared parameter.

    Attributes:
        name: as in ROS.
        type: string, double, int or bool.
        default: of that type.
        description: one sentence, with the unit.
        read_only: cannot be set while the node runs.
        bounds: lowest and highest value, both allowed, or None.
        one_of: the allowed values, or none for all.
    """

    name: str
    type: str
    default: Any
    description: str
    read_only: bool = False
    bounds: tuple[float, float] | None = None
    one_of: tuple[Any, ...] = ()

    @property
    def accepted(self) -> str:
        """What may be set, in words."""
        if self.one_of:
            return "one of " + ", ".join(str(value) for value in self.one_of)
        kind = {"string": "a string", "double": "a finite number", "int": "an integer", "bool": "true or false"}
        return kind[self.type] + (f" from {self.bounds[0]} to {self.bounds[1]}" if self.bounds else "")

    def check(self, value: Any) -> None:
        """Raise `Refused` unless the value may be set."""
        good = type(value) is _TYPES[self.type]
        good = good and not (self.type == "double" and not math.isfinite(value))
        good = good and not (self.bounds and not self.bounds[0] <= value <= self.bounds[1])
        if not good or (self.one_of and value not in self.one_of):
            raise Refused(f"parameter {self.name} is {value!r}; expected {self.accepted}")

    def descriptor(self) -> ParameterDescriptor:
        """Return what tools such as `ros2 param describe` show."""
        described = ParameterDescriptor(
            name=self.name,
            description=self.description,
            read_only=self.read_only,
            # Types are checked here: rclpy would answer "expected '3' got '4'".
            dynamic_typing=True,
            additional_constraints=self.accepted,
        )
        if self.bounds:
            low, high = self.bounds
            if self.type == "double":
                described.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
            else:
                described.integer_range = [IntegerRange(from_value=low, to_value=high)]
        return described


@cache
def declared(node: str) -> tuple[Parameter, ...]:
    """Return the parameters of `config/NODE.yaml`, in its order."""
    table = yaml.safe_load(config_file(f"{node}.yaml").read_text(encoding="utf-8"))[node]
    return tuple(_parameter(name, entry) for name, entry in table.items())


def _parameter(name: str, entry: dict[str, Any]) -> Parameter:
    validation = entry.get("validation", {})
    bounds = validation.get("bounds<>")
    parameter = Parameter(
        name=name,
        type=entry["type"],
        default=entry["default_value"],
        description=" ".join(entry["description"].split()),
        read_only=entry.get("read_only", False),
        bounds=(bounds[0], bounds[1]) if bounds else None,
        one_of=tuple(validation.get("one_of<>", [()])[0]),
    )
    parameter.check(parameter.default)
    return parameter


class Parameters[S]:
    """A node's parameters as a settings object that is replaced as a whole when one changes.

    Args:
        node: the node that declares them.
        name: of the file in `config/`.
        settings: a frozen dataclass whose fields are the file's parameters; its `__post_init__`
            may refuse combinations.
        changed: called with the new settings after a change.

    Raises:
        Refused: a value from the command line or a parameter file that cannot be used.
    """

    def __init__(self, node: Node, name: str, settings: type[S], changed: Callable[[S], None] | None = None):
        self._changed = changed
        self._table = {parameter.name: parameter for parameter in declared(name)}
        names = [field.name for field in fields(settings)]
        if names != list(self._table):
            raise TypeError(f"{settings.__name__} has the fields {names}; config/{name}.yaml {list(self._table)}")
        self.value: S = settings(**{key: self._declare(node, parameter) for key, parameter in self._table.items()})
        node.add_on_set_parameters_callback(self._set)

    def _declare(self, node: Node, parameter: Parameter) -> Any:
        try:
            value = node.declare_parameter(parameter.name, parameter.default, parameter.descriptor()).value
        except InvalidParameterValueException as error:
            raise Refused(f"{error}; expected {parameter.accepted}") from error
        parameter.check(value)
        return value

    def _set(self, changes: list[RosParameter]) -> SetParametersResult:
        known = [change for change in changes if change.name in self._table]
        if not known:
            return SetParametersResult(successful=True)
        try:
            for change in known:
                self._table[change.name].check(change.value)
            settings = type(self.value)(**asdict(self.value) | {change.name: change.value for change in known})
        except Refused as refusal:
            return SetParametersResult(successful=False, reason=str(refusal))
        self.value = settings
        if self._changed:
            self._changed(settings)
        return SetParametersResult(successful=True)


def markdown_table(node: str) -> str:
    """Return the README's table of a node's parameters."""
    rows = ["| parameter | type | default | accepted | |", "|---|---|---|---|---|"]
    for parameter in declared(node):
        default = f'"{parameter.default}"' if parameter.type == "string" else str(parameter.default).lower()
        fixed = " Read-only." if parameter.read_only else ""
        rows.append(
            f"| `{parameter.name}` | {parameter.type} | {default} | {parameter.accepted} "
            f"| {parameter.description}{fixed} |"
        )
    return "\n".join(rows)
