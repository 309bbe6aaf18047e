import numpy as np
import pytest

from mask2iv_ros.data.clips import Clip


def square_clip(seed: int, row: int = 8, column: int = 12, shift: int = 4) -> Clip:
    """A thing of 6 x 6 pixels that moves `shift` pixels right a frame, behind an arm that rests."""
    labels = np.zeros((4, 32, 48), np.uint8)
    labels[:, 4:28, 1:6] = 1
    for frame in range(4):
        left = column + shift * frame
        labels[frame, row : row + 6, left : left + 6] = 2
    video = np.random.default_rng(seed).integers(0, 256, (4, 32, 48, 3), np.uint8)
    return Clip(video, labels, labels[-1] == 2, "slide", seed, "slide it", 8.0)


@pytest.fixture
def clip() -> Clip:
    return square_clip(0)
