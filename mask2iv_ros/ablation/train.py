"""Trains the rows: the code that trains every stage 2, from random weights, each run once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

import torch

from mask2iv_ros.ablation.plan import Ablation, Run
from mask2iv_ros.ablation.workers import Job, Tick, Workers
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator import checkpoint as checkpoints
from mask2iv_ros.training.latents import encode_dataset
from mask2iv_ros.training.origin import hash_stage, hashed
from mask2iv_ros.training.run import train_stage
from mask2iv_ros.training.state import changed_settings, check_origin

LEARNED_FROM = ("train", "validation")


def train_runs(plan: Ablation, workers: Workers) -> None:
    """Train what is not trained yet; what was killed on the way goes on.

    The datasets' latents are encoded first, here, as workers would all encode the same.

    Raises:
        Refused: a run was begun with other settings, base or data, a folder cannot be written to, or see
            `train_stage`.
    """
    origin = _encoded(plan)
    for run in plan.runs:
        _check(run, origin)
    missing = [run for run in plan.runs if not is_trained(run)]
    steps = plan.experiment.optimiser.steps
    workers.work_off([Job(_train, (plan, run), steps) for run in missing], "training", "step")


def is_trained(run: Run) -> bool:
    """Say whether a run's checkpoint has its stage."""
    folder = run.folder / "checkpoint"
    return (folder / "config.json").exists() and "video" in checkpoints.read_config(folder).stages


def _encoded(plan: Ablation) -> dict[str, str]:
    """Encode what is learned from, and return a hash of all that the runs begin from."""
    asked = plan.experiment.data
    parts = checkpoints.load(plan.base, torch.device("cpu"), stages=())
    origin = {"base": hash_stage(plan.base, None)}
    for split in LEARNED_FROM:
        dataset = LabelledDataset.open(plan.data / split)
        encode_dataset(
            dataset, parts.autoencoder, parts.text_encoder, parts.image_encoder, asked.size, "cpu", asked.windows.every
        )
        origin[split] = hashed([(one.digest, one.task) for one in dataset.episodes])
    return origin


def _check(run: Run, origin: Mapping[str, str]) -> None:
    """Let a run go on only with what it began with; write that down for one that has not begun."""
    path, asked = run.folder / "run.json", run.experiment.as_dict()
    if not path.exists():
        try:
            run.folder.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_text(json.dumps({"experiment": asked, "origin": origin}, indent=1) + "\n")
            os.replace(part, path)
        except OSError as error:
            raise Refused(f"{run.folder} cannot be written ({error.strerror}); expected a folder with room") from error
        return
    try:
        found = json.loads(path.read_text())
        before, began = found["experiment"], dict(found["origin"])
        changed = changed_settings(before, asked)
        # A training may be made longer; a row of a comparison may not.
        if before["optimiser"]["steps"] != asked["optimiser"]["steps"]:
            changed = f"optimiser.steps was {before['optimiser']['steps']} and is {asked['optimiser']['steps']}"
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Refused(f"{path} does not describe a run ({error!r}); remove {run.folder}") from error
    if changed:
        raise Refused(f"{run.folder} was trained with other settings ({changed}); expected the same, or another --out")
    check_origin(run.folder, began, origin)


def _train(plan: Ablation, run: Run, tick: Tick) -> None:
    with run.alone():
        if is_trained(run):
            return
        train_stage(
            run.experiment,
            plan.data / "train",
            plan.base,
            run.folder / "checkpoint",
            run.folder / "training",
            plan.data / "validation",
            device=plan.device,
            on_step=tick,
        )
