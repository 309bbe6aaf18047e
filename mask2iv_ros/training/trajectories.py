"""Trajectories that stage 1 samples for a dataset's windows, kept beside it: what stage 2 will be told in use.

Stage 2 is told stage 1's masks in use and true ones in training, and what it has learned to trust to the pixel
is then wrong by several. So a share of its windows (`Perturbation.sampled`) are told a trajectory that stage 1
sampled for them. The video that it shall make stays the true one. A free sample moves as it likes, and beside the
true video would teach that masks need not be followed; so sampling starts from the true trajectory, noised up
to `strength` of the schedule (`Near`): what comes out has the edges, holes and lost objects of stage 1 and the
motion of the video. What went astray nevertheless is left out by its agreement with the truth when it is read.

    <dataset>.trajectories/about.json            stage, autoencoder, camera, windows and settings that they are of
                           000012.safetensors    labels/<start>/<stride>/<draw>: t H W; masks/...: latents, c t h w

An episode's file is written whole or not at all, so a killed sampling goes on where it was. Episodes are taken in a
drawn order: of a part of the dataset, every kind of clip is there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from tqdm import tqdm

from mask2iv_ros.data.labelled import EpisodeInfo, LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator import checkpoint as checkpoints
from mask2iv_ros.generator.autoencoder import decode_video, encode_video, to_bytes, to_unit
from mask2iv_ros.generator.runtime import enough_memory
from mask2iv_ros.generator.sampler import Near, Sampling, timesteps
from mask2iv_ros.generator.space_time import SpaceTimeUNet
from mask2iv_ros.generator.stage import Stage
from mask2iv_ros.masks import Role, decode_colours, encode_colours, iou
from mask2iv_ros.training.batch import Batcher
from mask2iv_ros.training.cached import episode_file, reading, told, write
from mask2iv_ros.training.experiment import Experiment, Optimiser
from mask2iv_ros.training.latents import LatentEpisodes, encode_dataset
from mask2iv_ros.training.order import generator_at
from mask2iv_ros.training.origin import hash_stage, hashed
from mask2iv_ros.training.samples import sample_batch
from mask2iv_ros.training.windows import LatentWindows, Window, Windows

_ABOUT = "about.json"


@dataclass(frozen=True)
class Drawing:
    """How trajectories are sampled.

    Attributes:
        draws: trajectories of a window.
        steps: of denoising.
        strength: share of the noise schedule that is gone through from the true trajectory, above 0; 1: free
            samples that know nothing of it. Of the small default, IoU of arm and object with the truth:
            0.95 and 0.91 at 0.6 (the autoencoder alone: 0.97 and 0.93), 0.91 and 0.86 at 0.8, 0.85 and 0.77 at
            0.9, 0.80 and 0.69 at 0.95, 0.76 and 0.66 free. Below 0.8 stage 2 would hardly see an error.
        seed: of the noise and of the episodes' order.
        strides: of the windows, see `Windows`.
        every: of the windows, see `Windows`.
        precision: of the network's arithmetic.
    """

    draws: int = 1
    steps: int = 6
    strength: float = 0.9
    seed: int = 0
    strides: tuple[int, ...] = (1,)
    every: int = 8
    precision: Literal["fp32", "bf16"] = "bf16"

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise Refused(f"draws is {self.draws}; expected at least 1")
        if self.seed < 0:
            raise Refused(f"seed is {self.seed}; expected at least 0")
        if not (isfinite(self.strength) and 0 < self.strength <= 1):
            raise Refused(f"strength is {self.strength}; expected above 0 and at most 1")


def folder_beside(root: Path) -> Path:
    """Return where a dataset's trajectories are kept."""
    return root.with_name(root.name + ".trajectories")


def sample_trajectories(
    data: Path,
    checkpoint: str | Path,
    drawing: Drawing,
    out: Path | None = None,
    episodes: int | None = None,
    camera: str | None = None,
    device: torch.device | str = "cpu",
    batch: int = 8,
) -> tuple[Path, int]:
    """Sample stage 1 on a dataset's windows, where that has not been done.

    Stage 1 is told what it is told in use: a goal mask, or a text if it takes nothing else.

    Args:
        data: a LeRobot v3 dataset with a label image per frame; its latents are encoded where they are missing.
        checkpoint: with the stage "trajectory": folder, name or hub id.
        drawing: see `Drawing`.
        out: folder of the trajectories; `folder_beside` the dataset by default.
        episodes: only so many, drawn; a larger number goes on from a smaller one.
        camera: whose frames and labels, where the dataset has several.
        device: of the networks.
        batch: windows at once.

    Returns:
        The folder, and how many episodes were sampled now.

    Raises:
        Refused: dataset or checkpoint cannot be used, a setting is out of range, `out` holds
            trajectories of another kind or cannot be written, or memory is too small.
    """
    for name, value in (("batch", batch), ("episodes", 1 if episodes is None else episodes)):
        if value < 1:
            raise Refused(f"{name} is {value}; expected at least 1")
    device = torch.device(device)
    dataset = LabelledDataset.open(data, camera)
    folder = folder_beside(dataset.root) if out is None else out
    with enough_memory(f"{batch} trajectories at once", device):
        parts = checkpoints.load(checkpoint, device, stages=("trajectory",))
        stage, config = parts.stages["trajectory"], parts.config
        sampling = replace(config.stages["trajectory"].sampling, steps=drawing.steps)
        timesteps(stage.schedule, sampling, drawing.strength)  # refuses before anything is made
        encoders = parts.autoencoder, parts.text_encoder, parts.image_encoder
        latents = encode_dataset(dataset, *encoders, config.size, device, drawing.every)
        windows = LatentWindows(latents, Windows(config.frames, drawing.strides, drawing.every))
        about = _about(latents, config.frames) | {
            "checkpoint": config.name,
            "stage": hash_stage(checkpoint, "trajectory"),
            **asdict(drawing),
        }
        _claim(folder, dataset.root, about)
        if isinstance(stage.denoiser, SpaceTimeUNet):
            stage.denoiser.to(memory_format=torch.channels_last)  # a third faster on a CPU
        goals = 1.0 if "mask" in config.stages["trajectory"].conditions else 0.0
        experiment = Experiment("trajectory", Optimiser(steps=1), goals=goals, dropout=0.0)
        batcher = Batcher(experiment, parts.autoencoder, latents.no_text, latents.no_image, device)
        return folder, _sample_missing(_Sampler(stage, batcher, sampling, drawing), windows, folder, episodes, batch)


