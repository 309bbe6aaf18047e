"""A whole training: dataset to latents, base to stage, stage to checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator

from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator import checkpoint as checkpoints
from mask2iv_ros.generator.checkpoint import Checkpoint, CheckpointConfig, StageConfig
from mask2iv_ros.generator.parts import find, hash_part
from mask2iv_ros.training.batch import Batcher
from mask2iv_ros.training.build import begin, check_fit, source_of
from mask2iv_ros.training.experiment import Experiment
from mask2iv_ros.training.latents import LatentEpisodes, encode_dataset
from mask2iv_ros.training.loop import Trainer, accelerator_for
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
) -> None:
    """Train a stage and add it to a checkpoint; a killed training goes on from its work folder.

    Args:
        experiment: see `Experiment`.
        data: a LeRobot v3 dataset with a label image per frame.
        base: checkpoint, by folder, name or hub id, that gives encoders and, unless the experiment
            has a network of its own, weights to begin with.
        out: folder of the checkpoint that gets the stage; made from the base's encoders where it
            does not exist.
        work: for states, curves and sample videos.
        validation: another dataset, held out; without one a share of `data`'s episodes is.
        camera: whose frames and labels, where a dataset has several.
        device: "auto" or "cpu".
        dtype: of the weights in the checkpoint.

    Raises:
        Refused: dataset, base, experiment, `out` and `work` do not fit together.
    """
    accelerator = accelerator_for(experiment, device)
    source = source_of(experiment, checkpoints.read_config(base))
    if out.exists():
        _check_grown(out, base, experiment)
    parts = checkpoints.load(base, accelerator.device, stages=() if source is None else (source,))
    check_fit(experiment, parts, source)
    learned, held_out = _latents(experiment, parts, data, validation, camera, accelerator)
    windows, held_out = (LatentWindows(one, experiment.data.windows) for one in (learned, held_out))
    scale = windows.change_scale("masks" if experiment.stage == "trajectory" else "video")
    beginning = begin(experiment, parts, source, scale, accelerator.device)
    batcher = Batcher(experiment, parts.autoencoder, learned.no_text, learned.no_image, accelerator.device)
    config = CheckpointConfig(
        name=out.name,
        frames=experiment.data.windows.frames,
        size=experiment.data.size,
        fps=float(max(1, learned.fps // min(experiment.data.windows.strides))),
        stages={},
    )
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
    )
    stage = trainer.run()
    if not accelerator.is_main_process:
        return
    if beginning.adapters is not None:
        beginning.adapters.save(work / "adapter")
        beginning.adapters.merge()
    if not out.exists():
        checkpoints.derive(out, base, config)
    told = None if stage.scale is None else tuple(stage.scale.tolist())
    about = StageConfig(stage.schedule, beginning.sampling, experiment.conditions, told)
    checkpoints.add_stage(out, experiment.stage, stage, about, dtype)


def _latents(
    experiment: Experiment,
    parts: Checkpoint,
    data: Path,
    validation: Path | None,
    camera: str | None,
    accelerator: Accelerator,
) -> tuple[LatentEpisodes, LatentEpisodes]:
    """Return the episodes to learn from and those to validate on, encoded."""
    encoded = []
    for root in (data, validation):
        if root is not None:
            dataset = LabelledDataset.open(root, camera)
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
    return tuple(encoded) if validation is not None else hold_out(encoded[0], experiment.data.held_out)


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


def _check_grown(out: Path, base: str | Path, experiment: Experiment) -> None:
    """Refuse a checkpoint that the stage does not fit into, before hours are lost."""
    config = checkpoints.read_config(out)
    made, asked = (config.frames, config.size), (experiment.data.windows.frames, experiment.data.size)
    if made != asked:
        raise Refused(
            f"{out} makes {made[0]} frames of {made[1]} and the experiment {asked[0]} of {asked[1]}; expected the same"
        )
    source = find(base)
    for part in checkpoints.SHARED:
        folders = [folder / part for folder in (source, out)]
        present = [folder.exists() for folder in folders]
        if present[0] != present[1] or (all(present) and len({hash_part(folder) for folder in folders}) > 1):
            raise Refused(f"{out} has another {part} than base {str(base)!r}; expected one checkpoint to share them")
