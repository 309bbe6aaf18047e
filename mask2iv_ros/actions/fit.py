"""Trains the network of a labeller."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from tqdm import tqdm

from mask2iv_ros.actions.demonstrations import Demonstration
from mask2iv_ros.actions.frames import blur, imagined
from mask2iv_ros.actions.network import ActionNetwork
from mask2iv_ros.actions.scale import Scale
from mask2iv_ros.actions.settings import LabellerExperiment
from mask2iv_ros.errors import Refused
from mask2iv_ros.training.curves import Curves
from mask2iv_ros.training.order import generator_at, seed_at
from mask2iv_ros.training.schedule import rate_factor


class _Memory(NamedTuple):
    """All episodes, one after another."""

    frames: UInt8[Tensor, "n 3 h w"]
    blurred: UInt8[Tensor, "n 3 h w"]
    labels: UInt8[Tensor, "n h w"]
    action: Float[Tensor, "n m"]
    state: Float[Tensor, "n s"]
    stretches: Tensor  # the first row of every stretch
    span: int  # frames of a stretch
    first: Tensor  # the first row of each row's episode
    length: Tensor  # of each row's episode


def fit(
    episodes: Sequence[Demonstration],
    actions: Scale,
    states: Scale,
    experiment: LabellerExperiment,
    work: Path,
    words: str = "labeller",
) -> ActionNetwork:
    """Return a network trained on episodes.

    Args:
        episodes: each of more frames than a chunk.
        actions: units of the actions.
        states: units of the states.
        experiment: see `LabellerExperiment`.
        work: for the curves.
        words: what the progress bar calls it.

    Raises:
        Refused: the loss is no longer finite.
    """
    torch.manual_seed(seed_at(experiment.seed))
    random = generator_at(experiment.seed, 1)
    network = ActionNetwork(experiment.network, len(actions.mean), len(states.mean)).train()
    memory = _remember(episodes, actions, states, experiment)
    optimiser = torch.optim.AdamW(network.parameters(), lr=experiment.rate, weight_decay=experiment.decay)
    warm_up = max(1, experiment.steps // 20)
    losses: list[float] = []
    bar = tqdm(range(experiment.steps), desc=words, unit="step", mininterval=5)
    curves = Curves(work, 0)
    for step in bar:
        loss = _loss(network, memory, experiment, random)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for group in optimiser.param_groups:
            group["lr"] = experiment.rate * rate_factor(step, experiment.steps, warm_up)
        optimiser.step()
        losses.append(loss.item())
        if not isfinite(losses[-1]):
            raise Refused(
                f"the loss of step {step + 1} is {losses[-1]}; expected a rate below {experiment.rate} to converge"
            )
        if (step + 1) % experiment.every == 0:
            point = {"loss": float(np.mean(losses[-experiment.every :]))}
            curves.points(step + 1, point)
            curves.line(step + 1, point)
            bar.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}", refresh=False)
    curves.close()
    return network.eval()


def _remember(
    episodes: Sequence[Demonstration], actions: Scale, states: Scale, experiment: LabellerExperiment
) -> _Memory:
    lengths = np.array([len(one.frames) for one in episodes])
    begins = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    span = min(experiment.span, int(lengths.min()))
    stretches = [np.arange(begin, begin + length - span + 1) for begin, length in zip(begins, lengths, strict=True)]
    frames = torch.cat([one.frames for one in episodes])
    return _Memory(
        frames,
        blur(frames, experiment.look),
        torch.cat([one.labels for one in episodes]),
        torch.from_numpy(np.concatenate([actions.normalise(one.action) for one in episodes])),
        torch.from_numpy(np.concatenate([states.normalise(one.state) for one in episodes])),
        torch.from_numpy(np.concatenate(stretches)),
        span,
        torch.from_numpy(np.repeat(begins, lengths)),
        torch.from_numpy(np.repeat(lengths, lengths)),
    )


def _loss(
    network: ActionNetwork, memory: _Memory, experiment: LabellerExperiment, random: torch.Generator
) -> Float[Tensor, ""]:
    chunk = experiment.network.chunk
    begin = memory.stretches[torch.randint(len(memory.stretches), (experiment.batch,), generator=random)]
    rows = begin[:, None] + torch.arange(memory.span)
    other = memory.first[rows] + (torch.rand(rows.shape, generator=random) * memory.length[rows]).long()
    pictures = memory.frames[rows], memory.labels[rows], memory.blurred[rows], memory.frames[other]
    shown = imagined(*pictures, experiment.network, experiment.look, random)
    with torch.autocast("cpu", torch.bfloat16):
        answer = network(shown)
    whole = rows[:, : memory.span - chunk, None] + torch.arange(chunk + 1)
    loss = _likelihood(answer.action, answer.action_spread, memory.action[whole], experiment.beta)
    if memory.state.shape[1]:
        told = answer.state, answer.state_spread, memory.state[rows]
        loss = loss + experiment.state * _likelihood(*told, experiment.beta)
    return loss


def _likelihood(
    mean: Float[Tensor, "*b m"], spread: Float[Tensor, "*b m"], truth: Float[Tensor, "*b m"], beta: float
) -> Float[Tensor, ""]:
    """Return the mean negative logarithm of a Gaussian, each weighed by its deviation to the power of 2 beta."""
    weight = torch.exp(2 * beta * spread.detach())
    return (weight * (spread + 0.5 * ((truth - mean) * torch.exp(-spread)) ** 2)).mean()
