"""Measures a checkpoint on held-out clips, with every baseline in the same run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from mask2iv_ros.data.clips import Clip
from mask2iv_ros.evaluation.baselines import linear_translation, repeat_first
from mask2iv_ros.evaluation.metrics import Row, frame_figures, interval, mask_figures, regions
from mask2iv_ros.evaluation.nearest import NearestClip
from mask2iv_ros.evaluation.networks import Networks
from mask2iv_ros.evaluation.video_distance import Distances, video_distances
from mask2iv_ros.generator.imagine import Imaginer
from mask2iv_ros.generator.paste import paste_and_move
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory

GUIDED, CHAINED = "stage 2, true masks", "stage 2, stage 1's masks"
Summary = dict[str, dict[str, dict[str, tuple[float, float, float] | str]]]


@dataclass(frozen=True)
class Measured:
    """One clip's figures.

    Attributes:
        clip: the truth.
        chained: the rollout of both stages.
        guided: the rollout of stage 2 on true masks.
        figures: by method, then by figure.
        videos: the frames of each method that makes frames, generator and baselines.
        labels: the masks of each method that makes masks.
    """

    clip: Clip
    chained: Rollout
    guided: Rollout
    figures: dict[str, Row]
    videos: dict[str, UInt8[np.ndarray, "t h w 3"]]
    labels: dict[str, UInt8[np.ndarray, "t h w"]]


def measure(
    imaginer: Imaginer, test: Sequence[Clip], train: Sequence[Clip], seed: int = 0, networks: Networks | None = None
) -> list[Measured]:
    """Imagine every test clip, chained and on true masks, and compare with truth and baselines.

    Frame 0 is given and never scored. Rollout i uses the seed `seed` + i.

    Args:
        imaginer: the checkpoint.
        test: what is measured on.
        train: where the nearest clips are looked for.
        seed: of the noise.
        networks: for the learned figures; those whose network is missing are left out.
    """
    networks, nearest = networks or Networks(), NearestClip(train)
    measured = []
    for index, clip in enumerate(tqdm(test, desc="imagining", unit="clip", mininterval=5)):
        scene, goal = Scene(clip.video[0], clip.labels[0]), Goal(clip.goal_mask, clip.instruction)
        begin = time.perf_counter()
        chained = imaginer.imagine(scene, goal, seed=seed + index, rollout_id=f"{clip.task}-{clip.seed}")
        seconds = time.perf_counter() - begin
        truth = Trajectory(clip.labels, "edited")
        guided = imaginer.imagine(
            scene, goal, seed=seed + index, rollout_id=f"{clip.task}-{clip.seed}-true-masks", trajectory=truth
        )
        by_goal, by_trajectory, still = nearest.by_goal(clip), nearest.by_trajectory(clip), repeat_first(clip)
        videos = {
            GUIDED: guided.video,
            CHAINED: chained.video,
            "repeat first frame": still.video,
            "nearest training clip, by true masks": by_trajectory.video,
            "nearest training clip, by goal": by_goal.video,
            "paste and move, by true masks": paste_and_move(clip.video[0], clip.labels),
        }
        labels = {
            "stage 1": chained.trajectory.labels,
            "static masks": still.labels,
            "nearest training clip, by goal": by_goal.labels,
            "linear translation": linear_translation(clip),
        }
        where = regions(clip.labels)
        figures = {method: frame_figures(video, clip.video, where) for method, video in videos.items()}
        for figure, values in _learned(networks, clip, list(videos.values())).items():
            for method, value in zip(videos, values, strict=True):
                figures[method][figure] = value
        figures[CHAINED]["seconds"] = seconds
        for method, masks in labels.items():
            figures.setdefault(method, {}).update(mask_figures(masks, clip.labels, clip.goal_mask))
        measured.append(Measured(clip, chained, guided, figures, videos, labels))
    return measured


def distances(measured: Sequence[Measured], networks: Networks, seed: int = 0) -> Distances:
    """Return FVD by task ("all" among them) and method; nothing where it cannot be measured.

    Args:
        measured: of every clip.
        networks: as `measure` had them.
        seed: of the bootstrap.
    """
    if networks.features is None or "fvd" in networks.missing(measured[0].clip.labels.shape):
        return {}
    return video_distances([(one.clip.task, one.clip.video, one.videos) for one in measured], networks.features, seed)


def summarise(
    measured: Sequence[Measured], distances: Distances | None = None, missing: Mapping[str, str] | None = None
) -> Summary:
    """Return mean and 95 % interval by task ("all" among them), method and figure.

    Args:
        measured: of every clip.
        distances: FVD by task and method.
        missing: figures of frames that were not measured, and why; every method of frames says so.
    """
    summary: Summary = {}
    for task in ["all", *sorted({one.clip.task for one in measured})]:
        rows = [one.figures for one in measured if task in ("all", one.clip.task)]
        summary[task] = {}
        for method in rows[0]:
            of_method = {name: interval([row[method][name] for row in rows]) for name in rows[0][method]}
            if method in measured[0].videos:
                found = (distances or {}).get(task, {}).get(method)
                if found is not None:
                    of_method["fvd"] = found if isinstance(found, str) else found.interval
                of_method |= missing or {}
            summary[task][method] = of_method
    return summary


def _learned(networks: Networks, clip: Clip, videos: Sequence[UInt8[np.ndarray, "t h w 3"]]) -> dict[str, list[float]]:
    """Return the figures of the networks that there are, a value for each video, frame 0 left out."""
    found: dict[str, list[float]] = {}
    missing = networks.missing(clip.labels.shape)
    if networks.lpips and "lpips" not in missing:
        found["lpips"] = networks.lpips([video[1:] for video in videos], clip.video[1:])
    if model := networks.clip:
        true, made = model.frames(clip.video[1:]), [model.frames(video[1:]) for video in videos]
        found["video_similarity"] = [model.to_video(one, true) for one in made]
        told = bool(clip.instruction.strip())
        found["text_similarity"] = [model.to_text(one, clip.instruction) if told else float("nan") for one in made]
    return found
