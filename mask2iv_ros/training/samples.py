"""Sample videos of a training: what was filmed beside what the stage makes of its first frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mask2iv_ros.generator.autoencoder import decode_video, to_bytes
from mask2iv_ros.generator.sampler import Near, Sampling
from mask2iv_ros.generator.stage import Stage
from mask2iv_ros.training.batch import Batch, Batcher
from mask2iv_ros.training.order import generator_at
from mask2iv_ros.training.windows import Window


@torch.no_grad()
def sample_videos(
    stage: Stage, batcher: Batcher, windows: Sequence[Window], sampling: Sampling
) -> Iterator[tuple[UInt8[np.ndarray, "t h w 3"], float]]:
    """Yield, for each window, the true video or trajectory and the sampled one side by side, and its frame rate."""
    for number, window in enumerate(windows):
        # The same noise in every set, so that what changes is what was learned.
        generator = generator_at(batcher.experiment.seed, number)
        batch = batcher.plain([window], generator)
        latent = sample_batch(stage, batcher, batch, [generator], sampling)
        pair = [_decoded(batcher, one) for one in (batch.video, latent)]
        yield np.concatenate(pair, axis=2), float(window["fps"])


def sample_batch(
    stage: Stage,
    batcher: Batcher,
    batch: Batch,
    generators: Sequence[torch.Generator],
    sampling: Sampling,
    near: Near | None = None,
) -> Float[Tensor, "b c t h w"]:
    """Return what a stage makes of a plain batch's conditions, each sample with the noise of its own generator."""

    def noise(_: int = 0) -> Float[Tensor, "b c t h w"]:
        drawn = [torch.randn(batch.video.shape[1:], generator=one) for one in generators]
        return torch.stack(drawn).to(batch.video)

    return stage.sample(
        batch.origin,
        batch.condition,
        noise(),
        sampling,
        unconditional=batcher.unconditional(batch.condition) if sampling.guided else None,
        without_text=None if sampling.image_guidance is None else batcher.without_text(batch.condition),
        step_noise=noise,
        near=near,
    )


def _decoded(batcher: Batcher, latent: Float[Tensor, "1 c t h w"]) -> UInt8[np.ndarray, "t h w 3"]:
    return to_bytes(decode_video(batcher.autoencoder, latent))[0]
