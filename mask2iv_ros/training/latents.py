"""Clips as latents: encoded once, kept beside the clips, read by both stages."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from mask2iv_ros.data.clips import Clip
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.autoencoder import PatchAutoencoder, to_unit
from mask2iv_ros.masks import Role, encode_colours
from mask2iv_ros.training.contact import RegionWeights, loss_weight
from mask2iv_ros.training.perturb import perturb


@dataclass(frozen=True)
class LatentClips:
    """All clips of a split, on the latent grid, in half precision.

    Attributes:
        video: of the frames.
        masks: of the coloured label maps.
        other_masks: the same, imperfect: perturbed, or stage 1's own.
        goal: of the coloured goal mask alone.
        weight: of the loss.
    """

    video: Float[Tensor, "n c t h w"]
    masks: Float[Tensor, "n c t h w"]
    other_masks: Float[Tensor, "n c t h w"]
    goal: Float[Tensor, "n c h w"]
    weight: Float[Tensor, "n 1 t h w"]

    def __len__(self) -> int:
        return len(self.video)

    def change_scale(self, stage: str) -> Float[Tensor, "c"]:
        """Return the root mean square of z - z_first, per channel, of a stage's latents."""
        latents = (self.masks if stage == "trajectory" else self.video)[:400].float()
        return (latents - latents[:, :, :1]).square().mean((0, 2, 3, 4)).sqrt().clamp_min(1e-3)


@torch.inference_mode()
def encode_clips(
    autoencoder: PatchAutoencoder,
    clips: list[Clip],
    weights: RegionWeights,
    kernels: tuple[int, ...],
    seed: int,
    cache: Path | None = None,
) -> LatentClips:
    """Encode clips, or read them from `cache` if the same were encoded the same way before.

    Raises:
        Refused: a kernel has no middle, or the cache is corrupt.
    """
    if any(side % 2 == 0 or side < 1 for side in kernels) or not kernels:
        raise Refused(f"perturbation kernels {kernels} cannot be used; expected odd sides, such as 3, 5, 7")
    key = _key(autoencoder, clips, weights, kernels, seed)
    path = cache / f"latents-{key}.safetensors" if cache else None
    if path and path.exists():
        try:
            return LatentClips(**load_file(path))
        except (SafetensorError, TypeError) as error:
            raise Refused(f"{path} does not hold encoded clips ({error}); remove it") from error
    rng = np.random.default_rng(seed)
    rows: dict[str, list[Tensor]] = {field.name: [] for field in fields(LatentClips)}
    for clip in tqdm(clips, desc="encoding", unit="clip", mininterval=5):
        goal = np.where(clip.goal_mask, np.uint8(Role.OBJECT), np.uint8(0))
        stack = np.concatenate(
            [
                clip.video,
                encode_colours(clip.labels),
                encode_colours(perturb(clip.labels, rng, kernels)),
                encode_colours(goal)[None],
            ]
        )
        with torch.autocast("cpu", torch.bfloat16):
            latent = autoencoder.encode(to_unit(stack)).half()  # 3t+1 c h w
        video, masks, other, goal_latent = latent.split([*[len(clip.video)] * 3, 1])
        for name, value in (("video", video), ("masks", masks), ("other_masks", other)):
            rows[name].append(value.transpose(0, 1))
        rows["goal"].append(goal_latent[0])
        rows["weight"].append(loss_weight(clip.labels, weights, autoencoder.patch).half())
    latents = {name: torch.stack(values) for name, values in rows.items()}
    if path:
        part = path.with_suffix(f".{os.getpid()}.part")
        save_file(latents, part)
        os.replace(part, path)
    return LatentClips(**latents)


def _key(autoencoder: PatchAutoencoder, clips: list[Clip], *settings: object) -> str:
    digest = hashlib.sha256()
    for name, tensor in autoencoder.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    for clip in clips:
        digest.update(f"{clip.task} {clip.seed} {clip.video.shape}".encode() + clip.video[-1].tobytes())
    for setting in settings:
        digest.update(repr(asdict(setting) if isinstance(setting, RegionWeights) else setting).encode())
    return digest.hexdigest()[:16]
