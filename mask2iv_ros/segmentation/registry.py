"""Segmentation back ends by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from math import isfinite
from typing import Any

from mask2iv_ros.errors import Refused
from mask2iv_ros.segmentation.base import Segmenter

# Imported only when asked for: a back end may need libraries that others do without.
_BACK_ENDS = {
    "external": "mask2iv_ros.segmentation.external:External",
    "grabcut": "mask2iv_ros.segmentation.grabcut:GrabCut",
    "sam2": "mask2iv_ros.segmentation.sam2:Sam2",
    "grounded_sam2": "mask2iv_ros.segmentation.grounded_sam2:GroundedSam2",
    "sam3": "mask2iv_ros.segmentation.sam3:Sam3",
}


def names() -> tuple[str, ...]:
    """Return the names that `create` takes."""
    return tuple(_BACK_ENDS)


def create(name: str, settings: Mapping[str, Any] | None = None) -> Segmenter:
    """Make a back end.

    Args:
        name: one of `names()`.
        settings: values that differ from the defaults of the back end's settings, by field name:
            weights (a path or a hub id), device, precision, ...

    Raises:
        Refused: the name is not registered, or a setting that the back end does not have or take.
    """
    if name not in _BACK_ENDS:
        raise Refused(f"segmentation back end is {name!r}; accepted are {', '.join(names())}")
    module, attribute = _BACK_ENDS[name].split(":")
    back_end = getattr(import_module(module), attribute)
    accepted = {field.name: field.default for field in fields(back_end.Settings)}
    chosen = dict(settings or {})
    for key, value in chosen.items():
        if key not in accepted:
            raise Refused(
                f"segmentation back end {name!r} has no setting {key!r}; "
                + (f"accepted are {', '.join(accepted)}" if accepted else "it has none")
            )
        chosen[key] = _of_kind(value, accepted[key], f"setting {key!r} of segmentation back end {name!r}")
    return back_end(back_end.Settings(**chosen))


def _of_kind(value: Any, default: Any, what: str) -> Any:
    """Return a value that is of its default's kind, a list as a tuple: values come from command lines and files.

    Raises:
        Refused: it is of another kind.
    """
    if isinstance(default, tuple):
        if isinstance(value, list | tuple):
            return tuple(_of_kind(one, default[0], f"a number of {what}") for one in value)
        raise Refused(f"{what} is {value!r}; expected a list of numbers")
    for kind, takes, words in (
        (str, str, "a text"),
        (int, int, "a whole number"),
        (float, (int, float), "a finite number"),
    ):
        if isinstance(default, kind) and (
            not isinstance(value, takes)
            or isinstance(value, bool)
            or (isinstance(value, float) and not isfinite(value))
        ):
            raise Refused(f"{what} is {value!r}; expected {words}")
    return value
