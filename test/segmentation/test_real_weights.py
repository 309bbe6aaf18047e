"""With real weights, where MASK2IV_SEGMENTATION_WEIGHTS says that they are.

The variable names a folder with sam2.1_hiera_tiny.pt (or another of the sam2 package's files),
grounding-dino-tiny and sam3; what is not in it is skipped.
"""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from mask2iv_ros.masks import Role, iou
from mask2iv_ros.segmentation import Prompt, create

WEIGHTS = Path(os.environ.get("MASK2IV_SEGMENTATION_WEIGHTS", "/nowhere"))
VIDEO = Path(__file__).resolve().parents[2] / "../shared/data/real_video/hands_coffee.mp4"
DRAWN = json.loads((Path(__file__).parent / "real_video/hands_coffee.json").read_text())
pytestmark = [
    pytest.mark.skipif(not WEIGHTS.is_dir(), reason="MASK2IV_SEGMENTATION_WEIGHTS names no folder with real weights"),
    pytest.mark.skipif(not VIDEO.exists(), reason="the shared real videos are not on this machine"),
]


def needs(pattern: str) -> str:
    found = sorted(WEIGHTS.glob(pattern))
    if not found:
        pytest.skip(f"{WEIGHTS} has no {pattern}")
    return str(found[0])


@pytest.fixture(scope="module")
def coffee() -> np.ndarray:
    capture = cv2.VideoCapture(str(VIDEO))
    return np.stack([cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB) for _ in range(21)])


def mug(frame: int) -> np.ndarray:
    (outline,) = DRAWN[str(frame)]["mug"]["outlines"]
    return cv2.fillPoly(np.zeros((720, 1280), np.uint8), [np.array(outline)], 1) > 0


def test_sam2_follows_the_mug_from_one_click(coffee: np.ndarray):
    track = create("sam2", {"weights": needs("sam2*.pt")}).track(coffee, [Prompt.from_lists(2, [871], [527])])
    assert iou(track.labels[0] == Role.OBJECT, mug(0)) > 0.85
    assert iou(track.labels[20] == Role.OBJECT, mug(20)) > 0.85


@pytest.mark.parametrize("name", ["grounded_sam2", "sam3"])
def test_words_find_the_mug_and_follow_it(coffee: np.ndarray, name: str):
    if name == "sam3":
        settings = {"weights": needs("sam3")}
    else:
        settings = {"weights": needs("sam2*.pt"), "detector": needs("grounding-dino*")}
    track = create(name, settings).track(coffee, [Prompt.from_lists(2, words="a blue mug")])
    assert iou(track.labels[0] == Role.OBJECT, mug(0)) > 0.8
    assert iou(track.labels[20] == Role.OBJECT, mug(20)) > 0.8
