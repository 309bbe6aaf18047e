"""Estimates beside the truth, a panel a column, as one picture."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8

from mask2iv_ros.actions.measure import Measured
from mask2iv_ros.evaluation.sheet import caption_line

_SIDE, _ROOM = 300, 10  # pixels of a panel, and around its points
_COLOUR, _LINE = (31, 90, 170), (190, 190, 190)


def scatter(measured: Measured, across: int = 4) -> UInt8[np.ndarray, "h w 3"]:
    """Return a panel a column with a point an action, truth to the right and estimate up, both to one scale."""
    panels = [_panel(measured, column) for column in range(len(measured.names))]
    panels += [np.full_like(panels[0], 255)] * (-len(panels) % min(across, len(panels)))
    rows = [panels[first : first + across] for first in range(0, len(panels), across)]
    return np.concatenate([np.concatenate(row, 1) for row in rows])


def _panel(measured: Measured, column: int) -> UInt8[np.ndarray, "h w 3"]:
    truth, value = (np.concatenate([one[:, column] for one in part]) for part in (measured.truth, measured.value))
    low, high = min(truth.min(), value.min()), max(truth.max(), value.max())
    scale = (_SIDE - 2 * _ROOM) / (high - low or 1)
    panel = np.full((_SIDE, _SIDE, 3), 255, np.uint8)
    cv2.line(panel, (_ROOM, _SIDE - _ROOM), (_SIDE - _ROOM, _ROOM), _LINE, 1, cv2.LINE_AA)
    faint = panel.copy()
    for right, up in zip((truth - low) * scale, (value - low) * scale, strict=True):
        cv2.circle(faint, (_ROOM + round(right), _SIDE - _ROOM - round(up)), 2, _COLOUR, -1, cv2.LINE_AA)
    panel = cv2.addWeighted(panel, 0.4, faint, 0.6, 0)
    cv2.rectangle(panel, (0, 0), (_SIDE - 1, _SIDE - 1), _LINE, 1)
    return np.concatenate([caption_line(f"{measured.names[column]}: {low:.3g} to {high:.3g}", _SIDE), panel])
