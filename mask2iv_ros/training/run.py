"""A whole training: dataset to latents, base to stage, stage to checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator

from mask2iv_ros.data.clips import require_training_clips
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator import checkpoint as checkpoints
from mask2iv_ros.generator.checkpoint import Checkpoint
from mask2iv_ros.generator.checkpoint_config import CheckpointConfig, StageConfig
from mask2iv_ros.generator.parts import find, hash_part
from mask2iv_ros.training.batch import Batcher
from mask2iv_ros.training.build import begin, check_fit, source_of
from mask2iv_ros.training.experiment import Experiment
from mask2iv_ros.training.latents import LatentEpisodes, encode_dataset
from mask2iv_ros.training.loop import OnStep, Trainer, accelerator_for
from mask2iv_ros.training.memory import enough_memory
from mask2iv_ros.training.origin import hash_stage, hashed
from mask2iv_ros.training.pasted import encode_pasted
from mask2iv_ros.training.trajectories import Trajectories, folder_beside
from mask2iv_ros.training.windows import LatentWindows


def train_stage(
    experiment: Experiment,
    data: Path,
    base: str | Path,
    out: Path,
    work: Path,
    validation: Path | None = None,
    camera: str | None = None,
    device: str = "auto",
    dtype: torch.dtype = torch.float16,
    trajectories: Path | None = None,
    on_step: OnStep | None = None,
) -> None:
    """Train a stage and add it to a checkpoint; a killed training goes on from its work folder (`loop`).

    Only with the base, dataset and camera that it began with; a dataset that is copied meanwhile must keep the
    times of its files, by which one video is told from another.

    Args:
        experiment: see `Experiment`.
        data: a LeRobot v3 dataset with a label image per frame.
        base: checkpoint, by folder, name or hub id, that gives encoders and, unless the experiment
            has a network of its own, weights to begin with.
        out: folder of the checkpoint that gets the stage; made from the base's encoders, before
            the training begins, where it does not exist.
        work: for states, curves and sample videos.
        validation: another dataset, held out; without one a share of `data`'s episodes is.
        camera: whose frames and labels, where a dataset has several.
        device: "auto" or "cpu".
        dtype: of the weights in the checkpoint.
        trajectories: folder of those that stage 1 sampled, where the experiment tells stage 2 such; the one
            beside `data` by default.
        on_step: told the steps done, in place of a progress bar; what it raises ends the training.

    Raises:
        Refused: dataset, base, experiment, `out` and `work` do not fit together, the dataset has clips that are held
            out of training, memory is too small, or the training diverged.
    """
    require_training_clips(data)
    accelerator = accelerator_for(experiment, device)
    with enough_memory(experiment, accelerator.device):
        source = source_of(experiment, checkpoints.read_config(base))
        parts = checkpoints.load(base, accelerator.device, stages=() if source is None else (source,))
        check_fit(experiment, parts, source)
        datasets = [LabelledDataset.open(root, camera) for root in (data, validation) if root is not None]
        strides, frames = experiment.data.windows.strides, experiment.data.windows.frames
        fps = float(max(1, datasets[0].fps // min(strides)))
        config = CheckpointConfig(name=out.name, frames=frames, size=experiment.data.size, fps=fps, stages={})
        if accelerator.is_main_process:
            _make(out, base, config)
        learned, held_out = _latents(experiment, parts, datasets, accelerator)
        windows = LatentWindows(learned, experiment.data.windows, _trajectories(experiment, trajectories, learned))
        held_out = LatentWindows(held_out, experiment.data.windows)
        if experiment.origin == "pasted":
            for dataset, some in ((datasets[0], windows), (datasets[-1], held_out)):
                with accelerator.main_process_first():
                    some.pasted = encode_pasted(dataset, some, parts.autoencoder, accelerator.device)
        scale = None
        if experiment.change and source is None:
            scale = windows.change_scale("masks" if experiment.stage == "trajectory" else "video")
        beginning = begin(experiment, parts, source, scale, accelerator.device)
        batcher = Batcher(experiment, parts.autoencoder, learned.no_text, learned.no_image, accelerator.device)
        del parts  # and with it the encoders' memory: from here on their work is on the disk
        trainer = Trainer(
            beginning.stage,
            windows,
            held_out,
            batcher,
            experiment,
            beginning.sampling,
            work,
            accelerator,
            beginning.undecayed,
            _origin(base, source, datasets[0].camera, windows),
        )
        stage = trainer.run(progress=on_step is None, on_step=on_step)
        if not accelerator.is_main_process:
            return
        if beginning.adapters is not None:
            beginning.adapters.save(work / "adapter")
            beginning.adapters.merge()
        _make(out, base, config)
        told = None if stage.scale is None else tuple(stage.scale.tolist())
        about = StageConfig(
            stage.schedule, beginning.sampling, experiment.conditions, told, experiment.masks, experiment.origin
        )
        checkpoints.add_stage(out, experiment.stage, stage, about, dtype)


def _make(out: Path, base: str | Path, config: CheckpointConfig) -> None:
    """Make the checkpoint that gets the stage, where there is none.

    Before the training too, so that what would fail afterwards fails before hours are lost. One that a failed
    training left, without stages, does not hold another training to that one's settings.

    Raises:
        Refused: there is one that the stage does not fit into.
    """
    keep = True
    if out.exists():
        found, source = checkpoints.read_config(out), find(base)
        _check_shared(out, source)
        if not found.stages and not out.samefile(source):
            keep = found == config
        elif (found.frames, found.size) != (config.frames, config.size):
            raise Refused(
                f"{out} makes {found.frames} frames of {found.size} and the experiment {config.frames} of "
                f"{config.size}; expected the same"
            )
    checkpoints.derive(out, base, config, keep=keep)


def _check_shared(out: Path, source: Path) -> None:
    """Refuse a checkpoint whose autoencoder or encoders are not the base's."""
    for part in checkpoints.SHARED:
        folders = [folder / part for folder in (source, out)]
        present = [folder.exists() for folder in folders]
        if present[0] != present[1] or (all(present) and len({hash_part(folder) for folder in folders}) > 1):
            raise Refused(f"{out} has another {part} than base {str(source)!r}; expected one checkpoint to share them")


