"""Both stages, end to end: a scene and a goal in, a trajectory and a rollout out."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator import checkpoint as checkpoints
from mask2iv_ros.generator.autoencoder import decode_video, encode_video, to_bytes, to_unit
from mask2iv_ros.generator.conditioning import beside_first_frame, goal_slots
from mask2iv_ros.generator.framing import Framing, frame_scene
from mask2iv_ros.generator.scores import score
from mask2iv_ros.generator.stage import OnEstimate, Stage
from mask2iv_ros.masks import Role, decode_colours, encode_colours
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory

MAX_STEPS = 1000
MAX_SEED = 2**63 - 1


class Cancelled(Exception):
    """Raised by an `on_step` callback to end an imagination at once."""


@dataclass(frozen=True)
class Progress:
    """How far an imagination is.

    Attributes:
        stage: which stage runs.
        step: denoising steps of it that are done.
        steps: denoising steps that it takes.
        preview: the present estimate of the middle frame, RGB; only on some steps.
    """

    stage: Literal["trajectory", "video"]
    step: int
    steps: int
    preview: UInt8[np.ndarray, "h w 3"] | None = None


OnStep = Callable[[Progress], None]


class Imaginer:
    """A loaded checkpoint that imagines rollouts; not for two threads at once.

    Attributes:
        name: of the checkpoint, with the beginning of its weights' hash.
        frames: of a rollout.
        size: (height, width) of a rollout.
        fps: frames per second of the imagined time.
        conditions: what a goal may be: "mask", "text".
        stage_steps: denoising steps of each stage.
    """

    def __init__(self, checkpoint: checkpoints.Checkpoint, device: torch.device, steps: int | None = None):
        config = checkpoint.config
        self.stage_steps = config.steps if steps is None else steps
        if not 1 <= self.stage_steps <= MAX_STEPS:
            raise Refused(f"steps is {steps}; expected 1 to {MAX_STEPS}")
        self.name = f"{config.name}@{checkpoint.sha256[:8]}"
        self.frames, self.size, self.fps = config.frames, config.size, config.fps
        self.conditions = frozenset(config.conditions)
        self._device = device
        self._checkpoint: checkpoints.Checkpoint | None = checkpoint

    @classmethod
    def load(cls, path: str | Path = "default", device: str = "auto", steps: int | None = None) -> Imaginer:
        """Load a checkpoint by folder, or by the name of one that the package carries.

        Args:
            path: folder or name.
            device: "auto" (the GPU if there is one), "cpu" or "cuda".
            steps: denoising steps of each stage; the checkpoint's own by default.

        Raises:
            Refused: the checkpoint is missing or corrupt, the device unknown or absent, or
                steps out of range.
        """
        if device not in ("auto", "cpu", "cuda"):
            raise Refused(f"device {device!r} is unknown; accepted are auto, cpu, cuda")
        if device == "cuda" and not torch.cuda.is_available():
            raise Refused("device 'cuda' is not there: torch sees no GPU; use auto or cpu")
        chosen = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
        return cls(checkpoints.load(path, chosen), chosen, steps)

    def check(self, scene: Scene, goal: Goal) -> None:
        """Raise `Refused` unless this checkpoint can imagine this goal in this scene."""
        self._frame(scene, goal)

    def trajectory(self, scene: Scene, goal: Goal, *, seed: int, on_step: OnStep | None = None) -> Trajectory:
        """Run stage 1.

        Args:
            scene: at any size.
            goal: its mask of the scene's size.
            seed: of the noise.
            on_step: called after every denoising step; may raise `Cancelled`.

        Returns:
            The trajectory at `size`; frame 0 is the scene's own label map.
        """
        return self._trajectory(*self._frame(scene, goal), seed, on_step)

    def imagine(
        self,
        scene: Scene,
        goal: Goal,
        *,
        seed: int,
        rollout_id: str,
        trajectory: Trajectory | None = None,
        on_step: OnStep | None = None,
    ) -> Rollout:
        """Run both stages, or stage 2 alone on a given trajectory.

        Args:
            scene: at any size.
            goal: its mask of the scene's size.
            seed: of the noise of both stages.
            rollout_id: names the rollout.
            trajectory: `frames` label maps of `size` or of the scene's size; stage 1 is then skipped.
            on_step: called after every denoising step; may raise `Cancelled`.
        """
        framed, framed_goal = self._frame(scene, goal)
        if trajectory is None:
            followed = self._trajectory(framed, framed_goal, seed, on_step)
        else:
            followed = self._fit(trajectory, Framing(scene.image.shape[:2], self.size))
        parts = self._loaded()
        first = self._encode(framed.image[None])[:, :, 0]
        masks = self._encode(encode_colours(followed.labels))
        latent = self._sample("video", parts.video, first, beside_first_frame(first, masks), seed, on_step)
        video = to_bytes(self._decode(latent)[0])
        return Rollout(
            id=rollout_id,
            scene=framed,
            goal=framed_goal,
            trajectory=followed,
            video=video,
            fps=self.fps,
            seed=seed,
            checkpoint=self.name,
            scores=score(followed, framed_goal),
        )

    def close(self) -> None:
        """Give the weights' memory back, to the GPU or to the operating system."""
        self._checkpoint = None
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        elif sys.platform == "linux":
            # Without it glibc keeps the freed pages, and the node looks as large as before.
            ctypes.CDLL(None).malloc_trim(0)

    def _frame(self, scene: Scene, goal: Goal) -> tuple[Scene, Goal]:
        """Return scene and goal at `size`, or refuse what this checkpoint cannot imagine."""
        framed = frame_scene(scene, goal, self.size)
        if goal.mask is None and "text" not in self.conditions:
            raise Refused(
                f"checkpoint {self.name} takes goals as {', '.join(sorted(self.conditions))} and the goal is the text "
                f"{goal.instruction!r} alone; give a goal mask"
            )
        return framed

    def _trajectory(self, scene: Scene, goal: Goal, seed: int, on_step: OnStep | None) -> Trajectory:
        parts = self._loaded()
        first = self._encode(scene.image[None])[:, :, 0]
        initial = self._encode(encode_colours(scene.labels)[None])[:, :, 0]
        goal_latent = None
        if goal.mask is not None:
            alone = np.where(goal.mask, np.uint8(Role.OBJECT), np.uint8(Role.BACKGROUND))
            goal_latent = self._encode(encode_colours(alone)[None])[:, :, 0]
        condition = beside_first_frame(first, goal_slots(initial, goal_latent, self.frames))
        latent = self._sample("trajectory", parts.trajectory, initial, condition, seed, on_step)
        labels = decode_colours(to_bytes(self._decode(latent)[0]))
        labels[0] = scene.labels
        return Trajectory(labels)

    def _sample(
        self,
        name: Literal["trajectory", "video"],
        stage: Stage,
        origin: Float[Tensor, "b c h w"],
        condition: Float[Tensor, "b k t h w"],
        seed: int,
        on_step: OnStep | None,
    ) -> Float[Tensor, "b c t h w"]:
        if not 0 <= seed <= MAX_SEED:
            raise Refused(f"seed is {seed}; expected 0 to {MAX_SEED}")
        shape = (*origin.shape[:2], self.frames, *origin.shape[2:])
        # Drawn on the CPU, so that a seed means the same noise on every device.
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(self._device)
        return stage.sample(origin, condition, noise, self.stage_steps, self._reporter(name, on_step))

    def _reporter(self, stage: Literal["trajectory", "video"], on_step: OnStep | None) -> OnEstimate | None:
        if on_step is None:
            return None
        shown = {max(1, self.stage_steps // 2), self.stage_steps}

        def report(step: int, estimate: Float[Tensor, "b c t h w"]) -> None:
            preview = None
            if step in shown:
                middle = self.frames // 2
                preview = to_bytes(self._decode(estimate[:, :, middle : middle + 1])[0, 0])
            on_step(Progress(stage, step, self.stage_steps, preview))

        return report

    def _fit(self, trajectory: Trajectory, framing: Framing) -> Trajectory:
        labels = trajectory.labels
        frames, *size = labels.shape
        if frames != self.frames or tuple(size) not in (self.size, framing.source):
            raise Refused(
                f"trajectory has {frames} frames of {size[1]} x {size[0]} pixels; expected {self.frames} frames of "
                f"{self.size[1]} x {self.size[0]} or of the scene's {framing.source[1]} x {framing.source[0]}"
            )
        if tuple(size) == self.size:
            return trajectory
        return Trajectory(np.stack([framing.labels(frame) for frame in labels]), trajectory.source)

    def _loaded(self) -> checkpoints.Checkpoint:
        if self._checkpoint is None:
            raise Refused(f"checkpoint {self.name} was closed; load it again")
        return self._checkpoint

    @torch.inference_mode()
    def _encode(self, frames: UInt8[np.ndarray, "t h w 3"]) -> Float[Tensor, "1 c t h2 w2"]:
        return encode_video(self._loaded().autoencoder, to_unit(frames)[None].to(self._device))

    @torch.inference_mode()
    def _decode(self, latent: Float[Tensor, "b c t h2 w2"]) -> Float[Tensor, "b t 3 h w"]:
        return decode_video(self._loaded().autoencoder, latent)
