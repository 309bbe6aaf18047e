"""Both stages, end to end: a scene and goals in, trajectories and rollouts out."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator import checkpoint as checkpoints
from mask2iv_ros.generator.coding import Coder, Pasted, SceneCode
from mask2iv_ros.generator.conditioning import goal_slots, without_masks
from mask2iv_ros.generator.framing import Framing, frame_scene
from mask2iv_ros.generator.parts import dtype_named
from mask2iv_ros.generator.progress import OnStep, Progress
from mask2iv_ros.generator.runtime import Halving, compiled, enough_memory, offloaded
from mask2iv_ros.generator.sampler import Sampling
from mask2iv_ros.generator.stage import OnEstimate
from mask2iv_ros.masks import decode_colours
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory
from mask2iv_ros.scoring.scores import score
from mask2iv_ros.scoring.segmenter import find_roles
from mask2iv_ros.scoring.verdict import Thresholds, judge

MAX_SEED = 2**63 - 1


class Imaginer:
    """A loaded checkpoint that imagines rollouts; not for two threads at once.

    Attributes:
        name: of the checkpoint, with the beginning of its weights' hash.
        frames: of a rollout.
        size: (height, width) of a rollout.
        fps: frames per second of the imagined time.
        conditions: what a goal may be: "mask", "text".
        stage_steps: denoising steps of each stage, the larger number if they differ.
        sha256: of the checkpoint.
        thresholds: of a good rollout: the checkpoint's own or, if it was never calibrated, those for all.
    """

    def __init__(self, checkpoint: checkpoints.Checkpoint, device: torch.device, sampling: dict | None = None):
        config = checkpoint.config
        changes = {name: value for name, value in (sampling or {}).items() if value is not None}
        if "guidance" in changes:
            changes.setdefault("text_guidance", None)  # the one that is asked for is every goal's
        self._sampling: dict[str, Sampling] = {
            stage: replace(told.sampling, **changes) for stage, told in config.stages.items()
        }
        self.stage_steps = max(self._sampling[stage].steps for stage in checkpoint.stages)
        self.sha256, self.name = checkpoint.sha256, f"{config.name}@{checkpoint.sha256[:8]}"
        self.thresholds = config.thresholds or Thresholds()
        self.frames, self.size, self.fps = config.frames, config.size, config.fps
        self.conditions = frozenset(config.stages["trajectory"].conditions)
        self._device = device
        for stage in checkpoint.stages.values():
            stage.denoiser = Halving(stage.denoiser)
        self._checkpoint: checkpoints.Checkpoint | None = checkpoint
        self._coder: Coder | None = Coder(checkpoint, device)

    @classmethod
    def load(
        cls,
        path: str | Path = "default",
        device: str = "auto",
        steps: int | None = None,
        *,
        dtype: str = "auto",
        compiling: bool = False,
        offload: bool = False,
        **sampling,
    ) -> Imaginer:
        """Load a checkpoint by folder, by the name of one that the package carries, or by hub id.

        Args:
            path: folder, name or hub id.
            device: "auto" (the GPU if there is one), "cpu" or "cuda".
            steps: denoising steps of each stage; the checkpoint's own by default.
            dtype: of the weights and the networks' arithmetic: "auto" (bf16 on a GPU, fp32 on a CPU),
                "fp32", "fp16" or "bf16".
            compiling: let torch compile the denoisers: the first step of each stage then takes minutes, later
                ones are quicker.
            offload: keep text and image encoder in main memory but for their calls.
            sampling: other fields of `Sampling` in place of the checkpoint's own.

        Raises:
            Refused: the checkpoint is missing or corrupt, the device unknown or absent, or a
                setting out of range.
        """
        if device not in ("auto", "cpu", "cuda"):
            raise Refused(f"device {device!r} is unknown; accepted are auto, cpu, cuda")
        if device == "cuda" and not torch.cuda.is_available():
            raise Refused("device 'cuda' is not there: torch sees no GPU; use auto or cpu")
        chosen = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
        if dtype == "auto":
            dtype = "fp32" if chosen.type == "cpu" else "bf16"
        at_home = ("text_encoder", "image_encoder") if offload else ()
        with enough_memory(f"checkpoint {str(path)!r} in {dtype}", chosen):
            checkpoint = checkpoints.load(path, chosen, dtype_named(dtype), at_home=at_home)
        if compiling:
            for stage in checkpoint.stages.values():
                compiled(stage.denoiser)
        if offload:
            for encoder in (checkpoint.text_encoder, checkpoint.image_encoder):
                if encoder is not None:
                    offloaded(encoder.model, chosen)
        return cls(checkpoint, chosen, {"steps": steps} | sampling)

    def check(self, scene: Scene, goal: Goal) -> None:
        """Raise `Refused` unless this checkpoint can imagine this goal in this scene."""
        self._frame(scene, goal)

    def trajectory(self, scene: Scene, goal: Goal, *, seed: int, on_step: OnStep | None = None) -> Trajectory:
        """Run stage 1 for one goal; see `trajectories`."""
        return self.trajectories(scene, [goal], [seed], on_step)[0]

    def trajectories(
        self, scene: Scene, goals: Sequence[Goal], seeds: Sequence[int], on_step: OnStep | None = None
    ) -> list[Trajectory]:
        """Run stage 1 for several goals in one batch.

        Args:
            scene: at any size.
            goals: their masks of the scene's size. A mask is followed (PT-Gen) and the instruction
                beside it left to stage 2 and the dataset; an instruction alone is followed as text
                (TT-Gen): the method gives a rollout one condition.
            seeds: of the noise, one a goal.
            on_step: called after every denoising step; may raise `Cancelled`.

        Returns:
            Trajectories at `size`; frame 0 is the scene's own label map.
        """
        framed = [self._frame(scene, goal) for goal in goals]
        with self._enough_memory(len(goals)):
            return self._trajectories(framed[0][0], [goal for _, goal in framed], seeds, on_step)

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
        """Imagine one rollout; see `imagine_many`."""
        given = None if trajectory is None else [trajectory]
        return self.imagine_many(scene, [goal], [seed], [rollout_id], given, on_step)[0]

    def imagine_many(
        self,
        scene: Scene,
        goals: Sequence[Goal],
        seeds: Sequence[int],
        rollout_ids: Sequence[str],
        trajectories: Sequence[Trajectory] | None = None,
        on_step: OnStep | None = None,
    ) -> list[Rollout]:
        """Run both stages, or stage 2 alone on given trajectories, for several goals or seeds in one batch.

        A batch gives what its rollouts would be one by one, up to rounding.

        Args:
            scene: at any size.
            goals: their masks of the scene's size.
            seeds: of the noise of both stages, one a goal.
            rollout_ids: name the rollouts.
            trajectories: each `frames` label maps of `size` or of the scene's size; stage 1 is then skipped.
            on_step: called after every denoising step; may raise `Cancelled`.

        Raises:
            Refused: the checkpoint cannot take a scene, goal or trajectory, or the GPU's memory is
                too small even for half of the batch.
        """
        framed = [self._frame(scene, goal) for goal in goals]
        shown, framed_goals = framed[0][0], [goal for _, goal in framed]
        with self._enough_memory(len(goals)):
            if trajectories is None:
                followed = self._trajectories(shown, framed_goals, seeds, on_step)
            else:
                framing = Framing(scene.image.shape[:2], self.size)
                followed = [self._fit(trajectory, framing) for trajectory in trajectories]
            coder = self._ready()
            code = coder.scene(shown)
            about = self._checkpoint.config.stages["video"]
            masks = torch.cat([coder.trajectory(one.labels, about.masks) for one in followed])
            pasted = None
            if about.origin == "pasted":
                pasted = [coder.pasted(code, one.labels) for one in followed]
            videos = self._sample(
                "video", code, masks, [""] * len(goals), seeds, on_step, self._sampling["video"], pasted
            )
            scores = [self._score(shown, *one) for one in zip(framed_goals, followed, videos, strict=True)]
        return [
            Rollout(
                id=rollout_id,
                scene=shown,
                goal=goal,
                trajectory=trajectory,
                video=video,
                fps=self.fps,
                seed=seed,
                checkpoint=self.name,
                scores=figures,
                verdict=judge(figures, self.thresholds, self.frames),
            )
            for rollout_id, goal, trajectory, video, seed, figures in zip(
                rollout_ids, framed_goals, followed, videos, seeds, scores, strict=True
            )
        ]

    def close(self) -> None:
        """Give the weights' memory back, to the GPU or to the operating system."""
        self._checkpoint = self._coder = None
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        elif sys.platform == "linux":
            # Without it glibc keeps the freed pages, and the node looks as large as before.
            ctypes.CDLL(None).malloc_trim(0)

    def _frame(self, scene: Scene, goal: Goal) -> tuple[Scene, Goal]:
        """Return scene and goal at `size`, or refuse what this checkpoint cannot imagine."""
        framed = frame_scene(scene, goal, self.size)
        wanted = "text" if goal.mask is None else "mask"
        if wanted not in self.conditions:
            given = f"the text {goal.instruction!r} alone" if goal.mask is None else "a mask"
            raise Refused(
                f"checkpoint {self.name} takes goals as {', '.join(sorted(self.conditions))} and the goal is "
                f"{given}; give {'a goal mask' if wanted == 'text' else 'an instruction alone'}"
            )
        return framed

    def _score(
        self, scene: Scene, goal: Goal, trajectory: Trajectory, video: UInt8[np.ndarray, "t h w 3"]
    ) -> dict[str, float]:
        segmenter = self._checkpoint.segmenter
        found = None if segmenter is None else find_roles(segmenter, scene.image, scene.labels, video)
        return score(trajectory, goal, found)

    def _trajectories(
        self, scene: Scene, goals: Sequence[Goal], seeds: Sequence[int], on_step: OnStep | None
    ) -> list[Trajectory]:
        coder = self._ready()
        code = coder.scene(scene)
        slots = torch.cat([goal_slots(code.initial, coder.goal(goal), self.frames) for goal in goals])
        sampling, found = self._sampling["trajectory"], {}
        for by_text, settings in ((False, sampling), (True, sampling.for_text())):
            rows = [row for row, goal in enumerate(goals) if (goal.mask is None) == by_text]
            if rows:
                texts = [goals[row].instruction if by_text else "" for row in rows]
                told = slots[rows], texts, [seeds[row] for row in rows]
                found |= zip(rows, self._sample("trajectory", code, *told, on_step, settings), strict=True)
        labels = [decode_colours(found[row]) for row in range(len(goals))]
        for one in labels:
            one[0] = scene.labels
        return [Trajectory(one) for one in labels]

    def _sample(
        self,
        name: Literal["trajectory", "video"],
        code: SceneCode,
        masks: Float[Tensor, "b c t h w"],
        texts: Sequence[str],
        seeds: Sequence[int],
        on_step: OnStep | None,
        sampling: Sampling,
        pasted: Sequence[Pasted] | None = None,
    ) -> UInt8[np.ndarray, "b t h w 3"]:
        """Sample a stage and decode."""
        for seed in seeds:
            if not 0 <= seed <= MAX_SEED:
                raise Refused(f"seed is {seed}; expected 0 to {MAX_SEED}")
        coder = self._ready()
        stage = self._checkpoint.stages[name]
        silence = [""] * len(masks)
        origin = None if pasted is None else torch.cat([one.latent for one in pasted])
        condition = coder.condition(code, masks, texts, code.image, origin)
        nothing = picture = None
        if sampling.guided:
            nothing = coder.condition(code, without_masks(masks, name), silence, code.no_image, origin)
        if sampling.image_guidance is not None:
            picture = coder.condition(code, masks, silence, code.image, origin)
        # Drawn on the CPU and each from its own seed, so that a seed means the same noise on every device
        # and beside any others.
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        if origin is None:
            first = code.initial if name == "trajectory" else code.first
            origin = first.unsqueeze(2).expand(len(masks), -1, -1, -1, -1)

        def noise(_: int = 0) -> Float[Tensor, "b c t h w"]:
            return torch.stack([torch.randn(masks.shape[1:], generator=one) for one in generators]).to(self._device)

        latent = stage.sample(
            origin.float(),
            condition,
            noise(),
            sampling,
            unconditional=nothing,
            without_text=picture,
            step_noise=noise,
            on_estimate=self._reporter(name, sampling.steps, on_step),
        )
        return coder.decode(latent) if pasted is None else coder.decode_onto(latent, pasted)

    def _reporter(self, stage: Literal["trajectory", "video"], steps: int, on_step: OnStep | None) -> OnEstimate | None:
        if on_step is None:
            return None
        shown = {max(1, steps // 2), steps}

        def report(step: int, estimate: Float[Tensor, "b c t h w"]) -> None:
            preview = None
            if step in shown:
                middle = self.frames // 2
                preview = self._ready().decode(estimate[:1, :, middle : middle + 1])[0, 0]
            on_step(Progress(stage, step, steps, preview))

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

    def _enough_memory(self, count: int) -> AbstractContextManager[None]:
        height, width = self.size
        return enough_memory(f"{count} rollouts of {self.frames} frames of {width} x {height}", self._device)

    def _ready(self) -> Coder:
        if self._coder is None:
            raise Refused(f"checkpoint {self.name} was closed; load it again")
        return self._coder
