"""Draws goals where the object can plausibly go; every draw follows from a seed and a name alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import Delaunay, QhullError

from mask2iv_ros.errors import Refused
from mask2iv_ros.imagining.ground import Ground, Shown, centroid, is_clear
from mask2iv_ros.masks import iou, move_mask

MOVES, PLACES, EPISODES = "moves", "places", "episodes"
KINDS = (MOVES, PLACES, EPISODES)

_TRIES = 64
_TURN = np.deg2rad(15)  # most that a shown move is turned
_STRETCH = 0.15  # most that it is made longer or shorter
_JITTER = 0.02  # in widths of the picture: how far from a place that was shown
_NEAREST = 10  # percentile of the shown moves' lengths; a goal is no nearer
_SAME = 0.5  # IoU of goal and start from which they are nearly one
_MARGIN = 0.015  # in widths of the picture, from its border
_BEYOND = 0.1  # in widths of the picture: a goal is no farther from a shown place unless it is between some


class NoGoal(Exception):
    """There is no plausible goal; the message is the reason."""


def rng_of(*names: object) -> np.random.Generator:
    """Return a generator that follows from these names."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(repr(names).encode()).digest()))


@dataclass(frozen=True)
class GoalSampler:
    """Draws goals on what a dataset shows.

    Attributes:
        ground: what it shows.
        seed: of all draws.
    """

    ground: Ground
    seed: int

    def draw(
        self, kind: str, number: int, place: str, shown: Shown, start: Bool[np.ndarray, "h w"]
    ) -> Bool[np.ndarray, "h w"]:
        """Return a goal mask; the same for the same arguments.

        Args:
            kind: one of `KINDS`.
            number: of the goals of this kind for this frame; each is another draw.
            place: name of the frame.
            shown: its episode.
            start: the object in the frame.

        Raises:
            NoGoal: none was found.
        """
        if kind == EPISODES:
            return self._of_another(number, place, shown, start)
        rng = rng_of(self.seed, place, kind, number)
        # Over the numbers every move comes once before one comes twice.
        order = rng_of(self.seed, place, kind).permutation(len(self._pool(kind, shown)))
        reason = f"no episode of {shown.act!r} shows a move"
        for attempt in range(_TRIES if len(order) else 0):
            index = order[number % len(order)] if not attempt else rng.choice(order)
            move = self._move(kind, index, rng, shown, centroid(start))
            if move is None:
                reason = "the place is nearer to the object, or farther from it, than it was seen to go"
                continue
            if not self._is_known(centroid(start) + move, shown):
                reason = "the object was never near that place"
                continue
            try:
                goal = self._moved(move, shown, start)
                self.require_plausible(goal, start)
            except NoGoal as error:
                reason = str(error)
                continue
            return goal
        raise NoGoal(f"no goal of {kind} in {_TRIES} tries; the last: {reason}")

    def require_plausible(self, goal: Bool[np.ndarray, "h w"], start: Bool[np.ndarray, "h w"]) -> None:
        """Check that an object could be brought there, as far as masks say.

        Raises:
            NoGoal: the goal touches the picture's border, or is nearly where the object is.
        """
        margin = max(1, round(_MARGIN * goal.shape[1]))
        if not is_clear(goal, margin):
            raise NoGoal(f"the goal is within {margin} pixels of the picture's border")
        if (both := iou(goal, start)) >= _SAME:
            raise NoGoal(f"the goal is nearly where the object is (IoU {both:.2f}, expected below {_SAME})")

    def _pool(self, kind: str, shown: Shown) -> Float[np.ndarray, "n 2"]:
        return self.ground.moves(shown.act) if kind == MOVES else self.ground.places(shown.act)

    def _move(
        self, kind: str, index: int, rng: np.random.Generator, shown: Shown, here: Float[np.ndarray, "2"]
    ) -> Float[np.ndarray, "2"] | None:
        """Return how far the object goes (x, y); None if that is too little or too much."""
        pool = self._pool(kind, shown)
        if kind == MOVES:
            turn, stretch = rng.uniform(-_TURN, _TURN), rng.uniform(1 - _STRETCH, 1 + _STRETCH)
            cos, sin = np.cos(turn), np.sin(turn)
            return stretch * np.array([[cos, -sin], [sin, cos]]) @ pool[index]
        jitter = rng.normal(0, _JITTER * width_of(shown), 2)
        there = pool[index] + jitter
        if rng.random() < 0.5:
            there = _within(pool, rng, there)
        least, most = self._distances(shown)
        if not least <= np.hypot(*(there - here)) <= most:
            return None
        return there - here

    def _distances(self, shown: Shown) -> tuple[float, float]:
        """Return how far an object went at least and at most in the episodes of an act, in pixels."""
        lengths = np.hypot(*self.ground.moves(shown.act).T)
        return (float(np.percentile(lengths, _NEAREST)), float(lengths.max())) if len(lengths) else (0.0, np.inf)

    def _is_known(self, there: Float[np.ndarray, "2"], shown: Shown) -> bool:
        """Return whether a point is near a shown place, or between some: elsewhere may be no table."""
        places = self.ground.places(shown.act)
        if np.hypot(*(places - there).T).min() <= _BEYOND * width_of(shown):
            return True
        triangles = _hull(places)
        return triangles is not None and bool(triangles.find_simplex(there) >= 0)

    def _moved(
        self, move: Float[np.ndarray, "2"], shown: Shown, start: Bool[np.ndarray, "h w"]
    ) -> Bool[np.ndarray, "h w"]:
        """Return the object's shape moved, as large as it would be there."""
        growth, there = self.ground.growth, centroid(start) + move
        shape = start
        # The arm hides part of the object in many a frame, and a goal shows the whole: the fuller mask is its shape.
        if shown.goal is not None and _log_area(shown.goal, growth) > _log_area(start, growth):
            shape = shown.goal
        here = centroid(shape)
        scale = float(np.clip(np.exp(growth * (there[1] - here[1]) / 2), 0.5, 2))
        try:
            return move_mask(shape, *(there - here), scale=scale)
        except Refused as error:
            raise NoGoal("the goal is outside of the picture") from error

    def _of_another(
        self, number: int, place: str, shown: Shown, start: Bool[np.ndarray, "h w"]
    ) -> Bool[np.ndarray, "h w"]:
        found, here = [], centroid(start)
        least, _ = self._distances(shown)
        others = [one for one in self.ground.of(shown.act) if one.episode != shown.episode and one.goal is not None]
        for index in rng_of(self.seed, place, EPISODES).permutation(len(others)):
            goal = others[index].goal
            if np.hypot(*(centroid(goal) - here)) < least:
                continue
            try:
                self.require_plausible(goal, start)
            except NoGoal:
                continue
            found.append(goal)
        if number >= len(found):
            raise NoGoal(f"{len(found)} other episodes of {shown.act!r} have a goal that is plausible from here")
        return found[number]


def width_of(shown: Shown) -> int:
    """Return the width of an episode's pictures."""
    return next(mask.shape[1] for mask in (shown.start, shown.goal) if mask is not None)


def _log_area(mask: Bool[np.ndarray, "h w"], growth: float) -> float:
    """Return the logarithm of a mask's area as it would be in the first row."""
    return float(np.log(np.count_nonzero(mask)) - growth * centroid(mask)[1])


def _within(
    places: Float[np.ndarray, "n 2"], rng: np.random.Generator, otherwise: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "2"]:
    """Return a point drawn evenly from the convex hull of places; `otherwise` if they have none."""
    triangles = _hull(places)
    if triangles is None:
        return otherwise
    corners = places[triangles.simplices]
    (ax, ay), (bx, by) = ((corners[:, side] - corners[:, 0]).T for side in (1, 2))
    areas = np.abs(ax * by - ay * bx)
    chosen = corners[rng.choice(len(corners), p=areas / areas.sum())]
    return rng.dirichlet(np.ones(3)) @ chosen


def _hull(places: Float[np.ndarray, "n 2"]) -> Delaunay | None:
    """Return what is between places; None where they are too few, or on a line."""
    try:
        return Delaunay(places)
    except (QhullError, ValueError):
        return None
