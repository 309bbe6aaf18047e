"""From windows to what a stage trains on: target, condition and loss weight.

What is told and what is kept back is drawn here, anew for every window and step. Of the uniform
draw u for dropout (reference, section 6, extended to masks):

    u < p           the text is dropped, which becomes that of ""
    p <= u < 2p     text, image and mask conditions are dropped
    2p <= u < 3p    the image is dropped, which becomes a mid-grey one

The mask condition is stage 1's goal slot and stage 2's trajectory (`without_masks`). Neither the
first frame's latent nor stage 1's initial masks are ever dropped: they are the scene. Only mask
conditions are dropped with everything else, so guidance leads towards them as towards the text.

A stage 2 that is told less of a trajectory (`Experiment.masks`) is never told more, validation and samples included.
Where its origin is the pasted video, that follows the masks that are told, and is never dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.utils.data import default_collate

from mask2iv_ros.generator.autoencoder import Autoencoder, encode_video, to_unit
from mask2iv_ros.generator.conditioning import Condition, beside_first_frame, goal_slots, told_labels, without_masks
from mask2iv_ros.masks import encode_colours
from mask2iv_ros.training.contact import loss_weight
from mask2iv_ros.training.experiment import Experiment
from mask2iv_ros.training.pasted import encode_one
from mask2iv_ros.training.perturb import perturb
from mask2iv_ros.training.windows import Window


@dataclass(frozen=True)
class Batch:
    """`Stage.forward`'s arguments but the generator.

    Attributes:
        video: latents to denoise: coloured masks (stage 1) or frames (stage 2).
        origin: what their change is measured from, see `Stage`.
        condition: what the stage is told.
        weight: of every position's error.
    """

    video: Float[Tensor, "b c t h w"]
    origin: Float[Tensor, "b c #t h w"]
    condition: Condition
    weight: Float[Tensor, "b 1 t h w"]


class _Told(NamedTuple):
    """What stage 2 is told of one window in place of the truth."""

    masks: Float[Tensor, "c t h w"]
    pasted: Float[Tensor, "c t h w"] | None


@dataclass(frozen=True)
class Batcher:
    """Makes batches of windows.

    Attributes:
        experiment: says what is told how often.
        autoencoder: encodes perturbed masks and what is pasted along them.
        no_text: hidden states of "", if there is a text encoder.
        no_image: tokens of a mid-grey image, if there is an image encoder.
        device: of the batches.
    """

    experiment: Experiment
    autoencoder: Autoencoder
    no_text: Float[Tensor, "s d"] | None
    no_image: Float[Tensor, "n d"] | None
    device: torch.device

    def train(self, windows: Sequence[Window], generator: torch.Generator) -> Batch:
        """Return a batch with perturbed and sampled masks and dropped conditions."""
        u = torch.rand(len(windows), generator=generator)
        p = self.experiment.dropout
        return self._batch(
            windows,
            generator,
            without_text=u < 2 * p,
            without_image=(p <= u) & (u < 3 * p),
            masks_dropped=(p <= u) & (u < 2 * p),
            changed=self._changed(windows, generator),
        )

    def plain(self, windows: Sequence[Window], generator: torch.Generator) -> Batch:
        """Return a batch with nothing perturbed or dropped; stage 1's kind of goal is still drawn."""
        none = torch.zeros(len(windows), dtype=torch.bool)
        return self._batch(windows, generator, none, none, none, {})

    def unconditional(self, condition: Condition) -> Condition:
        """Return what guidance leads away from: the condition with everything dropped that dropout drops."""
        channels = self.autoencoder.channels
        first, masks, *pasted = condition.beside.split(channels, 1)
        everything = torch.ones(len(masks), dtype=torch.bool)
        return Condition(
            torch.cat([first, without_masks(masks, self.experiment.stage), *pasted], 1),
            self._replaced(condition.text, self.no_text, everything),
            self._replaced(condition.image, self.no_image, everything),
            condition.fps,
        )

    def without_text(self, condition: Condition) -> Condition:
        """Return the condition with the text dropped, for a guidance of its own for the rest."""
        everything = torch.ones(len(condition.beside), dtype=torch.bool)
        text = self._replaced(condition.text, self.no_text, everything)
        return Condition(condition.beside, text, condition.image, condition.fps)

    def _batch(
        self,
        windows: Sequence[Window],
        generator: torch.Generator,
        without_text: Bool[Tensor, "b"],
        without_image: Bool[Tensor, "b"],
        masks_dropped: Bool[Tensor, "b"],
        changed: dict[int, _Told],
    ) -> Batch:
        stage = self.experiment.stage
        labels = [window["labels"].numpy() for window in windows]
        # Single precision first: autocast on a CPU cannot stack half precision.
        apart = {"labels", "sampled", "frame", "pasted_sampled"}
        told = default_collate([{name: _single(one[name]) for name in one if name not in apart} for one in windows])
        told = {name: value.to(self.device) for name, value in told.items()}
        video, masks, pasted = told["video"], told["masks"], None
        if stage == "trajectory":
            # Drawn for stage 2 too, a draw would be one that does nothing.
            by_mask = torch.rand(len(windows), generator=generator) < self.experiment.goals
            # The method gives a rollout one condition: a text or a goal mask.
            without_text = without_text | by_mask
            masks_dropped = masks_dropped | ~by_mask
            slots = goal_slots(masks[:, :, 0], told["goal"], masks.shape[2])
            target = masks
        else:
            # The method's stage 2 is told the first frame and the trajectory, and no text.
            without_text = torch.ones_like(without_text)
            if self.experiment.masks == "interactor":
                # Encoded here and not kept: latents of every role alone would cost the disk more than they save.
                shown = [changed[row].masks if row in changed else self._encoded(one) for row, one in enumerate(labels)]
            else:
                shown = [changed[row].masks if row in changed else one for row, one in enumerate(masks)]
            slots = torch.stack(shown)
            if self.experiment.origin == "pasted":
                truth = enumerate(told["pasted"])
                pasted = torch.stack([changed[row].pasted if row in changed else one for row, one in truth])
            if self.experiment.masks == "none":
                masks_dropped = torch.ones_like(masks_dropped)
            target = video
        slots = torch.where(_like(masks_dropped, slots), without_masks(slots, stage), slots)
        return Batch(
            target,
            target[:, :, :1] if pasted is None else pasted,
            Condition(
                beside_first_frame(video[:, :, 0], slots, pasted),
                self._replaced(told.get("text"), self.no_text, without_text),
                self._replaced(told.get("image"), self.no_image, without_image),
                told["fps"],
            ),
            torch.stack([loss_weight(one, self.experiment.weights, self.autoencoder.patch) for one in labels]).to(
                self.device
            ),
        )

    def _changed(self, windows: Sequence[Window], generator: torch.Generator) -> dict[int, _Told]:
        """Return perturbed and sampled masks by row, for the windows that are drawn."""
        asked = self.experiment.perturbation
        if asked is None:
            return {}
        u = torch.rand(len(windows), generator=generator)
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        changed, by_pasting = {}, self.experiment.origin == "pasted"
        for row in (u < asked.share).nonzero().flatten().tolist():
            # What is not told first: an object that is dilated hides some of the arm.
            told = told_labels(windows[row]["labels"].numpy(), self.experiment.masks)
            labels, pasted = perturb(told, rng, asked.kernels), None
            if by_pasting:
                pasted = encode_one(self.autoencoder, windows[row]["frame"].numpy(), labels, self.device)
            changed[row] = _Told(self._encoded(labels), pasted)
        for row in ((asked.share <= u) & (u < asked.share + asked.sampled)).nonzero().flatten().tolist():
            if (sampled := windows[row].get("sampled")) is not None:
                draw = rng.integers(len(sampled))
                pasted = windows[row]["pasted_sampled"][draw].float().to(self.device) if by_pasting else None
                changed[row] = _Told(sampled[draw].float().to(self.device), pasted)
        return changed

    @torch.no_grad()
    def _encoded(self, labels: UInt8[np.ndarray, "t h w"]) -> Float[Tensor, "c t h w"]:
        """Return the latents of what stage 2 is told of label maps."""
        pixels = to_unit(encode_colours(told_labels(labels, self.experiment.masks)))[None].to(self.device)
        return encode_video(self.autoencoder, pixels)[0].float()

    def _replaced(self, tokens: Tensor | None, nothing: Tensor | None, where: Bool[Tensor, "b"]) -> Tensor | None:
        if tokens is None:
            return None
        return torch.where(_like(where, tokens), nothing.to(tokens), tokens)


def _like(rows: Bool[Tensor, "b"], like: Tensor) -> Bool[Tensor, "b ..."]:
    return rows.to(like.device).view(-1, *[1] * (like.ndim - 1))


def _single(value: Tensor | int) -> Tensor | int:
    return value.float() if isinstance(value, Tensor) else value
