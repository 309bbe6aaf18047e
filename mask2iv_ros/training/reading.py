"""Reads frozen dataclasses of settings from YAML: no key unknown, no value of another kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Literal, get_args, get_origin, get_type_hints

import yaml

from mask2iv_ros.errors import Refused

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def read_settings[Settings](kind: type[Settings], path: Path, changes: Sequence[str] = ()) -> Settings:
    """Read a YAML file into a dataclass; dataclasses inside it are mappings inside the file.

    Args:
        kind: a dataclass whose fields are numbers, texts, tuples, literals, dataclasses or None.
        path: of the file.
        changes: "key=value" or "key.inner=value", the value in YAML; each takes a key's place.

    Raises:
        Refused: the file cannot be read, a key is unknown or missing, a value is of another kind
            or out of range.
    """
    try:
        told = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Refused(f"{path} cannot be read as YAML ({' '.join(str(error).split())[:200]})") from error
    for change in changes:
        told = _changed(told, change)
    try:
        return _build(kind, told, "")
    except Refused as refusal:
        raise Refused(f"{path}: {refusal}") from refusal


def _changed(told: object, change: str) -> object:
    place, equals, value = change.partition("=")
    if not equals or not place:
        raise Refused(f"change {change!r} is not understood; expected KEY=VALUE, such as optimiser.rate=1e-4")
    try:
        value = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise Refused(f"change {change!r} has no YAML value after its =") from error
    *outer, last = place.split(".")
    inner = told
    for key in outer:
        if isinstance(inner, dict) and inner.get(key, None) is None:
            inner[key] = {}
        inner = inner[key] if isinstance(inner, dict) else None
    if not isinstance(inner, dict):
        raise Refused(f"change {change!r} names a key inside of a value; expected one of a mapping")
    inner[last] = value
    return told


def _build(kind: object, value: object, place: str) -> object:
    if is_dataclass(kind):
        return _build_dataclass(kind, value, place)
    if isinstance(kind, UnionType):
        if value is None and NoneType in get_args(kind):
            return None
        (kind,) = (option for option in get_args(kind) if option is not NoneType)
        return _build(kind, value, place)
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise Refused(f"{place} is {value!r}; accepted are {', '.join(get_args(kind))}")
        return value
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        if not isinstance(value, list | tuple) or (inner[-1] is not Ellipsis and len(value) != len(inner)):
            count = "a list" if inner[-1] is Ellipsis else f"a list of {len(inner)}"
            raise Refused(f"{place} is {value!r}; expected {count}")
        return tuple(_build(inner[0], item, f"{place}[{index}]") for index, item in enumerate(value))
    if kind is float:
        value = _number(value)
    # A bool is an int to Python, and a rate of "true" is a slip.
    if type(value) is not kind:
        raise Refused(f"{place} is {value!r}; expected {_WORDS[kind]}")
    return value


def _build_dataclass(kind: type, value: object, place: str) -> object:
    known = {field.name: field for field in fields(kind)}
    if not isinstance(value, dict):
        raise Refused(f"{place or 'the file'} is {value!r}; expected a mapping with some of {', '.join(known)}")
    prefix = f"{place}." if place else ""
    for name in value:
        if name not in known:
            raise Refused(f"{prefix}{name} is unknown; accepted are {', '.join(prefix + key for key in known)}")
    for name, field in known.items():
        if name not in value and field.default is MISSING and field.default_factory is MISSING:
            raise Refused(f"{prefix}{name} is missing; expected a value")
    hints = get_type_hints(kind)
    built = {name: _build(hints[name], item, prefix + name) for name, item in value.items()}
    try:
        return kind(**built)
    except Refused as refusal:
        raise Refused(f"{prefix}{refusal}" if place else str(refusal)) from refusal


def _number(value: object) -> object:
    """Return an int, or what YAML took for a text (it reads 1e-5 as one), as a float where it is a number."""
    if isinstance(value, int | str) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            return value
    return value
