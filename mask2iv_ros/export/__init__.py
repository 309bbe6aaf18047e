"""Rollouts to a LeRobot v3 dataset, and back to what is known of them.

Light to import: LeRobot itself is imported by the first append.
"""

from mask2iv_ros.export.estimate import Estimate
from mask2iv_ros.export.provenance import Provenance, read_provenance
from mask2iv_ros.export.robot import RobotColumns
from mask2iv_ros.export.schema import ExportSettings, goal_from_frame, labels_from_frame
from mask2iv_ros.export.writer import DatasetWriter

__all__ = [
    "DatasetWriter",
    "Estimate",
    "ExportSettings",
    "Provenance",
    "RobotColumns",
    "goal_from_frame",
    "labels_from_frame",
    "read_provenance",
]
