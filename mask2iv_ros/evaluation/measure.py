"""Measures a checkpoint on held-out clips, with every baseline in the same run."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from mask2iv_ros.data.clips import Clip
from mask2iv_ros.evaluation.baselines import NearestClip, linear_translation, repeat_first
from mask2iv_ros.evaluation.metrics import foreground, interval, mean_iou, psnr
from mask2iv_ros.generator.imagine import Imaginer
from mask2iv_ros.masks import Role
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory

Row = dict[str, float]


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


def measure(imaginer: Imaginer, test: list[Clip], train: list[Clip], seed: int = 0) -> list[Measured]:
    """Imagine every test clip, chained and on true masks, and compare with truth and baselines.

    Frame 0 is given and never scored. Rollout i uses the seed `seed` + i.
    """
    nearest = NearestClip(train)
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
            "stage 2, true masks": guided.video,
            "stage 2, stage 1's masks": chained.video,
            "repeat first frame": still.video,
            "nearest training clip, by true masks": by_trajectory.video,
            "nearest training clip, by goal": by_goal.video,
        }
        labels = {
            "stage 1": chained.trajectory.labels,
            "static masks": still.labels,
            "nearest training clip, by goal": by_goal.labels,
            "linear translation": linear_translation(clip),
        }
        figures: dict[str, Row] = {method: _frames(video, clip) for method, video in videos.items()}
        figures["stage 2, stage 1's masks"]["seconds"] = seconds
        for method, masks in labels.items():
            figures.setdefault(method, {}).update(_masks(masks, clip))
        measured.append(Measured(clip, chained, guided, figures, videos, labels))
    return measured


def summarise(measured: list[Measured]) -> dict[str, dict[str, dict[str, tuple[float, float, float]]]]:
    """Return mean and 95 % interval by task ("all" among them), method and figure."""
    tasks = ["all", *sorted({one.clip.task for one in measured})]
    summary: dict = {}
    for task in tasks:
        rows = [one.figures for one in measured if task in ("all", one.clip.task)]
        summary[task] = {
            method: {name: interval([row[method][name] for row in rows]) for name in rows[0][method]}
            for method in rows[0]
        }
    return summary


def _frames(video: np.ndarray, clip: Clip) -> Row:
    return {
        "psnr": psnr(video[1:], clip.video[1:]),
        "psnr_foreground": psnr(video[1:], clip.video[1:], foreground(clip.labels)[1:]),
    }


def _masks(labels: np.ndarray, clip: Clip) -> Row:
    return {
        "iou_interactor": mean_iou(labels[1:], clip.labels[1:], Role.INTERACTOR),
        "iou_object": mean_iou(labels[1:], clip.labels[1:], Role.OBJECT),
        "iou_object_last": mean_iou(labels[-1:], clip.labels[-1:], Role.OBJECT),
    }
