"""Arm and object of a frame as one label map: the interface and its back ends."""

from mask2iv_ros.segmentation.base import Prompt, Segmentation, Segmenter
from mask2iv_ros.segmentation.registry import create, names

__all__ = ["Prompt", "Segmentation", "Segmenter", "create", "names"]
