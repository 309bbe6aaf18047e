"""Measures every run on the same held-out clips, with true masks, and reads what was measured."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from mask2iv_ros.ablation.compare import Row
from mask2iv_ros.ablation.plan import Ablation, Run
from mask2iv_ros.ablation.workers import Job, Tick, Workers
from mask2iv_ros.data.clips import Clip, load_clips
from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.metrics import frame_figures, regions
from mask2iv_ros.evaluation.networks import Networks
from mask2iv_ros.evaluation.weights import default_folder
from mask2iv_ros.generator import checkpoint as checkpoints
from mask2iv_ros.generator.checkpoint import Checkpoint
from mask2iv_ros.generator.coding import Coder
from mask2iv_ros.generator.framing import Framing
from mask2iv_ros.scene import Scene
from mask2iv_ros.training.order import generator_at
from mask2iv_ros.training.origin import hashed

SPLIT = "test"
_LEARNED = ("lpips", "fvd")  # figures that need a network; the paper's ablation has no other


@dataclass(frozen=True)
class Results:
    """What was measured.

    Attributes:
        clips: the truth.
        rows: by variant.
        truth: features of the true videos; None: not measured.
        absent: by figure that was not measured, why.
        shown: numbers of the clips whose videos are kept, the first of every task.
        videos: by variant, of the first seed, what was made of them.
    """

    clips: Sequence[Clip]
    rows: Mapping[str, Row]
    truth: Float64[np.ndarray, "n d"] | None
    absent: Mapping[str, str]
    shown: Sequence[int]
    videos: Mapping[str, UInt8[np.ndarray, "k t h w 3"]]


@lru_cache(maxsize=1)
def held_out_clips(data: Path, per_task: int | None, size: tuple[int, int]) -> list[Clip]:
    """Return the clips to measure on, at the size that is trained on; the latest are kept."""
    return [_framed(clip, size) for clip in load_clips(data, SPLIT, per_task)]


def measure_runs(plan: Ablation, workers: Workers) -> Results:
    """Measure what has not been measured so, in processes, and return everything.

    A run is measured anew where clips, metrics' weights or its checkpoint are others than they were.

    Raises:
        Refused: there are no test clips, they are of another length than was trained on, or metrics' weights are
            damaged.
    """
    clips = _clips(plan)
    frames = plan.experiment.data.windows.frames
    if len(clips[0].video) != frames:
        raise Refused(
            f"test clips in {plan.data} have {len(clips[0].video)} frames; expected {frames}, as is trained on"
        )
    absent, shown = _absent(clips), _shown(clips)
    told = hashed([[clip.id for clip in clips], [int(clip.video.sum()) for clip in clips], absent])
    jobs = [
        Job(_measure, (plan, run, _key(run, told), tuple(absent), tuple(shown) if run.seed == 0 else ()), len(clips))
        for run in plan.runs
        if not _is_measured(run.folder, _key(run, told))
    ]
    truth = plan.out / "truth"
    if "fvd" not in absent and not _is_measured(truth, told):
        jobs.insert(0, Job(_measure_truth, (plan, truth, told), len(clips)))
    workers.work_off(jobs, "measuring", "clip")
    return Results(
        clips,
        {name: _row([run for run in plan.runs if run.variant == name]) for name in plan.variants},
        None if "fvd" in absent else load_file(truth / "features.safetensors")["features"],
        absent,
        shown,
        {run.variant: load_file(run.folder / "shown.safetensors")["videos"] for run in plan.runs if run.seed == 0},
    )


def imagine(
    checkpoint: Checkpoint, coder: Coder, clip: Clip, seed: int, number: int, device: torch.device
) -> UInt8[np.ndarray, "t h w 3"]:
    """Return what stage 2 makes of a clip's first frame and of as much of its true masks as it is told.

    Args:
        checkpoint: with the stage "video".
        coder: of the checkpoint.
        clip: at the checkpoint's size.
        seed: of the noise, with the clip's number: every row starts from the same.
        number: of the clip.
        device: of the checkpoint.
    """
    about, stage = checkpoint.config.stages["video"], checkpoint.stages["video"]
    code = coder.scene(Scene(clip.video[0], clip.labels[0]))
    masks = coder.trajectory(clip.labels, about.masks)
    generator = generator_at(seed, number)

    def noise(_: int = 0) -> torch.Tensor:
        return torch.randn(masks.shape, generator=generator).to(device)

    condition = coder.condition(code, masks, [""], code.image)
    latent = stage.sample(code.first.unsqueeze(2), condition, noise(), about.sampling, step_noise=noise)
    return coder.decode(latent)[0]


def _framed(clip: Clip, size: tuple[int, int]) -> Clip:
    framing = Framing(clip.video.shape[1:3], size)
    return replace(
        clip,
        video=np.stack([framing.image(frame) for frame in clip.video]),
        labels=np.stack([framing.labels(frame) for frame in clip.labels]),
        goal_mask=framing.labels(clip.goal_mask.astype(np.uint8)) > 0,
    )


def _clips(plan: Ablation) -> list[Clip]:
    return held_out_clips(plan.data, plan.clips, plan.experiment.data.size)


def _shown(clips: Sequence[Clip]) -> list[int]:
    first: dict[str, int] = {}
    for number, clip in enumerate(clips):
        first.setdefault(clip.task, number)
    return list(first.values())


def _absent(clips: Sequence[Clip]) -> dict[str, str]:
    """Return which figures cannot be measured, and why."""
    missing = Networks.load(default_folder()).missing(clips[0].labels.shape)
    if len(clips) < 2:
        missing.setdefault("fvd", "not measured: a distance of sets needs at least 2 clips")
    return {figure: missing[figure] for figure in _LEARNED if figure in missing}


def _key(run: Run, told: str) -> str:
    return hashed([told, json.loads((run.folder / "checkpoint" / "config.json").read_text())])


def _is_measured(folder: Path, key: str) -> bool:
    try:
        return json.loads((folder / "figures.json").read_text())["key"] == key
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _device(plan: Ablation) -> torch.device:
    return torch.device("cuda" if plan.device != "cpu" and torch.cuda.is_available() else "cpu")


def _measure(plan: Ablation, run: Run, key: str, absent: Sequence[str], shown: Sequence[int], tick: Tick) -> None:
    with run.alone():
        if _is_measured(run.folder, key):
            return
        device = _device(plan)
        checkpoint = checkpoints.load(run.folder / "checkpoint", device, stages=("video",))
        coder, networks = Coder(checkpoint, device), Networks.load(default_folder(), device=device)
        rows, features, kept = [], [], []
        for number, clip in enumerate(_clips(plan)):
            video = imagine(checkpoint, coder, clip, run.seed, number, device)
            row = frame_figures(video, clip.video, regions(clip.labels))
            if "lpips" not in absent:
                (row["lpips"],) = networks.lpips([video[1:]], clip.video[1:])
            if "fvd" not in absent:
                features.append(networks.features(video))
            if number in shown:
                kept.append(video)
            rows.append(row)
            tick(number + 1)
        figures = {name: [_json(row[name]) for row in rows] for name in rows[0]}
        tensors = {"features.safetensors": {"features": features}, "shown.safetensors": {"videos": kept}}
        _write(run.folder, key, figures, tensors)


def _measure_truth(plan: Ablation, folder: Path, key: str, tick: Tick) -> None:
    networks, features = Networks.load(default_folder(), device=_device(plan)), []
    for number, clip in enumerate(_clips(plan)):
        features.append(networks.features(clip.video))
        tick(number + 1)
    folder.mkdir(exist_ok=True)
    _write(folder, key, {}, {"features.safetensors": {"features": features}})


def _write(
    folder: Path, key: str, figures: Mapping[str, list], tensors: Mapping[str, Mapping[str, list[np.ndarray]]]
) -> None:
    """Write what was measured; figures.json last, which says that the rest is there."""
    try:
        for name, lists in tensors.items():
            part = folder / f"{name}.part"
            # safetensors writes memory as it lies, and a decoded video's axes do not lie in their order.
            save_file({what: np.ascontiguousarray(np.stack(one)) for what, one in lists.items() if one}, part)
            os.replace(part, folder / name)
        part = folder / "figures.json.part"
        part.write_text(json.dumps({"key": key, "figures": figures}, allow_nan=False) + "\n")
        os.replace(part, folder / "figures.json")
    except (OSError, SafetensorError) as error:
        raise Refused(f"{folder} cannot be written ({error}); expected a folder with room") from error


def _row(runs: Sequence[Run]) -> Row:
    told = [json.loads((run.folder / "figures.json").read_text())["figures"] for run in runs]
    features = [load_file(run.folder / "features.safetensors").get("features") for run in runs]
    return Row(
        {name: np.array([one[name] for one in told], dtype=np.float64) for name in told[0]},
        None if features[0] is None else np.stack(features),
    )


def _json(value: float) -> float | None:
    """JSON knows no NaN."""
    return None if np.isnan(value) else value