@dataclass(frozen=True)
class _Sampler:
    stage: Stage
    batcher: Batcher
    sampling: Sampling
    drawing: Drawing

    @torch.no_grad()
    def run(
        self, windows: Sequence[Window], places: Sequence[tuple[int, ...]]
    ) -> tuple[UInt8[np.ndarray, "b t h w"], Float[Tensor, "b c t h2 w2"]]:
        """Return trajectories and their latents; a place decides its noise, whatever is sampled beside it."""
        generators = [generator_at(self.drawing.seed, *place) for place in places]
        batch = self.batcher.plain(windows, generator_at(self.drawing.seed))
        near = None if self.drawing.strength == 1 else Near(batch.video, self.drawing.strength)
        with torch.autocast(batch.video.device.type, torch.bfloat16, enabled=self.drawing.precision == "bf16"):
            latent = sample_batch(self.stage, self.batcher, batch, generators, self.sampling, near)
        # As a rollout's trajectory reaches stage 2: as label maps, the scene's own first, in their colours.
        labels = decode_colours(to_bytes(decode_video(self.batcher.autoencoder, latent)))
        labels[:, 0] = np.stack([window["labels"][0].numpy() for window in windows])
        pixels = to_unit(encode_colours(labels)).to(self.batcher.device)
        return labels, encode_video(self.batcher.autoencoder, pixels)


def _sample_missing(sampler: _Sampler, windows: LatentWindows, folder: Path, episodes: int | None, batch: int) -> int:
    """Sample episode after episode, `batch` windows at once, and return how many there were to do."""
    of_episode: dict[int, list[int]] = {}
    for index, (episode, _, _) in enumerate(windows.places):
        of_episode.setdefault(episode, []).append(index)
    infos = windows.latents.episodes
    order = torch.randperm(len(infos), generator=generator_at(sampler.drawing.seed)).tolist()
    chosen = [episode for episode in order if episode in of_episode][:episodes]
    missing = [one for one in chosen if told(folder / episode_file(infos[one]), infos[one].digest) is None]
    bar = tqdm(total=len(missing), desc="sampling", unit="episode", mininterval=5, disable=not missing)
    waiting: list[tuple[int, int, int]] = []  # episode, window, draw
    for number, episode in enumerate(missing):
        waiting += [(episode, index, draw) for index in of_episode[episode] for draw in range(sampler.drawing.draws)]
        if len(waiting) >= batch or number == len(missing) - 1:
            bar.update(_sample_episodes(sampler, windows, folder, waiting, batch))
            waiting = []
    bar.close()
    return len(missing)


def _sample_episodes(
    sampler: _Sampler, windows: LatentWindows, folder: Path, asked: Sequence[tuple[int, int, int]], batch: int
) -> int:
    tensors: dict[int, dict[str, Tensor]] = {}
    agreement: dict[int, dict[str, list[float]]] = {}
    for begin in range(0, len(asked), batch):
        piece = asked[begin : begin + batch]
        given = [windows[index] for _, index, _ in piece]
        spans = [windows.places[index][1:] for _, index, _ in piece]
        places = [
            (windows.latents.episodes[episode].index, *span, draw)
            for (episode, _, draw), span in zip(piece, spans, strict=True)
        ]
        labels, masks = sampler.run(given, places)
        for row, (episode, _, draw) in enumerate(piece):
            name = "/".join(map(str, (*spans[row], draw)))
            truth = given[row]["labels"].numpy()
            kept = tensors.setdefault(episode, {})
            kept[f"labels/{name}"], kept[f"masks/{name}"] = torch.from_numpy(labels[row]), masks[row]
            agreement.setdefault(episode, {})[name] = [
                round(_agreement(labels[row], truth, role), 4) for role in (Role.INTERACTOR, Role.OBJECT)
            ]
    for episode, kept in tensors.items():
        info = windows.latents.episodes[episode]
        try:
            write(folder / episode_file(info), kept, info.digest, agreement=json.dumps(agreement[episode]))
        except OSError as error:
            raise _unwritable(folder, error) from error
    return len(tensors)


