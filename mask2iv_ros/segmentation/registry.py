"""Segmentation back ends by name."""

from __future__ import annotations

from importlib import import_module

from mask2iv_ros.errors import Refused
from mask2iv_ros.segmentation.base import Segmenter

# Imported only when asked for: a back end may need libraries that others do without.
_BACK_ENDS = {
    "external": "mask2iv_ros.segmentation.external:External",
    "grabcut": "mask2iv_ros.segmentation.grabcut:GrabCut",
}


def names() -> tuple[str, ...]:
    """Return the names that `create` takes."""
    return tuple(_BACK_ENDS)


def create(name: str) -> Segmenter:
    """Make a back end.

    Raises:
        Refused: the name is not registered.
    """
    if name not in _BACK_ENDS:
        raise Refused(f"segmentation back end is {name!r}; accepted are {', '.join(names())}")
    module, cls = _BACK_ENDS[name].split(":")
    return getattr(import_module(module), cls)()
