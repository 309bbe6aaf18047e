"""Trains the network of a labeller."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import BFloat16, Float, Int, UInt8
from torch import Tensor

from mask2iv_ros.actions.demonstrations import Demonstration
from mask2iv_ros.actions.frames import blur, imagined
from mask2iv_ros.actions.network import CHANNELS, ActionNetwork
from mask2iv_ros.actions.scale import Scale
from mask2iv_ros.actions.settings import LabellerExperiment
from mask2iv_ros.training.descent import descend
from mask2iv_ros.training.order import generator_at, seed_at


class _Memory(NamedTuple):
    """All episodes, one after another."""

    episodes: list[tuple[UInt8[Tensor, "t 3 h w"], UInt8[Tensor, "t h w"], UInt8[Tensor, "t 3 h w"]]]
    shown: BFloat16[Tensor, "n c h w"]  # as the network is shown them now
    action: Float[Tensor, "n m"]
    state: Float[Tensor, "n s"]
    stretches: Int[Tensor, "k"]  # the first row of every stretch
    span: int  # frames of a stretch


def fit(
    episodes: Sequence[Demonstration],
    actions: Scale,
    states: Scale,
    experiment: LabellerExperiment,
    work: Path,
    words: str = "labeller",
    base: ActionNetwork | None = None,
) -> ActionNetwork:
    """Return a network trained on episodes.

    Args:
        episodes: each of more frames than a chunk.
        actions: units of the actions.
        states: units of the states.
        experiment: see `LabellerExperiment`.
        work: for the curves.
        words: what the progress bar calls it.
        base: whose weights it begins with, of the same settings and columns; it stays as it is.

    Raises:
        Refused: the loss is no longer finite.
    """
    torch.manual_seed(seed_at(experiment.seed))
    random = generator_at(experiment.seed, 1)
    network = ActionNetwork(experiment.network, len(actions.mean), len(states.mean)).train()
    if base is not None:
        network.load_state_dict(base.state_dict())
    memory = _remember(episodes, actions, states, experiment)
    renewed = max(1, round(experiment.reuse * len(memory.action) / (experiment.batch * memory.span)))

    def loss_at(step: int) -> Float[Tensor, ""]:
        if step % renewed == 0:
            _look_anew(memory, experiment, random)
        return _loss(network, memory, experiment, random)

    descend(network, loss_at, experiment, experiment.decay, max(1, experiment.steps // 20), work, words)
    return network.eval()


def _remember(
    episodes: Sequence[Demonstration], actions: Scale, states: Scale, experiment: LabellerExperiment
) -> _Memory:
    lengths = np.array([len(one.frames) for one in episodes])
    begins = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    span = min(experiment.span, int(lengths.min()))
    stretches = [np.arange(begin, begin + length - span + 1) for begin, length in zip(begins, lengths, strict=True)]
    return _Memory(
        [(one.frames, one.labels, blur(one.frames, experiment.look)) for one in episodes],
        torch.empty(int(lengths.sum()), CHANNELS, *experiment.network.size, dtype=torch.bfloat16),
        torch.from_numpy(np.concatenate([actions.normalise(one.action) for one in episodes])),
        torch.from_numpy(np.concatenate([states.normalise(one.state) for one in episodes])),
        torch.from_numpy(np.concatenate(stretches)),
        span,
    )


def _look_anew(memory: _Memory, experiment: LabellerExperiment, random: torch.Generator) -> None:
    """Make all frames look imagined in another way; what is done to all frames of an episode is done alike."""
    begin = 0
    for frames, labels, blurred in memory.episodes:
        other = frames[torch.randint(len(frames), (len(frames),), generator=random)]
        pictures = (one[None] for one in (frames, labels, blurred, other))
        changed = imagined(*pictures, experiment.network, experiment.look, random)
        memory.shown[begin : begin + len(frames)] = changed[0]
        begin += len(frames)


def _loss(
    network: ActionNetwork, memory: _Memory, experiment: LabellerExperiment, random: torch.Generator
) -> Float[Tensor, ""]:
    chunk = experiment.network.chunk
    begin = memory.stretches[torch.randint(len(memory.stretches), (experiment.batch,), generator=random)]
    rows = begin[:, None] + torch.arange(memory.span)
    with torch.autocast("cpu", torch.bfloat16):
        answer = network(memory.shown[rows])
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
