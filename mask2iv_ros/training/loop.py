"""Trains a stage on accelerate: one GPU, many, or a CPU; a killed run goes on as if nothing had been.

The same windows, the same draws and the same weights: to the bit on a CPU, on GPUs up to the order in which
their kernels add up.

Many GPUs: `torchrun --nproc-per-node 8 -m mask2iv_ros.cli.main train ...`; each takes its share of
every batch (`order`), and accelerate adds up their gradients.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from math import isfinite
from pathlib import Path
from types import MappingProxyType

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs
from diffusers.training_utils import EMAModel
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.sampler import Sampling
from mask2iv_ros.generator.stage import Stage
from mask2iv_ros.training.batch import Batcher
from mask2iv_ros.training.curves import Curves
from mask2iv_ros.training.experiment import Experiment
from mask2iv_ros.training.freeze import trained_parameters
from mask2iv_ros.training.memory import too_little_memory
from mask2iv_ros.training.order import Order, generator_at, seed_at
from mask2iv_ros.training.samples import sample_videos
from mask2iv_ros.training.schedule import rate_factor
from mask2iv_ros.training.state import State, changed_settings, check_origin, load_state, save_state, unusable
from mask2iv_ros.training.windows import Window

_log = logging.getLogger(__name__)

OnStep = Callable[[int], None]

# What the draws at a place are for.
_ORDER, _LAYERS, _BATCH, _NOISE, _VALIDATION = range(5)


class Trainer:
    """One training of one stage.

    Args:
        stage: what `requires_grad` in it is trained, in place.
        windows: to learn from.
        held_out: for validation and sample videos.
        batcher: makes batches of them.
        experiment: see `Experiment`.
        sampling: of the sample videos.
        folder: for states and logs; a state that it holds is gone on from.
        accelerator: decides on devices and precision (`accelerator_for`).
        undecayed: weights that the optimiser does not shrink.
        origin: see `State`.

    Raises:
        Refused: the batch cannot be shared among the GPUs.
    """

    def __init__(
        self,
        stage: Stage,
        windows: Dataset[Window],
        held_out: Dataset[Window],
        batcher: Batcher,
        experiment: Experiment,
        sampling: Sampling,
        folder: Path,
        accelerator: Accelerator,
        undecayed: frozenset[Tensor] = frozenset(),
        origin: Mapping[str, str] = MappingProxyType({}),
    ):
        asked, world = experiment.optimiser, accelerator.num_processes
        if asked.batch % world:
            raise Refused(f"batch is {asked.batch} on {world} GPUs; expected a multiple of their number")
        self._stage, self._windows, self._held_out, self._batcher = stage, windows, held_out, batcher
        self._experiment, self._sampling, self._folder, self._accelerator = experiment, sampling, folder, accelerator
        self._origin = dict(origin)
        self._micro = min(asked.micro, asked.batch // world)
        if asked.checkpointing:
            try:
                stage.denoiser.enable_gradient_checkpointing()
            except ValueError as error:
                raise Refused(f"checkpointing is true for a {type(stage.denoiser).__name__}; it has none") from error
        self._trained = dict(trained_parameters(stage))
        groups = [
            {"params": [one for one in self._trained.values() if one not in undecayed]},
            {"params": [one for one in self._trained.values() if one in undecayed], "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=asked.rate, betas=asked.betas, weight_decay=asked.decay
        )
        self._model, self._optimiser = accelerator.prepare(stage, optimiser)
        self._average = None
        if asked.average is not None:
            # inv_gamma and power: its author's for trainings of less than a million steps.
            self._average = EMAModel(
                self._trained.values(), decay=asked.average, use_ema_warmup=True, inv_gamma=1.0, power=0.75
            )

    def run(self, progress: bool = True, on_step: OnStep | None = None) -> Stage:
        """Train to the last step and return the stage, its weights averaged if the experiment asks for it.

        Args:
            progress: show a bar.
            on_step: called with the number of steps done, after every one; what it raises ends the training.

        Raises:
            Refused: the state in the folder cannot be resumed, the loss or its gradient is no longer finite,
                or the GPU's memory is too small even for half of a micro-batch.
        """
        experiment, asked, log = self._experiment, self._experiment.optimiser, self._experiment.log
        main = self._accelerator.is_main_process
        begin = self._resume()
        curves = Curves(self._folder, begin) if main else None
        steps = range(begin, asked.steps)
        hidden = not (progress and main)
        bar = tqdm(steps, experiment.stage, asked.steps, unit="step", mininterval=1, initial=begin, disable=hidden)
        recent: list[float] = []
        self._stage.train()
        for step, windows in zip(bar, self._loader(steps), strict=True):
            loss, norm = self._step(windows, step)
            recent.append(loss)
            done = step + 1
            if on_step is not None:
                on_step(done)
            if main and done % log.every == 0:
                rate = self._optimiser.param_groups[0]["lr"]
                mean = sum(recent[-log.every :]) / len(recent[-log.every :])
                curves.points(done, {"loss": mean, "rate": rate, "gradient norm": norm})
                bar.set_postfix(loss=f"{mean:.4f}", refresh=False)
            if done % log.save == 0 or done == asked.steps:
                validation = self._validate()
                if not isfinite(validation):
                    raise self._diverged(f"the loss of the validation after step {done}", validation)
                if main:
                    curves.points(done, {"validation": validation})
                    curves.line(done, {"loss": sum(recent) / len(recent), "validation": validation})
                recent.clear()
            if log.sample and (done % log.sample == 0 or done == asked.steps):
                self._show(curves, done)
            if done % log.save == 0 or done == asked.steps:
                self._save(done)
        if main:
            curves.close()
        if self._average is not None:
            self._average.copy_to(self._trained.values())
        return self._stage

    def _loader(self, steps: range) -> DataLoader[list[Window]]:
        accelerator, experiment = self._accelerator, self._experiment
        order = Order(
            len(self._windows),
            experiment.optimiser.batch,
            steps,
            seed_at(experiment.seed, _ORDER),
            accelerator.process_index,
            accelerator.num_processes,
        )
        # Not prepared by accelerate: every process reads its own share already.
        return DataLoader(self._windows, batch_sampler=order, collate_fn=list, num_workers=experiment.data.workers)

    def _step(self, windows: Sequence[Window], step: int) -> tuple[float, float]:
        """Do one gradient step; return loss and norm of the gradient over all GPUs."""
        asked = self._experiment.optimiser
        loss = self._gradient(windows, step)
        for group in self._optimiser.param_groups:
            group["lr"] = asked.rate * rate_factor(step, asked.steps, asked.warm_up, asked.schedule)
        norm = float(self._accelerator.clip_grad_norm_(list(self._trained.values()), asked.clip))
        loss = float(self._accelerator.reduce(loss, "mean"))
        if not isfinite(loss):
            raise self._diverged(f"the loss of step {step + 1}", loss)
        # fp16's scaler skips such a step and tries a smaller scale.
        if not isfinite(norm) and self._accelerator.scaler is None:
            raise self._diverged(f"the gradient's norm of step {step + 1}", norm)
        try:
            self._optimiser.step()
        except torch.OutOfMemoryError as error:
            raise too_little_memory(self._experiment, self._micro, self._accelerator.device) from error
        self._optimiser.zero_grad()
        if self._average is not None:
            self._average.step(self._trained.values())
        return loss, norm

    def _diverged(self, what: str, value: float) -> Refused:
        return Refused(f"{what} is {value}; expected a rate below {self._experiment.optimiser.rate} to converge")

    def _gradient(self, windows: Sequence[Window], step: int) -> Float[Tensor, ""]:
        """Add up the gradient of a batch and return its loss; if memory is too small, once more with half at once."""
        try:
            return self._accumulate(windows, step)
        except torch.OutOfMemoryError:
            # With several GPUs the others wait for this one's gradient already and cannot be called back.
            if self._micro == 1 or self._micro < self._whole_micro or self._accelerator.num_processes > 1:
                raise too_little_memory(self._experiment, self._micro, self._accelerator.device) from None
        # Outside of the except clause, which keeps the failed batch's tensors alive.
        self._optimiser.zero_grad()
        torch.cuda.empty_cache()
        self._micro = (self._micro + 1) // 2
        _log.warning("the GPU's memory is too small: going on with %d windows at once, accumulated", self._micro)
        return self._gradient(windows, step)

    @property
    def _whole_micro(self) -> int:
        asked = self._experiment.optimiser
        return min(asked.micro, asked.batch // self._accelerator.num_processes)

    def _accumulate(self, windows: Sequence[Window], step: int) -> Float[Tensor, ""]:
        accelerator, total = self._accelerator, torch.zeros((), device=self._accelerator.device)
        begins = range(0, len(windows), self._micro)
        for begin in begins:
            piece = windows[begin : begin + self._micro]
            # By place in the batch, so that many GPUs draw what one draws in as many pieces.
            place = (self._experiment.seed, step, accelerator.process_index * len(windows) + begin)
            torch.manual_seed(seed_at(*place, _LAYERS))
            with accelerator.autocast():
                batch = self._batcher.train(piece, generator_at(*place, _BATCH))
            # Gradients travel between GPUs once a step, with the last piece.
            with nullcontext() if begin == begins[-1] else accelerator.no_sync(self._model):
                loss = self._model(
                    batch.video, batch.origin, batch.condition, batch.weight, generator_at(*place, _NOISE)
                )
                loss = loss * (len(piece) / len(windows))
                accelerator.backward(loss)
            total += loss.detach()
        return total

    @torch.no_grad()
    def _validate(self) -> float:
        """Return the loss of held-out windows, each with the same noise every time."""
        accelerator, count = self._accelerator, min(self._experiment.log.windows, len(self._held_out))
        chosen = torch.linspace(0, len(self._held_out) - 1, count).round().long().tolist()
        total = torch.zeros((), device=accelerator.device)
        with self._shown():
            for index in chosen[accelerator.process_index :: accelerator.num_processes]:
                generator = generator_at(self._experiment.seed, index, _VALIDATION)
                batch = self._batcher.plain([self._held_out[index]], generator)
                total += self._stage(batch.video, batch.origin, batch.condition, batch.weight, generator)
        return float(accelerator.reduce(total, "sum")) / count

    def _show(self, curves: Curves | None, step: int) -> None:
        if curves is not None:
            count = min(self._experiment.log.samples, len(self._held_out))
            chosen = torch.linspace(0, len(self._held_out) - 1, count).round().long().tolist()
            windows = [self._held_out[index] for index in chosen]
            with self._shown():
                for number, (frames, fps) in enumerate(
                    sample_videos(self._stage, self._batcher, windows, self._sampling)
                ):
                    curves.video(step, f"true | sampled/{number}", frames, fps)
            curves.flush()
        self._accelerator.wait_for_everyone()

    @contextmanager
    def _shown(self) -> Iterator[None]:
        """The stage as it would be shipped: averaged, without dropout."""
        parameters = list(self._trained.values())
        self._stage.eval()
        if self._average is not None:
            self._average.store(parameters)
            self._average.copy_to(parameters)
        try:
            with self._accelerator.autocast():
                yield
        finally:
            if self._average is not None:
                self._average.restore(parameters)
            self._stage.train()

    def _weights(self) -> dict[str, Tensor]:
        """What a state keeps: all that is trained, and the scale that it is trained with."""
        scale = {} if self._stage.scale is None else {"scale": self._stage.scale}
        return self._trained | scale

    def _save(self, step: int) -> None:
        if self._accelerator.is_main_process:
            average = self._average and dict(zip(self._trained, self._average.shadow_params, strict=True))
            scaler = self._accelerator.scaler.state_dict() if self._accelerator.scaler else {}
            optimiser = self._optimiser.state_dict()
            settings, weights = self._experiment.as_dict(), self._weights()
            state = State(step, settings, self._micro, weights, optimiser, average, scaler, self._origin)
            save_state(self._folder, state)
        self._accelerator.wait_for_everyone()

    def _resume(self) -> int:
        found = load_state(self._folder)
        if found is None:
            return 0
        path, state = found
        if changed := changed_settings(state.experiment, self._experiment.as_dict()):
            raise Refused(f"{path} was trained with other settings ({changed}); expected the same, or another folder")
        check_origin(path, state.origin, self._origin)
        try:
            _copy(state.weights, self._weights())
            self._optimiser.load_state_dict(state.optimiser)
            if self._average is not None:
                _copy(state.average, dict(zip(self._trained, self._average.shadow_params, strict=True)))
                self._average.optimization_step = state.step
            if self._accelerator.scaler:
                self._accelerator.scaler.load_state_dict(state.scaler)
        except Exception as error:
            # A state of another network raises many kinds; all mean the same to a user.
            raise unusable(path, " ".join(str(error).split())[:200]) from error
        if state.experiment["optimiser"]["micro"] == self._experiment.optimiser.micro:
            self._micro = min(self._micro, state.micro)
        return state.step


def accelerator_for(experiment: Experiment, device: str = "auto") -> Accelerator:
    """Return accelerate's view of this process: its device and its precision.

    Raises:
        Refused: the precision needs a GPU that is not there.
    """
    asked = experiment.optimiser.precision
    # One state a process is accelerate's rule, which would hold a second training to the first one's precision.
    AcceleratorState._reset_state()
    # The first process encodes the dataset while the others wait, which takes longer than NCCL's ten minutes.
    patience = InitProcessGroupKwargs(timeout=timedelta(days=7))
    accelerator = Accelerator(
        mixed_precision="no" if asked == "fp32" else asked, cpu=device == "cpu", kwargs_handlers=[patience]
    )
    if asked == "fp16" and accelerator.device.type == "cpu":
        raise Refused("precision is fp16 on a CPU; expected fp32 or bf16")
    return accelerator


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    if source.keys() != target.keys():
        names = sorted(source.keys() ^ target.keys())
        raise ValueError(f"{len(names)} weights are not of this network, such as {names[0]}")
    for name, tensor in target.items():
        if tensor.shape != source[name].shape:
            raise ValueError(f"{name} has shape {tuple(source[name].shape)}, not {tuple(tensor.shape)}")
        tensor.copy_(source[name])
