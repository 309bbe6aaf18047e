from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mask2iv_ros.data.clips import Clip
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.autoencoder import PatchAutoencoder, to_unit
from mask2iv_ros.masks import encode_colours
from mask2iv_ros.training.contact import RegionWeights, loss_weight
from mask2iv_ros.training.latents import LatentClips, encode_clips

NEAR = {"rtol": 0.02, "atol": 0.05}  # bfloat16 keeps 8 bits


def test_every_part_is_the_latent_of_what_it_says(
    latents: LatentClips, autoencoder: PatchAutoencoder, clips: list[Clip]
):
    clip = clips[2]
    assert len(latents) == 4
    assert latents.video.shape == latents.masks.shape == latents.other_masks.shape == (4, 4, 4, 2, 3)
    assert latents.goal.shape == (4, 4, 2, 3)
    for found, image in (
        (latents.video[2], clip.video),
        (latents.masks[2], encode_colours(clip.labels)),
        (latents.goal[2].unsqueeze(1), encode_colours(np.where(clip.goal_mask, 2, 0).astype(np.uint8))[None]),
    ):
        torch.testing.assert_close(found.float(), autoencoder.encode(to_unit(image)).transpose(0, 1), **NEAR)
    torch.testing.assert_close(latents.weight[2].float(), loss_weight(clip.labels, RegionWeights(), 8))
    assert (latents.masks != latents.other_masks).any()


def test_the_scale_of_the_change_is_its_root_mean_square(latents: LatentClips):
    for stage, part in (("trajectory", latents.masks), ("video", latents.video)):
        # In single precision first: a difference of halves is rounded once more.
        change = part.float() - part[:, :, :1].float()
        expected = change.pow(2).mean((0, 2, 3, 4)).sqrt()
        torch.testing.assert_close(latents.change_scale(stage), expected)
    still = replace(latents, video=torch.ones_like(latents.video))
    assert (still.change_scale("video") == 1e-3).all()


def test_the_cache_gives_the_same_and_knows_what_it_is_of(
    autoencoder: PatchAutoencoder, clips: list[Clip], tmp_path: Path
):
    def encode(*, seed: int = 0, kernels: tuple[int, ...] = (3,), weights: RegionWeights | None = None) -> LatentClips:
        return encode_clips(autoencoder, clips, weights or RegionWeights(), kernels, seed, tmp_path)

    first, again = encode(), encode()
    for field in fields(LatentClips):
        assert torch.equal(getattr(first, field.name), getattr(again, field.name))
    assert len(list(tmp_path.iterdir())) == 1
    encode(seed=1)
    encode(kernels=(5,))
    encode(weights=RegionWeights(object=3))
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("kept", [0, 50, -1])
def test_a_corrupt_cache_is_refused(autoencoder: PatchAutoencoder, clips: list[Clip], tmp_path: Path, kept: int):
    encode_clips(autoencoder, clips[:1], RegionWeights(), (3,), 0, tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(Refused, match=rf"{path.name} does not hold encoded clips .*; remove it"):
        encode_clips(autoencoder, clips[:1], RegionWeights(), (3,), 0, tmp_path)


@pytest.mark.parametrize("kernels", [(), (4,), (3, 0), (-1,)])
def test_kernels_without_a_middle_are_refused(autoencoder: PatchAutoencoder, clips: list[Clip], kernels: tuple):
    with pytest.raises(Refused, match="expected odd sides"):
        encode_clips(autoencoder, clips, RegionWeights(), kernels, 0)
