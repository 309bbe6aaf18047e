from itertools import pairwise

import cv2
import numpy as np
import pytest

from mask2iv_ros.masks import iou
from mask2iv_ros.segmentation.contour import to_lab
from mask2iv_ros.segmentation.propagation import Flow, Part, Scenery, Sight, step

TEXTURE = np.random.default_rng(0).integers(60, 180, (90, 160, 3)).astype(np.uint8)
BACKGROUND = cv2.GaussianBlur(TEXTURE, (0, 0), 3)


def disc(x: float, y: float, radius: int = 14) -> np.ndarray:
    rows, columns = np.mgrid[:90, :160]
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2


def picture(x: float, y: float, colour: tuple[int, int, int] = (190, 40, 50)) -> np.ndarray:
    frame = BACKGROUND.copy()
    frame[disc(x, y)] = colour
    return frame


def run(frames: list[np.ndarray], mask: np.ndarray) -> tuple[list[np.ndarray], list[float]]:
    scenery = Scenery.of(frames)
    part = Part(frames[0], mask, scenery)
    masks, confidences = [mask], [1.0]
    for before, frame in pairwise(frames):
        step([part], Sight(before, frame, scenery))
        masks.append(part.mask)
        confidences.append(part.confidence)
    return masks, confidences


def test_flow_carries_a_mask_to_where_it_went():
    flow = Flow(picture(50, 45), picture(56, 43))
    carried = flow.carry(disc(50, 45).astype(np.float32)) > 0.5
    assert iou(carried, disc(56, 43)) > 0.85
    assert flow.trust[45, 110] > 0.9


def test_a_fixed_camera_is_seen_and_what_moves_in_front_of_it():
    frames = [picture(20 + 6 * k, 45) for k in range(20)]
    scenery = Scenery.of(frames)
    assert scenery.trust == 1
    unlike = scenery.unlike(to_lab(frames[0]))
    assert unlike[disc(20, 45, 11)].mean() > 0.9
    assert unlike[~disc(20, 45, 18)].mean() < 0.05


def test_a_shadow_is_not_what_moves():
    frames = [BACKGROUND.copy() for _ in range(12)]
    frames[0][disc(80, 45)] = frames[0][disc(80, 45)] * 0.75
    assert Scenery.of(frames).unlike(to_lab(frames[0]))[disc(80, 45, 11)].max() < 0.3


def test_a_moving_camera_is_not_trusted():
    wide = cv2.resize(BACKGROUND, None, fx=3, fy=1)
    wide = np.clip(wide.astype(int) + np.linspace(-60, 60, wide.shape[1])[:, None].astype(int), 0, 255).astype(np.uint8)
    frames = [np.ascontiguousarray(wide[:, 15 * k : 15 * k + 160]) for k in range(20)]
    assert Scenery.of(frames).trust < 0.5


def test_a_part_is_followed_as_it_moves():
    places = [(40 + 3 * k, 45 - k) for k in range(15)]
    masks, confidences = run([picture(*p) for p in places], disc(*places[0]))
    assert min(iou(mask, disc(*place)) for mask, place in zip(masks, places, strict=True)) > 0.85
    assert min(confidences) > 0.6


def test_a_part_that_hides_is_lost_and_found_again():
    places = [(30 + 4 * k, 45) for k in range(26)]
    frames = [picture(*p) for p in places]
    for frame in frames:
        frame[:, 70:105] = (60, 70, 65)  # a pillar in front
    masks, confidences = run(frames, disc(*places[0]))
    assert confidences[14] == 0  # behind the pillar
    assert masks[14].sum() < 60
    assert iou(masks[-1], disc(*places[-1])) > 0.7
    assert confidences[-1] > 0.5


def test_parts_do_not_take_each_other():
    frames = []
    for k in range(12):
        frame = picture(40 + 4 * k, 45)
        frame[disc(110, 45)] = (180, 60, 60)  # nearly the same colour
        frames.append(frame)
    scenery = Scenery.of(frames)
    parts = [Part(frames[0], disc(40, 45), scenery), Part(frames[0], disc(110, 45), scenery)]
    for before, frame in pairwise(frames):
        step(parts, Sight(before, frame, scenery))
    assert iou(parts[0].mask, disc(84, 45)) > 0.75
    assert iou(parts[1].mask, disc(110, 45)) > 0.75


@pytest.mark.parametrize("mask", [np.zeros((90, 160), np.bool_), disc(80, 45, 2)])
def test_next_to_nothing_is_followed_without_harm(mask: np.ndarray):
    masks, confidences = run([BACKGROUND] * 4, mask)
    assert all(m.shape == mask.shape for m in masks)
    assert all(0 <= c <= 1 for c in confidences)