def _origin(base: str | Path, source: str | None, camera: str, windows: LatentWindows) -> dict[str, str]:
    """Return what the training begins from, hashed where it is large (see `State`)."""
    episodes = [(one.digest, one.task) for one in windows.latents.episodes]
    sampled = {} if windows.trajectories is None else {"trajectories": windows.trajectories.digest}
    return {"base": hash_stage(base, source), "camera": camera, "dataset": hashed(episodes)} | sampled


def _trajectories(experiment: Experiment, folder: Path | None, learned: LatentEpisodes) -> Trajectories | None:
    """Return the trajectories that stage 2 is told, None if it is told true ones alone.

    Raises:
        Refused: they are not there, or given and not asked for.
    """
    asked = experiment.perturbation
    if asked is None or not asked.sampled:
        if folder is not None:
            raise Refused(f"trajectories {str(folder)!r} are given and perturbation.sampled is 0; expected a share")
        return None
    return Trajectories.open(
        folder or folder_beside(learned.root), learned, experiment.data.windows.frames, asked.agreement
    )


def _latents(
    experiment: Experiment,
    parts: Checkpoint,
    datasets: Sequence[LabelledDataset],
    accelerator: Accelerator,
) -> tuple[LatentEpisodes, LatentEpisodes]:
    """Return the episodes to learn from and those to validate on, encoded."""
    encoded = []
    for dataset in datasets:
        with accelerator.main_process_first():
            encoded.append(
                encode_dataset(
                    dataset,
                    parts.autoencoder,
                    parts.text_encoder,
                    parts.image_encoder,
                    experiment.data.size,
                    accelerator.device,
                    experiment.data.windows.every,
                )
            )
    return tuple(encoded) if len(encoded) > 1 else hold_out(encoded[0], experiment.data.held_out)


def hold_out(latents: LatentEpisodes, share: float) -> tuple[LatentEpisodes, LatentEpisodes]:
    """Split episodes into those to learn from and a share, at least one, spread evenly over the dataset.

    Raises:
        Refused: there is but one episode.
    """
    count = len(latents.episodes)
    if count < 2:
        raise Refused(f"{latents.root} has 1 episode; expected 2, one of them held out, or a dataset for --validation")
    kept_back = min(count - 1, max(1, round(share * count)))
    chosen = {(2 * place + 1) * count // (2 * kept_back) for place in range(kept_back)}
    learned, held_out = (
        replace(latents, episodes=tuple(one for index, one in enumerate(latents.episodes) if (index in chosen) == held))
        for held in (False, True)
    )
    return learned, held_out