def _agreement(labels: UInt8[np.ndarray, "t h w"], truth: UInt8[np.ndarray, "t h w"], role: Role) -> float:
    """Return the mean IoU of a role with the truth after the first frame, which is given."""
    return float(np.mean([iou(one == role, other == role) for one, other in zip(labels[1:], truth[1:], strict=True)]))


def _about(latents: LatentEpisodes, frames: int) -> dict:
    """Return what a stage 2 must share with trajectories that it is told."""
    return {"autoencoder": latents.video_folder.name, "camera": latents.video_folder.parent.name, "frames": frames}


def _claim(folder: Path, data: Path, about: Mapping) -> None:
    """Make the folder and say in it what it is for, or check that this is the same.

    Raises:
        Refused: it is for something else, or cannot be written.
    """
    path = folder / _ABOUT
    about = json.loads(json.dumps(about))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            part = path.with_suffix(f".{os.getpid()}.part")
            part.write_text(json.dumps(about, indent=1) + "\n")
            os.replace(part, path)
    except OSError as error:
        raise _unwritable(folder, error) from error
    found = _read_about(folder, data)
    if found != about:
        name = next(name for name in sorted({*found, *about}) if found.get(name) != about.get(name))
        raise Refused(
            f"{folder} holds trajectories whose {name} is {found.get(name)!r}, not {about.get(name)!r}; "
            "expected the same, or another folder"
        )


def _read_about(folder: Path, data: Path) -> dict:
    try:
        return dict(json.loads((folder / _ABOUT).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise Refused(f"{folder} holds no trajectories ({error}); make some with: {_command(data)}") from error


def _unwritable(folder: Path, error: OSError) -> Refused:
    return Refused(f"{folder} cannot be written ({error}); expected a folder with room beside the dataset")


def _command(data: Path) -> str:
    return f"mask2iv data trajectories --data {data} --checkpoint CHECKPOINT"


@dataclass(frozen=True)
class Trajectories:
    """Sampled trajectories of a dataset, to be told instead of the true ones.

    Attributes:
        folder: where they are.
        data: the dataset.
        names: of an episode's number, start and stride: its trajectories that agree with the truth.
    """

    folder: Path
    data: Path
    names: Mapping[tuple[int, int, int], tuple[str, ...]]

    @classmethod
    def open(cls, folder: Path, latents: LatentEpisodes, frames: int, agreement: float) -> Self:
        """Look up which trajectories there are.

        Args:
            folder: made by `sample_trajectories`.
            latents: the dataset, encoded as stage 2 is trained on it.
            frames: of a window.
            agreement: least IoU with the truth, of arm and of object, after the first frame.

        Raises:
            Refused: the folder is not there, it is of another autoencoder, camera or length, or no
                trajectory of this dataset agrees with the truth.
        """
        found = _read_about(folder, latents.root)
        for name, value in _about(latents, frames).items():
            if found.get(name) != value:
                raise Refused(
                    f"{folder} holds trajectories whose {name} is {found.get(name)!r}, not {value!r}; make others "
                    f"with: {_command(latents.root)} --out FOLDER"
                )
        names: dict[tuple[int, int, int], tuple[str, ...]] = {}
        for info in latents.episodes:
            about = told(folder / episode_file(info), info.digest) or {}
            for name, values in json.loads(about.get("agreement", "{}")).items():
                start, stride, _ = map(int, name.split("/"))
                if min(values) >= agreement:
                    names[info.index, start, stride] = (*names.get((info.index, start, stride), ()), name)
        if not names:
            raise Refused(
                f"{folder} has no trajectory of {latents.root} that agrees with the truth by {agreement:g}; make some "
                f"with: {_command(latents.root)}"
            )
        return cls(folder, latents.root, names)

    @property
    def digest(self) -> str:
        """Hash of what they are, for a training that is resumed to know them again."""
        return hashed([_read_about(self.folder, self.data), sorted(self.names.items())])

    def of(self, info: EpisodeInfo, start: int, stride: int) -> Float[Tensor, "n c t h w"] | None:
        """Return the latents of a window's trajectories, None if it has none.

        Raises:
            Refused: their file is gone or torn.
        """
        return self._read("masks", info, start, stride)

    def labels(self, info: EpisodeInfo, start: int, stride: int) -> UInt8[Tensor, "n t H W"] | None:
        """Return the label maps of a window's trajectories, in the same order; see `of`."""
        return self._read("labels", info, start, stride)

    def _read(self, what: str, info: EpisodeInfo, start: int, stride: int) -> Tensor | None:
        names = self.names.get((info.index, start, stride))
        if names is None:
            return None
        with reading(
            self.folder / episode_file(info), "sampled trajectories", f"sample anew: {_command(self.data)}"
        ) as file:
            return torch.stack([file.get_tensor(f"{what}/{name}") for name in names])
