"""Whether the camera moved: how the background shifts through a clip."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

_SIDE = 480  # pixels: frames are reduced to this longer side
_CORNERS = 200
_FEWEST = 12  # followed corners, below which nothing can be told
_MARGIN = 9  # pixels about the masks that are left out: their edges drag corners along


def camera_motion(video: UInt8[np.ndarray, "t h w 3"], masked: Bool[np.ndarray, "t h w"] | None = None) -> float:
    """Return the farthest that any corner of the picture is carried by the background, as share of the diagonal.

    Corners of the first frame outside of the masks are followed into every other frame (Lucas-Kanade, both
    ways), and a similarity is fitted to them by RANSAC. nan where too few can be followed to tell, such as
    before a plain background.

    Args:
        video: RGB.
        masked: where interactor and object are; None if nothing is known of them.
    """
    factor = min(1.0, _SIDE / max(video.shape[1:3]))
    size = round(video.shape[2] * factor), round(video.shape[1] * factor)
    greys = [cv2.cvtColor(cv2.resize(one, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY) for one in video]
    outside = [_outside(None if masked is None else one, size) for one in (video[..., 0] if masked is None else masked)]
    corners = cv2.goodFeaturesToTrack(greys[0], _CORNERS, 0.01, 5, mask=outside[0])
    if corners is None or len(corners) < _FEWEST:
        return float("nan")
    rim = np.array([[0, 0], [size[0], 0], [0, size[1]], size], np.float32)
    diagonal = float(np.hypot(*size))
    worst, told = 0.0, False
    for grey, free in zip(greys[1:], outside[1:], strict=True):
        found, ahead, _ = cv2.calcOpticalFlowPyrLK(greys[0], grey, corners, None)
        back, behind, _ = cv2.calcOpticalFlowPyrLK(grey, greys[0], found, None)
        places = found[:, 0].round().astype(int).clip(0, np.array(size) - 1)
        good = (ahead[:, 0] > 0) & (behind[:, 0] > 0) & (np.linalg.norm(back - corners, axis=2)[:, 0] < 1)
        good &= free[places[:, 1], places[:, 0]] > 0
        if good.sum() < _FEWEST:
            continue
        cv2.setRNGSeed(0)  # RANSAC draws from OpenCV's global generator
        matrix, _ = cv2.estimateAffinePartial2D(corners[good], found[good], ransacReprojThreshold=1.5)
        if matrix is not None:
            told = True
            worst = max(worst, float(np.linalg.norm(rim @ matrix[:, :2].T + matrix[:, 2] - rim, axis=1).max()))
    return worst / diagonal if told else float("nan")


def _outside(mask: Bool[np.ndarray, "h w"] | None, size: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2"]:
    if mask is None:
        return np.full(size[::-1], 255, np.uint8)
    small = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    return 255 * (cv2.dilate(small, np.ones((2 * _MARGIN + 1,) * 2, np.uint8)) == 0).astype(np.uint8)
