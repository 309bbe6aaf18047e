"""Arm and object as label maps, of a frame or through a video: the interface and its back ends."""

from mask2iv_ros.segmentation.base import Box, Finder, Prompt, Segmentation, Segmenter, Track
from mask2iv_ros.segmentation.registry import create, names

__all__ = ["Box", "Finder", "Prompt", "Segmentation", "Segmenter", "Track", "create", "names"]
