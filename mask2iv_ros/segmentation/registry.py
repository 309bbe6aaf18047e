"""Segmentation back ends by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
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
    accepted = [field.name for field in fields(back_end.Settings)]
    for key in settings or {}:
        if key not in accepted:
            raise Refused(
                f"segmentation back end {name!r} has no setting {key!r}; "
                + (f"accepted are {', '.join(accepted)}" if accepted else "it has none")
            )
    return back_end(back_end.Settings(**(settings or {})))
