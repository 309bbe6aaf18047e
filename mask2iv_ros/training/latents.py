"""Episodes as latents: encoded once, kept beside the dataset, read window by window.

Beside a dataset `name` lies the folder `name.latents`. Each encoder has a folder of its own in
there, named by a hash of its weights and configuration (and of the size of the images), so another text
encoder does not cost another pass of the autoencoder:

    <camera>/video-<key>/000012.safetensors   video, masks, object: t c h w, half precision; goal: c h w; labels, seen
    <camera>/image-<key>/000012.safetensors   image: tokens of frames 0, every, 2 every, ...: k n d, half precision
    text-<key>/<hash>.safetensors             text: hidden states: s d, half precision

A file says of which pixels and times it was made and is used only while they are the same. It
is written whole or not at all, so a killed encoding goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from tqdm import tqdm

from mask2iv_ros.data.labelled import EpisodeInfo, LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.autoencoder import Autoencoder, to_unit
from mask2iv_ros.generator.encoders import ImageEncoder, TextEncoder
from mask2iv_ros.generator.framing import Framing
from mask2iv_ros.masks import Role, encode_colours
from mask2iv_ros.training.cached import episode_file, reading, told, write

_FRAMES_AT_ONCE = 16


@dataclass(frozen=True)
class LatentEpisodes:
    """A dataset's episodes on the latent grid.

    Attributes:
        root: of the dataset.
        episodes: what is known of each; its place in this tuple is its number here.
        fps: of the dataset, whole frames per second.
        size: (height, width) in pixels that the latents stand for.
        every: image tokens are there for every so-manieth frame.
        video_folder: latents of frames and masks.
        text_folder: hidden states of texts; None if encoded without a text encoder.
        image_folder: image tokens; None if encoded without an image encoder.
    """

    root: Path
    episodes: tuple[EpisodeInfo, ...]
    fps: int
    size: tuple[int, int]
    every: int
    video_folder: Path
    text_folder: Path | None = None
    image_folder: Path | None = None

    @contextmanager
    def open(self, episode: int) -> Iterator[Any]:
        """Open an episode's latents, a safetensors file of `video`, `masks`, `object`, `labels`, `seen` and `goal`.

        Raises:
            Refused: the file is gone or torn.
        """
        with _reading(self.video_folder / episode_file(self.episodes[episode])) as file:
            yield file

    def object_seen(self, episode: int) -> tuple[Bool[np.ndarray, "t"], bool]:
        """Return which frames show the object, and whether the episode has a goal mask."""
        with self.open(episode) as file:
            return file.get_tensor("seen").bool().numpy(), "goal" in file.keys()  # noqa: SIM118 not a dict

    def text(self, text: str) -> Float[Tensor, "s d"]:
        """Return the hidden states of a task's text, or of ""."""
        return _text(self.text_folder / _text_name(text))

    def image(self, episode: int, frame: int) -> Float[Tensor, "n d"]:
        """Return the tokens of a frame, a multiple of `every`."""
        with _reading(self.image_folder / episode_file(self.episodes[episode])) as file:
            return file.get_slice("image")[frame // self.every]

    @property
    def no_text(self) -> Float[Tensor, "s d"] | None:
        """Hidden states of "", which stand for no text (reference, section 4)."""
        return None if self.text_folder is None else self.text("")

    @property
    def no_image(self) -> Float[Tensor, "n d"] | None:
        """Tokens of a mid-grey image, which stand for no image (reference, section 4)."""
        if self.image_folder is None:
            return None
        with _reading(self.image_folder / _NO_IMAGE) as file:
            return file.get_tensor("image")


_NO_IMAGE = "none.safetensors"


@torch.inference_mode()
def encode_dataset(
    dataset: LabelledDataset,
    autoencoder: Autoencoder,
    text_encoder: TextEncoder | None,
    image_encoder: ImageEncoder | None,
    size: tuple[int, int],
    device: torch.device | str,
    every: int = 8,
) -> LatentEpisodes:
    """Encode all episodes, or what is missing or out of date of them.

    Frames are cropped in their middle to the shape of `size` and resized (`Framing`), as a scene is
    before it is imagined. Of an autoencoder with a posterior the mode is kept: its standard
    deviation is far below half precision's own error for the base model.

    Args:
        dataset: what to encode.
        autoencoder: on `device` already; images are given to it in its own precision.
        text_encoder: encodes the distinct texts and ""; left out if the model has no use for them.
        image_encoder: encodes every `every`-th frame and a mid-grey image; left out likewise.
        size: (height, width) in pixels, multiples of the autoencoder's patch.
        device: of the encoders.
        every: image tokens are kept of every so-manieth frame: those at which windows start.

    Raises:
        Refused: a size that the autoencoder cannot take, `every` < 1, a corrupt episode, or a
            folder that cannot be written.
    """
    if every < 1 or any(side < 1 or side % autoencoder.patch for side in size):
        raise Refused(
            f"size is {size[1]} x {size[0]} and every {every}; expected multiples of {autoencoder.patch} pixels "
            "and every at least 1"
        )
    base = dataset.root.with_name(dataset.root.name + ".latents")
    latents = LatentEpisodes(
        dataset.root,
        dataset.episodes,
        dataset.fps,
        size,
        every,
        base / dataset.camera / f"video-{_key(autoencoder, size)}",
        text_encoder and base / f"text-{_key(text_encoder)}",
        image_encoder and base / dataset.camera / f"image-{_key(image_encoder, size, every)}",
    )
    try:
        for folder in (latents.video_folder, latents.text_folder, latents.image_folder):
            if folder:
                folder.mkdir(parents=True, exist_ok=True)
        _encode_texts(latents, text_encoder)
        _encode_episodes(latents, dataset, autoencoder, image_encoder, device)
    except OSError as error:
        raise Refused(f"{base} cannot be written ({error}); expected a folder with room beside the dataset") from error
    return latents


def _encode_texts(latents: LatentEpisodes, encoder: TextEncoder | None) -> None:
    if encoder is None:
        return
    for text in sorted({info.task for info in latents.episodes} | {""}):
        path = latents.text_folder / _text_name(text)
        if told(path, text) is None:
            write(path, {"text": encoder.encode([text])[0]}, text)


def _encode_episodes(
    latents: LatentEpisodes,
    dataset: LabelledDataset,
    autoencoder: Autoencoder,
    image_encoder: ImageEncoder | None,
    device: torch.device | str,
) -> None:
    if image_encoder and told(latents.image_folder / _NO_IMAGE, "none") is None:
        grey = torch.zeros(1, 3, *latents.size, device=device)
        write(latents.image_folder / _NO_IMAGE, {"image": image_encoder.encode(grey)[0]}, "none")
    folders = [folder for folder in (latents.video_folder, latents.image_folder) if folder]
    missing = [
        info
        for info in latents.episodes
        if any(told(folder / episode_file(info), info.digest) is None for folder in folders)
    ]
    framing = Framing(dataset.size, latents.size)
    for info in tqdm(missing, desc="encoding", unit="episode", mininterval=5, disable=not missing):
        video, labels, goal = dataset.read(info.index)
        labels = np.stack([framing.labels(one) for one in labels])
        video = to_unit(np.stack([framing.image(one) for one in video]))
        alone = np.where(labels == Role.OBJECT, labels, np.uint8(0))
        tensors = {
            "video": _encode(autoencoder, video, device),
            "masks": _encode_masks(autoencoder, labels, device),
            "object": _encode_masks(autoencoder, alone, device),
            "labels": torch.from_numpy(labels),
            "seen": torch.from_numpy(alone.any((1, 2))),
        }
        if goal is not None and (seen := framing.labels(goal.astype(np.uint8))).any():
            tensors["goal"] = _encode_masks(autoencoder, seen[None] * np.uint8(Role.OBJECT), device)[0]
        write(latents.video_folder / episode_file(info), tensors, info.digest)
        if image_encoder:
            tokens = [image_encoder.encode(one[None].to(device)) for one in video[:: latents.every]]
            write(latents.image_folder / episode_file(info), {"image": torch.cat(tokens)}, info.digest)


def _encode_masks(
    autoencoder: Autoencoder, labels: UInt8[np.ndarray, "t h w"], device: torch.device | str
) -> Float[Tensor, "t c h2 w2"]:
    return _encode(autoencoder, to_unit(encode_colours(labels)), device)


def _encode(
    autoencoder: Autoencoder, images: Float[Tensor, "t 3 h w"], device: torch.device | str
) -> Float[Tensor, "t c h2 w2"]:
    dtype = next(autoencoder.parameters()).dtype
    return torch.cat([autoencoder.encode(part.to(device, dtype)) for part in images.split(_FRAMES_AT_ONCE)])


def _key(encoder: object, *settings: object) -> str:
    """Return a hash of an encoder's weights, configuration and tokenizer, and of settings."""
    module = encoder if isinstance(encoder, nn.Module) else encoder.model
    config = module.config.to_dict() if hasattr(module.config, "to_dict") else dict(module.config)
    # Where and with which release it was saved changes nothing of what it computes.
    config = {name: config[name] for name in sorted(config) if name[0] != "_" and not name.endswith("version")}
    digest = hashlib.sha256(f"{type(module).__name__} {settings}".encode())
    digest.update(json.dumps(config, default=str).encode())
    if (tokenizer := getattr(encoder, "tokenizer", None)) is not None:
        digest.update(json.dumps(sorted(tokenizer.get_vocab().items())).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _text_name(text: str) -> str:
    return f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.safetensors"


@lru_cache(1024)
def _text(path: Path) -> Float[Tensor, "s d"]:
    with _reading(path) as file:
        return file.get_tensor("text")


def _reading(path: Path) -> AbstractContextManager[Any]:
    return reading(path, "encoded frames", "encode the dataset anew")
