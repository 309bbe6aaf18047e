"""Trains a labeller from demonstrations, calibrates it, measures it and writes it with its report.

Three kinds of episodes: those the network learns from, those that set slopes, deviations and the gate, and those that
all figures are of. Minutes on one core, so a killed training begins anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from mask2iv_ros.actions.demonstrations import (
    LEAST_TRAINED,
    Demonstration,
    open_demonstrations,
    read_demonstrations,
)
from mask2iv_ros.actions.estimate import Answers, estimate
from mask2iv_ros.actions.fit import fit
from mask2iv_ros.actions.gate import make_gate
from mask2iv_ros.actions.labeller import Labeller
from mask2iv_ros.actions.measure import Measured
from mask2iv_ros.actions.report import Findings, write_report
from mask2iv_ros.actions.scale import Scale
from mask2iv_ros.actions.settings import LabellerExperiment
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused


@dataclass(frozen=True)
class Split:
    """Episodes by what they are for.

    Attributes:
        learned: the network learns from them.
        calibrating: set slopes, deviations and the gate.
        measured: all figures are of them.
    """

    learned: list[Demonstration]
    calibrating: list[Demonstration]
    measured: list[Demonstration]


def train_labeller(
    experiment: LabellerExperiment,
    data: Path,
    out: Path,
    validation: Path | None = None,
    *,
    state: bool = False,
    compare_masks: bool = False,
    camera: str | None = None,
    base: str | Path | None = None,
) -> Findings:
    """Train a labeller into a new folder, with a report.

    Args:
        experiment: see `LabellerExperiment`.
        data: demonstrations with actions.
        out: folder of the labeller, which must not exist, or be empty.
        validation: another dataset of the same robot, held out; without one a share of `data`'s episodes is.
        state: the labeller estimates the states, too.
        compare_masks: train a second network without masks and measure it, too.
        camera: whose frames and labels, where a dataset has several.
        base: a labeller to go on from, a folder or the package's own by its name: of the same robot at the same rate,
            whatever its camera. One that has seen more of the robot needs fewer demonstrations.

    Returns:
        What the report tells.

    Raises:
        Refused: a dataset cannot be read, has no actions or too few episodes, the two differ, all actions are constant
            or one is not finite, states are asked for and there are none, `base` is of another
            robot, rate or network or is to be compared without masks, `out` is taken or cannot be written, or the
            loss is no longer finite.
    """
    out = out.absolute()
    _require_free(out)
    dataset = open_demonstrations(data, camera)
    start = None if base is None else _open_base(base, experiment, dataset, compare_masks)
    if state and not dataset.settings.state:
        raise Refused(f"{data} has no observation.state to learn; expected one that has, or a training without --state")
    split = _split(experiment, dataset, validation, camera)
    actions = Scale.of([one.action for one in split.learned])
    states = Scale.of([one.state for one in split.learned])
    if start is not None:
        actions = actions.like(start.actions)
        states = states if start.states is None else states.like(start.states)
    if len(actions.constant) == len(actions.mean):
        names = ", ".join(dataset.settings.action)
        raise Refused(f"all columns of action are constant in {data} ({names}); expected demonstrations that move")
    work = out.with_name(f".{out.name}.part")
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        labeller, measured, answers = _train(experiment, split, dataset, actions, states, state, work, start)
        without = None
        if compare_masks:
            blind = replace(experiment, network=replace(experiment.network, masks=False))
            _, without, _ = _train(blind, split, dataset, actions, states, state, work / "without_masks")
        about = {"experiment": asdict(experiment), "episodes": {k: len(v) for k, v in vars(split).items()}}
        if start is not None:
            about["base"] = start.source
        labeller = labeller.save(work, about)
        findings = Findings(
            labeller=labeller,
            experiment=experiment,
            data=data,
            episodes=(len(split.learned), len(split.calibrating), len(split.measured)),
            action=measured,
            mean=actions.mean,
            without_masks=without,
            state=None if labeller.states is None else _measure_states(labeller, split.measured, answers),
        )
        write_report(work, findings)
        _put(work, out)
    except OSError as error:
        raise Refused(f"{out} cannot be written ({error}); expected a new folder with room") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return findings


def _train(
    experiment: LabellerExperiment,
    split: Split,
    dataset: LabelledDataset,
    actions: Scale,
    states: Scale,
    with_states: bool,
    work: Path,
    start: Labeller | None = None,
) -> tuple[Labeller, Measured, list[Answers]]:
    """Return a labeller that is not written yet, its actions of what is measured on, and its answers."""
    shown = experiment.network
    words = "labeller" if shown.masks else "without masks"
    network = fit(split.learned, actions, states, experiment, work / "curves", words, start and start.network)

    def ask(episodes: Sequence[Demonstration]) -> list[Answers]:
        return [estimate(network, shown, one.frames, one.labels) for one in episodes]

    unseen = ask(split.calibrating)
    actions = actions.calibrated(
        *(np.concatenate([getattr(one, name) for one in unseen]) for name in ("action", "action_deviation")),
        np.concatenate([one.action for one in split.calibrating]),
    )
    states = states.calibrated(
        *(np.concatenate([getattr(one, name) for one in unseen]) for name in ("state", "state_deviation")),
        np.concatenate([one.state for one in split.calibrating]),
    )
    told = [actions.estimate(one.action, one.action_deviation) for one in unseen]
    gate = make_gate(
        experiment.gate,
        [(actions.normalise(one.action), one.labels.numpy()) for one in split.learned],
        [
            (actions.normalise(value), actions.normalise_deviation(deviation), one.labels.numpy())
            for (value, deviation), one in zip(told, split.calibrating, strict=True)
        ],
    )
    labeller = Labeller(
        network,
        shown,
        dataset.settings,
        dataset.fps,
        dataset.size,
        actions,
        states if with_states else None,
        gate,
    )
    answers = ask(split.measured)
    found = [actions.estimate(one.action, one.action_deviation) for one in answers]
    values, deviations = zip(*found, strict=True)
    values, truth = [actions.limited(one) for one in values], [one.action for one in split.measured]
    return labeller, Measured(dataset.settings.action, truth, values, deviations), answers


def _open_base(
    base: str | Path, experiment: LabellerExperiment, dataset: LabelledDataset, compare_masks: bool
) -> Labeller:
    start = Labeller.load(base, "cpu")
    if compare_masks:
        raise Refused("a network without masks cannot go on from --base, so comparing would be unfair; leave one out")
    pairs = {
        "columns of action": (start.settings.action, dataset.settings.action),
        "columns of observation.state": (start.settings.state, dataset.settings.state),
        "fps": (start.fps, dataset.fps),
    }
    for name, (theirs, ours) in pairs.items():
        if theirs != ours:
            raise Refused(f"base {base} has {name} {theirs} and {dataset.root} {ours}; expected the same of both")
    if dataset.settings.state and start.states is None:
        raise Refused(
            f"base {base} was trained without --state and {dataset.root} has states; expected a base with them"
        )
    if start.shown != experiment.network:
        raise Refused(
            f"base {base} has the network {start.shown}; expected these settings and not {experiment.network}"
        )
    return start


def _measure_states(labeller: Labeller, episodes: Sequence[Demonstration], answers: Sequence[Answers]) -> Measured:
    found = [labeller.states.estimate(one.state, one.state_deviation) for one in answers]
    values, deviations = zip(*found, strict=True)
    return Measured(labeller.settings.state, [one.state for one in episodes], values, deviations)


def _split(
    experiment: LabellerExperiment, dataset: LabelledDataset, validation: Path | None, camera: str | None
) -> Split:
    """Return all episodes by what they are for: every so many in turn, so that a session's drift is in all."""
    least, size = experiment.network.chunk + 1, experiment.network.size
    there = [one.index for one in dataset.episodes if one.frames >= least]
    rest, measured = there, []
    needed = LEAST_TRAINED + 1 + (validation is None)
    if len(there) < needed:
        raise Refused(
            f"{dataset.root} has {len(there)} episodes of at least {least} frames; expected at least {needed}: "
            f"{LEAST_TRAINED} to learn from, 1 to calibrate on"
            + (" and 1 to measure on, or 1 less with --validation" if validation is None else "")
        )
    if validation is None:
        rest, measured = _apart(rest, experiment.held_out, LEAST_TRAINED + 1)
    learned, calibrating = _apart(rest, experiment.calibrated, LEAST_TRAINED)
    if validation is not None:
        other = open_demonstrations(validation, camera)
        _require_alike(dataset, other)
        held_out = read_demonstrations(other, size, [one.index for one in other.episodes], least)
        if not held_out:
            raise Refused(f"{validation} has no episode of at least {least} frames; expected one to measure on")
    else:
        held_out = read_demonstrations(dataset, size, measured, least)
    return Split(
        read_demonstrations(dataset, size, learned, least),
        read_demonstrations(dataset, size, calibrating, least),
        held_out,
    )


def _apart(episodes: list[int], share: float, least: int) -> tuple[list[int], list[int]]:
    """Return episodes without a share of them, and these: at least one, and leaving at least `least`."""
    count = max(1, min(round(share * len(episodes)), len(episodes) - least))
    chosen = {episodes[place] for place in np.linspace(0, len(episodes) - 1, count + 2).round().astype(int)[1:-1]}
    return [one for one in episodes if one not in chosen], sorted(chosen)


def _require_alike(dataset: LabelledDataset, other: LabelledDataset) -> None:
    ours, theirs = (
        {
            "the camera": one.settings.camera,
            "columns of observation.state": ", ".join(one.settings.state),
            "columns of action": ", ".join(one.settings.action),
            "fps": one.fps,
            "frames of (height, width)": one.size,
        }
        for one in (dataset, other)
    )
    for name, wanted in ours.items():
        if theirs[name] != wanted:
            raise Refused(
                f"{other.root} has {name} {theirs[name]} and {dataset.root} {wanted}; expected the same of both"
            )


def _require_free(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Refused(f"{out} is there already; expected a new folder for the labeller, or an empty one")


def _put(work: Path, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    os.replace(work, out)
