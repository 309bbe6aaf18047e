"""Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598) as the base model's sampler applies it."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.conditioning import Condition, stack
from mask2iv_ros.generator.denoiser import Denoiser
from mask2iv_ros.generator.sampler import Predict, Sampling


def guided(
    denoiser: Denoiser,
    condition: Condition,
    unconditional: Condition | None,
    without_text: Condition | None,
    sampling: Sampling,
) -> Predict:
    """Return what `sample` asks a network with: one batched call of the denoiser, then guidance.

    With one guidance w the output is u + w (c - u); with an image guidance w_i beside it u + w_i (i - u) + w (c - i):
    c has all conditions, i no text, u neither text nor image. Both are then brought back to c's spread in a
    share, see `rescaled`. With guidance 1 and no image guidance c alone is called, and left as it is.

    Args:
        denoiser: called with float32 latents, which it brings to its own precision.
        condition: c.
        unconditional: u; not needed for guidance 1 without image guidance.
        without_text: i; needed for image guidance only.
        sampling: its guidance, guidance_rescale and image_guidance.

    Raises:
        Refused: a guidance whose condition is not given.
    """
    if not sampling.guided:
        conditions, weights = [condition], [1.0]
    elif unconditional is None:
        raise Refused(
            f"guidance is {sampling.guidance} and image_guidance {sampling.image_guidance}; expected 1 and none, as no "
            "unconditional condition is known"
        )
    elif sampling.image_guidance is None:
        conditions, weights = [condition, unconditional], [sampling.guidance, 1 - sampling.guidance]
    elif without_text is None:
        raise Refused(f"image_guidance is {sampling.image_guidance}; expected none, as no image condition is known")
    else:
        text, image = sampling.guidance, sampling.image_guidance
        conditions, weights = [condition, without_text, unconditional], [text, image - text, 1 - image]
    everything = stack(conditions)

    def predict(x: Float[Tensor, "b c t h w"], t: Int[Tensor, "b"]) -> Float[Tensor, "b c t h w"]:
        count = len(conditions)
        outputs = denoiser(x.repeat(count, 1, 1, 1, 1), t.repeat(count), everything).float().chunk(count)
        if count == 1:
            return outputs[0]
        mixed = sum(weight * output for weight, output in zip(weights, outputs, strict=True))
        return rescaled(mixed, outputs[0], sampling.guidance_rescale)

    return predict


def rescaled(
    mixed: Float[Tensor, "b c t h w"], conditional: Float[Tensor, "b c t h w"], share: float
) -> Float[Tensor, "b c t h w"]:
    """Return a guided output, in a share of it, with each sample's standard deviation that of the conditional one.

    Strong guidance makes pictures too bright otherwise (Lin et al. 2023, arXiv 2305.08891, equations 15 and 16).
    An output without any spread is left as it is.
    """
    dims = tuple(range(1, mixed.ndim))
    now, wanted = mixed.std(dims, keepdim=True), conditional.std(dims, keepdim=True)
    factor = (wanted / now).where(now > 0, 1)
    return mixed * (share * factor + 1 - share)
