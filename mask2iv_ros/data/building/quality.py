"""What is wrong with a clip's masks: flicker, jumps of area, a mask that goes over to another thing, and the rest."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from mask2iv_ros.data.building.camera import camera_motion
from mask2iv_ros.data.building.drop import Drop
from mask2iv_ros.data.motion import motion_score
from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role, iou

_ROLES = (Role.INTERACTOR, Role.OBJECT)
_SIDE = 256  # pixels: flow is estimated on frames reduced to this longer side
_BINS = 8  # a side of the colour histograms


@dataclass(frozen=True)
class Quality:
    """What a clip must be to be kept. A share or factor that nothing can fail (0, or 1 for `largest`) asks nothing.

    Attributes:
        consistency: least IoU of a role's mask with the one before it carried along by optical flow, mean over time.
        jump: largest factor by which a role's area may change from a frame to the next in which it is seen.
        swap: least share of a role's pixels that come from its own pixels of the frame before, by flow or by
            colour; below, the mask has gone over to another thing.
        unseen: largest share of the frames in which a role may be out of sight.
        smallest: fewest pixels of the object where it begins and where it ends.
        largest: largest share of the picture that a role may fill.
        moves: least motion score (`data.motion`): the way of interactor and object in shares of the picture's diagonal.
        camera: farthest that the background may shift, in shares of the picture's diagonal.
    """

    consistency: float = 0.4
    jump: float = 5.0
    swap: float = 0.1
    unseen: float = 0.6
    smallest: int = 8
    largest: float = 0.7
    moves: float = 0.02
    camera: float = 0.03

    def __post_init__(self) -> None:
        for field in fields(self):
            value, most = getattr(self, field.name), 1.0
            if field.name in ("jump", "smallest"):
                most = float("inf")
            if not (np.isfinite(value) and 0 <= value <= most):
                raise Refused(f"quality.{field.name} is {value}; expected a number from 0 to {most:g}")
        if 0 < self.jump <= 1:
            raise Refused(f"quality.jump is {self.jump}; expected a factor above 1, or 0 to allow any")


@dataclass(frozen=True)
class Figures:
    """What was measured of a clip's masks; nan where a role is not there.

    Attributes:
        consistency: interactor's and object's, see `Quality`.
        jump: largest factor between the areas of a frame and the next in which the role is seen.
        own: least share of a role's pixels that come from itself.
        unseen: share of the frames.
        largest: largest share of the picture.
        ends: pixels of the object in the first frame and in the last.
        moves: motion score.
        camera: shift of the background; nan where it cannot be told.
    """

    consistency: tuple[float, float]
    jump: tuple[float, float]
    own: tuple[float, float]
    unseen: tuple[float, float]
    largest: tuple[float, float]
    ends: tuple[int, int]
    moves: float
    camera: float

    def scores(self) -> dict[str, float]:
        """Return the figures between 0 and 1 that a dataset keeps beside a clip."""
        named = {
            "consistency_interactor": self.consistency[0],
            "consistency_object": self.consistency[1],
        }
        return {name: round(value, 4) for name, value in named.items() if np.isfinite(value)}


def measure(video: UInt8[np.ndarray, "t h w 3"], labels: UInt8[np.ndarray, "t h w"]) -> Figures:
    """Measure a clip's masks.

    Args:
        video: RGB.
        labels: one `Role` per pixel and frame.
    """
    factor = min(1.0, _SIDE / max(video.shape[1:3]))
    size = max(8, round(video.shape[2] * factor)), max(8, round(video.shape[1] * factor))
    frames = [cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in video]
    small = np.stack([cv2.resize(one, size, interpolation=cv2.INTER_NEAREST) for one in labels])
    flows = _flows(frames)
    per_role = [_of_role(frames, small == role, flows) for role in _ROLES]
    shares = np.stack([(labels == role).mean((1, 2)) for role in _ROLES])  # 2 t
    return Figures(
        consistency=tuple(one[0] for one in per_role),
        jump=tuple(_jump(row) for row in shares),
        own=tuple(one[1] for one in per_role),
        unseen=tuple(float((row == 0).mean()) for row in shares),
        largest=tuple(float(row.max()) for row in shares),
        ends=tuple(int((labels[end] == Role.OBJECT).sum()) for end in (0, -1)),
        moves=motion_score(labels),
        camera=camera_motion(video, np.isin(labels, _ROLES)),
    )


def judge(found: Figures, asked: Quality) -> Drop | None:
    """Return why a clip is to be dropped, None if it is good. The camera is judged first: what moves it moves all."""
    if found.camera > asked.camera:
        return Drop("moving camera", f"the background shifts by {found.camera:.3f} (at most {asked.camera:g})")
    if min(found.ends) < max(1, asked.smallest):
        end = "begins" if found.ends[0] < max(1, asked.smallest) else "ends"
        return Drop(
            "object too small or unseen",
            f"the object {end} with {min(found.ends)} pixels (at least {max(1, asked.smallest)})",
        )
    for place, role in enumerate(_ROLES):
        name = role.name.lower()
        checks = (
            (
                "out of sight",
                found.unseen[place] > asked.unseen,
                "is out of sight in",
                found.unseen[place],
                f"of the frames (at most {asked.unseen:g})",
            ),
            (
                "fills the picture",
                found.largest[place] > asked.largest,
                "fills",
                found.largest[place],
                f"of the picture (at most {asked.largest:g})",
            ),
            (
                "area jumps",
                0 < asked.jump < found.jump[place],
                "changes its area by a factor of",
                found.jump[place],
                f"between frames (at most {asked.jump:g})",
            ),
            (
                "identity swap",
                found.own[place] < asked.swap,
                "goes over to another thing: only",
                found.own[place],
                f"of its pixels come from itself (at least {asked.swap:g})",
            ),
            (
                "flickers",
                found.consistency[place] < asked.consistency,
                "flickers: consistency",
                found.consistency[place],
                f"(at least {asked.consistency:g})",
            ),
        )
        for kind, failed, verb, value, accepted in checks:
            if failed:
                return Drop(f"{name} {kind}", f"the {name} {verb} {value:.2f} {accepted}")
    if found.moves < asked.moves:
        return Drop("nothing moves", f"motion score {found.moves:.4f} (at least {asked.moves:g})")
    return None


def _flows(frames: list[UInt8[np.ndarray, "h w 3"]]) -> list[Float32[np.ndarray, "h w 2"]]:
    """Return, per step, where each pixel of the later frame comes from."""
    greys = [cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in frames]
    # The coarser preset's patches are larger than small pictures.
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return [flow.calc(later, earlier, None) for earlier, later in pairwise(greys)]


def _of_role(
    frames: list[UInt8[np.ndarray, "h w 3"]],
    masks: Bool[np.ndarray, "t h w"],
    flows: list[Float32[np.ndarray, "h w 2"]],
) -> tuple[float, float]:
    """Return a role's consistency and the least share of its pixels that come from itself."""
    rows, columns = np.indices(masks.shape[1:], dtype=np.float32)
    likeness, own = [], []
    for one, other in pairwise(np.flatnonzero(masks.any((1, 2)))):
        before, after = masks[one], masks[other]
        by_flow = 0.0
        if other == one + 1:
            came = columns + flows[one][..., 0], rows + flows[one][..., 1]
            carried = cv2.remap(before.astype(np.uint8), *came, cv2.INTER_NEAREST) > 0
            likeness.append(iou(carried, after))
            by_flow = float((carried & after).sum() / after.sum())
        # What comes back into sight is told by its colours alone.
        own.append(max(by_flow, _same_colours(frames[one], before, frames[other], after)))
    return float(np.mean(likeness)) if likeness else float("nan"), min(own, default=float("nan"))


def _same_colours(
    first: UInt8[np.ndarray, "h w 3"],
    one: Bool[np.ndarray, "h w"],
    second: UInt8[np.ndarray, "h w 3"],
    other: Bool[np.ndarray, "h w"],
) -> float:
    """Return the share of the colours under two masks that they have in common."""
    histograms = []
    for image, mask in ((first, one), (second, other)):
        found = cv2.calcHist([image], [0, 1, 2], mask.astype(np.uint8), [_BINS] * 3, [0, 256] * 3)
        histograms.append(found / mask.sum())
    return float(np.minimum(*histograms).sum())


def _jump(areas: Float64[np.ndarray, " t"]) -> float:
    """Return the largest factor between the areas of frames in which a role is seen, one after the other."""
    seen = areas[areas > 0]
    if len(seen) < 2:
        return float("nan")
    ratio = seen[1:] / seen[:-1]
    return float(np.maximum(ratio, 1 / ratio).max())
