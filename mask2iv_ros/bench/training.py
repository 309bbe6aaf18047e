"""A training step as the training loop does it: loss, gradients, clipping, AdamW; clips are encoded already."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor

from mask2iv_ros.bench.subject import Subject
from mask2iv_ros.bench.work import Work

CLIP_NORM = 0.5  # reference section 6


class TrainingStep:
    """Every weight of denoiser and projector is trained, in fp32.

    Args:
        subject: its stage is trained.
        work: gives the clips.
        autocast: dtype of the arithmetic; None: fp32.
        checkpointing: recompute activations where the denoiser can.
    """

    def __init__(self, subject: Subject, work: Work, autocast: torch.dtype | None, checkpointing: bool = False):
        self.stage = subject.stage.train().requires_grad_(True)
        self.video, self.condition = work.training_video(), work.training_condition()
        self.weight = torch.ones_like(self.video[:, :1])
        self.autocast = autocast
        if checkpointing and getattr(self.stage.denoiser, "_supports_gradient_checkpointing", False):
            self.stage.denoiser.enable_gradient_checkpointing()
        self.optimiser = torch.optim.AdamW(self.stage.parameters(), lr=1e-5)
        self.generator = torch.Generator().manual_seed(0)

    def loss_and_gradients(self) -> Tensor:
        """Return the loss and leave its gradients; work on these counts for MFU, recomputation does not."""
        device = self.video.device.type
        with nullcontext() if self.autocast is None else torch.autocast(device, self.autocast):
            loss = self.stage(self.video, self.video[:, :, :1], self.condition, self.weight, self.generator)
        loss.backward()
        return loss

    def run(self) -> None:
        """Do a step."""
        self.loss_and_gradients()
        torch.nn.utils.clip_grad_norm_(self.stage.parameters(), CLIP_NORM)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
