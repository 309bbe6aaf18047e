"""What a build holds to from its first run on: found once, from some episodes of the source."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mask2iv_ros.data.building.rate import clip_rate, pace
from mask2iv_ros.data.building.settings import BuildSettings
from mask2iv_ros.data.sources.base import Source, SourceEpisode
from mask2iv_ros.errors import Refused

_PROBED = 8  # episodes, spread evenly, from which the rate of the clips follows


@dataclass(frozen=True)
class Plan:
    """What follows from the settings and the source.

    Attributes:
        fps: of the clips.
        why: the rate is this, in words.
        size: (height, width) of the clips' frames.
        state: names of the columns; none where the source has no state.
        action: names of the columns; none where the source has no action.
        least_motion: motion score below which a clip is among those that move least; 0 where none are sought.
    """

    fps: int
    why: str
    size: tuple[int, int]
    state: tuple[str, ...]
    action: tuple[str, ...]
    least_motion: float = 0.0

    @classmethod
    def make(cls, source: Source, settings: BuildSettings) -> Plan:
        """Look at some episodes.

        Raises:
            Refused: none of the source's episodes can be read, or it is too slow.
        """
        told: dict[str, Any] = {}
        paces = []
        # One at a time: a decoded video may be gigabytes.
        for one in _probe(source, settings, 1 if settings.fps else _PROBED):
            told = told or {
                "size": settings.size or one.frames.shape[1:3],
                "state": column_names("state", one.state, one.state_names),
                "action": column_names("action", one.action, one.action_names),
            }
            paces.append(None if settings.fps else pace(one))
        if settings.fps:
            return cls(settings.fps, "as asked for", **told)
        fps, why = clip_rate([one for one in paces if one is not None], settings.frames)
        return cls(fps, why, **told)


def column_names(kind: str, values: np.ndarray | None, names: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the names of a state's or an action's columns; numbered where the source has none."""
    return names or tuple(f"{kind}_{index}" for index in range(0 if values is None else values.shape[1]))


def read_plan(path: Path, settings: BuildSettings) -> Plan | None:
    """Return the plan of the run that began a folder, None if none did.

    Raises:
        Refused: it was begun with other settings, or the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        told = json.loads(path.read_text())
        before, plan = told["settings"], told["plan"]
        found = Plan(**{key: tuple(value) if isinstance(value, list) else value for key, value in plan.items()})
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise Refused(f"{path} cannot be read ({error}); build into another folder") from error
    wanted = _plain(settings.facts())
    for key in sorted(before.keys() | wanted.keys()):
        if before.get(key) != wanted.get(key):
            raise Refused(
                f"{settings.out} was begun with {key} {_short(before.get(key))} and {_short(wanted.get(key))} is "
                "wanted; build into another folder"
            )
    return found


def write_plan(path: Path, settings: BuildSettings, plan: Plan) -> None:
    """Keep a plan for later runs; in one step."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"settings": settings.facts(), "plan": asdict(plan)}, indent=1))
    part.replace(path)


def _probe(source: Source, settings: BuildSettings, wanted: int) -> Iterator[SourceEpisode]:
    """Yield some of the episodes that can be read, spread evenly; where none of these can, the first that can."""
    ids, refusal, found = source.ids(), None, False
    spread = np.unique(np.linspace(0, len(ids) - 1, min(wanted, len(ids))).round().astype(int)).tolist()
    for places in (spread, range(len(ids))):
        for place in places:
            try:
                one = _first_seen(source, ids[place], settings.cameras)
            except Refused as error:
                refusal = error
                continue
            found = True
            yield one
            if places is not spread:
                return
        if found:
            return
    if refusal is None:
        raise Refused("the source has no episode; expected at least one")
    raise Refused(f"none of the source's {len(ids)} episodes can be read; the last: {refusal}") from refusal


def _first_seen(source: Source, episode: str, cameras: tuple[str, ...]) -> SourceEpisode:
    """Return an episode as the first of the cameras saw it that did."""
    for camera in cameras[:-1]:
        with contextlib.suppress(Refused):
            return source.read(episode, camera)
    return source.read(episode, cameras[-1])


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _short(value: Any) -> str:
    return json.dumps(value)[:120]
