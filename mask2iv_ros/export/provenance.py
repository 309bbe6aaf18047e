"""Where an episode comes from, in columns that LeRobot carries through every edit.

Columns of `meta/episodes` that LeRobot does not know are lost when a dataset is split or
resumed, so provenance is kept as features: one value a frame, the same in all frames of an
episode. Parquet stores a repeated value once.

`mask2iv.scores` is JSON: figures by name and, beside them, the verdict in words as `verdict` and what is known of
estimated actions as `actions` (`Estimate`). Columns of their own would keep rollouts out of datasets that were begun
without, those of a robot's real episodes above all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mask2iv_ros.errors import Refused
from mask2iv_ros.export.estimate import Estimate
from mask2iv_ros.scene import Rollout

_DTYPES = {
    "imagined": "bool",
    "mask2iv.id": "string",
    "mask2iv.digest": "string",
    "mask2iv.seed": "int64",
    "mask2iv.checkpoint": "string",
    "mask2iv.scores": "string",
    "mask2iv.trajectory_edited": "bool",
    "mask2iv.source_stamp_ns": "int64",
    "mask2iv.source_frame_id": "string",
}
_VERDICT, _ACTIONS = "verdict", "actions"
PROVENANCE_FEATURES = {name: {"dtype": dtype, "shape": (1,), "names": None} for name, dtype in _DTYPES.items()}


@dataclass(frozen=True)
class Provenance:
    """What is known of one episode.

    Attributes:
        episode: its number in the dataset.
        task: its task text.
        frames: its length.
        imagined: False where a camera has seen it, true or simulated.
        id: of the rollout.
        digest: 16 hexadecimal digits over video, trajectory and goal mask as they were generated.
        seed: reproduces the rollout with this checkpoint.
        checkpoint: name and hash of the weights.
        scores: figures between 0 and 1, by name.
        verdict: "good", "doubtful: " and why, or empty where nothing judged it.
        trajectory_edited: a person or a planner gave the trajectory; otherwise stage 1 predicted it.
        source_stamp_ns: time stamp of the source frame in nanoseconds of the camera's clock.
        source_frame_id: the camera's optical frame.
        estimate: of its actions; None where they were recorded, or there are none.
    """

    episode: int
    task: str
    frames: int
    imagined: bool
    id: str
    digest: str
    seed: int
    checkpoint: str
    scores: dict[str, float]
    verdict: str
    trajectory_edited: bool
    source_stamp_ns: int
    source_frame_id: str
    estimate: Estimate | None = None


def digest(rollout: Rollout) -> str:
    """Return 16 hexadecimal digits that tell this rollout's pixels from any other's."""
    state = hashlib.sha256()
    goal = np.zeros(0, bool) if rollout.goal.mask is None else rollout.goal.mask
    for part in (rollout.video, rollout.trajectory.labels, goal):
        state.update(repr(part.shape).encode())
        state.update(np.ascontiguousarray(part).data)
    return state.hexdigest()[:16]


def provenance_columns(rollout: Rollout, imagined: bool = True, estimate: Estimate | None = None) -> dict[str, Any]:
    """Return the provenance features of every frame of this rollout."""
    return {
        "imagined": np.array([imagined]),
        "mask2iv.id": rollout.id,
        "mask2iv.digest": digest(rollout),
        "mask2iv.seed": np.array([rollout.seed], np.int64),
        "mask2iv.checkpoint": rollout.checkpoint,
        "mask2iv.scores": json.dumps(_figures(rollout, estimate)),
        "mask2iv.trajectory_edited": np.array([rollout.trajectory.source == "edited"]),
        "mask2iv.source_stamp_ns": np.array([rollout.scene.stamp_ns], np.int64),
        "mask2iv.source_frame_id": rollout.scene.frame_id,
    }


def _figures(rollout: Rollout, estimate: Estimate | None) -> dict[str, Any]:
    figures: dict[str, Any] = {name: float(value) for name, value in rollout.scores.items()}
    if rollout.verdict:
        figures[_VERDICT] = rollout.verdict
    if estimate is not None:
        figures[_ACTIONS] = estimate.told()
    return figures


def read_provenance(root: str | Path, imagined_only: bool = True) -> list[Provenance]:
    """List the imagined episodes of a dataset, or all of known origin, by episode number, with their scores.

    Reads a few columns and no image, and needs neither LeRobot nor torch: 1,000 episodes of 16
    frames take a fraction of a second. Works on merged and split datasets too. A dataset without
    columns of provenance gives an empty list.

    Raises:
        Refused: `root` is not a LeRobot v3 dataset, or what it says of an episode is not what was written.
    """
    # pyarrow takes 0.3 s to import and only readers of datasets need it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = Path(root)
    try:
        info = json.loads((root / "meta/info.json").read_text())
        total, features = info["total_episodes"], info["features"]
        tasks = pq.read_table(root / "meta/tasks.parquet").to_pydict() if total else {}
        if not PROVENANCE_FEATURES.keys() <= features.keys():
            return []
        columns = ["episode_index", "task_index", *_DTYPES]
        tables = [pq.read_table(path, columns=columns) for path in sorted(root.glob("data/*/*.parquet"))]
        # pandas writes the task text as the index of its table, under either of these names.
        texts = tasks.get("task", tasks.get("__index_level_0__", []))
        names = dict(zip(tasks.get("task_index", []), texts, strict=True))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise Refused(f"{root} cannot be read ({error}); expected a folder with a LeRobot v3 dataset") from error
    found = []
    for table in tables:
        episodes = table["episode_index"].to_numpy()
        numbers, firsts, lengths = np.unique(episodes, return_index=True, return_counts=True)
        for number, frames, row in zip(numbers, lengths, table.take(firsts).to_pylist(), strict=True):
            # Rows past the total belong to an append that was interrupted and never counted.
            if number < total and (row["imagined"] or not imagined_only):
                try:
                    found.append(_origin(row, int(number), int(frames), names))
                except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
                    reason = " ".join(str(error).split())[:200]
                    raise Refused(
                        f"what {root} says of the origin of episode {number} cannot be read ({reason}); it is corrupt"
                    ) from error
    return sorted(found, key=lambda one: one.episode)


def _origin(row: Mapping[str, Any], episode: int, frames: int, tasks: Mapping[int, str]) -> Provenance:
    own = {name.removeprefix("mask2iv."): row[name] for name in _DTYPES}
    scores = json.loads(own["scores"])
    verdict, estimate = scores.pop(_VERDICT, ""), scores.pop(_ACTIONS, None)
    if not isinstance(verdict, str):
        raise TypeError(f"the verdict is {verdict!r}")
    own["scores"] = {name: float(value) for name, value in scores.items()}
    return Provenance(
        episode=episode,
        task=tasks[row["task_index"]],
        frames=frames,
        verdict=verdict,
        estimate=None if estimate is None else Estimate.read(estimate),
        **own,
    )
