"""Trains the segmenter that finds arm and object again in imagined videos, and adds it to a checkpoint.

Minutes on one core, so a killed training begins anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator import checkpoint as checkpoints
from mask2iv_ros.generator.autoencoder import Autoencoder, to_bytes, to_unit
from mask2iv_ros.generator.framing import Framing
from mask2iv_ros.masks import Role, iou
from mask2iv_ros.scoring.segmenter import ROLES, Segmenter, find_roles, one_hot
from mask2iv_ros.training.curves import Curves
from mask2iv_ros.training.descent import descend
from mask2iv_ros.training.imagined import Look, erase_object, imagine_look, shift_colours, through_autoencoder
from mask2iv_ros.training.order import seed_at

_IGNORED = -100  # what cross_entropy leaves out


@dataclass(frozen=True)
class SegmenterExperiment:
    """Settings.

    Attributes:
        widths: see `Segmenter`.
        head_width: see `Segmenter`.
        steps: gradient steps.
        batch: pairs of frame and first frame a step.
        rate: peak of the cosine learning rate.
        pool: frames that pairs are drawn from, as many of every episode, spread evenly over it.
        weights: of a pixel of background, interactor and object in the cross-entropy.
        look: see `Look`.
        held_out: share of the episodes that is measured on where no dataset for it is given.
        every: steps between two points of the curves.
        seed: of everything random.
    """

    widths: tuple[int, ...] = (24, 40, 72)
    head_width: int = 24
    steps: int = 2000
    batch: int = 16
    rate: float = 2e-3
    pool: int = 8192
    weights: tuple[float, float, float] = (1.0, 1.5, 4.0)
    look: Look = field(default_factory=Look)
    held_out: float = 0.05
    every: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 1), ("pool", 2), ("every", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise Refused(f"{name} is {getattr(self, name)}; expected at least {least}")
        if not 0 < self.rate < 1:
            raise Refused(f"rate is {self.rate}; expected above 0 and below 1")
        if not all(0 < weight < 100 for weight in self.weights):
            raise Refused(f"weights are {self.weights}; expected three above 0 and below 100")
        if not 0 < self.held_out < 1:
            raise Refused(f"held_out is {self.held_out}; expected above 0 and below 1")


@dataclass(frozen=True)
class Clips:
    """Frames to draw pairs from.

    Attributes:
        frames: RGB, episode after episode.
        labels: one `Role` per pixel.
        begins: row of every episode's first frame, and the number of rows at the end.
    """

    frames: UInt8[np.ndarray, "n h w 3"]
    labels: UInt8[np.ndarray, "n h w"]
    begins: Int64[np.ndarray, "e"]

    @property
    def episodes(self) -> Iterator[range]:
        """The rows of every episode."""
        return (range(*pair) for pair in zip(self.begins, self.begins[1:], strict=False))


def train_segmenter(
    experiment: SegmenterExperiment,
    data: Path,
    out: Path,
    work: Path,
    validation: Path | None = None,
    camera: str | None = None,
    dtype: torch.dtype = torch.float16,
) -> dict[str, float]:
    """Train a segmenter and add it to a checkpoint, in place of one that may be there.

    Args:
        experiment: see `SegmenterExperiment`.
        data: a LeRobot v3 dataset with a label image per frame.
        out: folder of the checkpoint, which gives size and autoencoder.
        work: for the curves.
        validation: another dataset, held out; without one a share of `data`'s episodes is.
        camera: whose frames and labels, where a dataset has several.
        dtype: of the weights in the checkpoint.

    Returns:
        Held-out IoU of arm and object, in true frames and in such as were made to look imagined.

    Raises:
        Refused: dataset or checkpoint cannot be read, no frame shows arm and object, the size is not
            one that the network takes, or the loss is no longer finite.
    """
    parts = checkpoints.load(out, torch.device("cpu"), stages=())
    size = parts.config.size
    torch.manual_seed(seed_at(experiment.seed))
    model = Segmenter(experiment.widths, experiment.head_width)
    if any(side % model.multiple for side in size):
        raise Refused(f"{out} makes pictures of {size}; expected multiples of {model.multiple} for {experiment.widths}")
    learned, held_out = _split(experiment, data, validation, camera, size)
    fit(model, learned, parts.autoencoder, experiment, work)
    figures = evaluate(model.eval(), held_out, parts.autoencoder, experiment)
    curves = Curves(work, experiment.steps)
    curves.line(experiment.steps, {f"held-out IoU, {name}": value for name, value in figures.items()})
    curves.close()
    checkpoints.add_segmenter(out, model, dtype)
    return figures


def gather(dataset: LabelledDataset, size: tuple[int, int], count: int, episodes: list[int]) -> Clips:
    """Return about `count` frames of some episodes at `size`, at least two and as many of each."""
    share = max(2, count // len(episodes))
    framing = Framing(dataset.size, size)
    frames, labels, begins = [], [], [0]
    for index in tqdm(episodes, desc="frames", unit="episode", mininterval=5):
        episode = dataset.read(index)
        for place in np.unique(np.linspace(0, len(episode.video) - 1, share).round().astype(int)):
            frames.append(framing.image(episode.video[place]))
            labels.append(framing.labels(episode.labels[place]))
        begins.append(len(frames))
    return Clips(np.stack(frames), np.stack(labels), np.array(begins))


def fit(
    model: Segmenter, clips: Clips, autoencoder: Autoencoder, experiment: SegmenterExperiment, work: Path
) -> list[float]:
    """Train in place; return the loss of every step."""
    rng = np.random.default_rng(experiment.seed)
    shown = _shown(clips)
    weights = torch.tensor(experiment.weights)

    def loss_at(_: int) -> Float[Tensor, ""]:
        frame, first, roles, truth = _draw(clips, shown, autoencoder, experiment, rng)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(frame, first, roles).float()
        return F.cross_entropy(logits, truth, weights) + _overlap_loss(logits, truth)

    return descend(model, loss_at, experiment, 0.01, max(1, experiment.steps // 25), work, "segmenter")


def evaluate(
    model: Segmenter, clips: Clips, autoencoder: Autoencoder, experiment: SegmenterExperiment
) -> dict[str, float]:
    """Return the mean IoU of arm and object over all frames but each episode's first.

    Names are "interactor", "object" and, of the same frames made to look imagined but with their colours,
    "interactor, imagined look", "object, imagined look". Frames in which neither truth nor answer shows
    a role do not count for it.
    """
    rng = np.random.default_rng(experiment.seed)
    values: dict[str, list[float]] = {}
    for rows in clips.episodes:
        first, others = rows[0], np.array(rows[1:])
        plain, truth = clips.frames[others], clips.labels[others]
        shuffled = clips.frames[rng.permutation(others)]
        looks = [imagine_look(*pair, experiment.look, rng) for pair in zip(plain, shuffled, strict=True)]
        changed = to_bytes(through_autoencoder(autoencoder, np.stack(looks), experiment.look, rng))
        for video, suffix in ((plain, ""), (changed, ", imagined look")):
            found = find_roles(model, clips.frames[first], clips.labels[first], video)
            for role in ROLES[1:]:
                for one, other in zip(found == role, truth == role, strict=True):
                    if one.any() or other.any():
                        values.setdefault(role.name.lower() + suffix, []).append(iou(one, other))
    return {name: float(np.mean(found)) for name, found in values.items()}


def _split(
    experiment: SegmenterExperiment, data: Path, validation: Path | None, camera: str | None, size: tuple[int, int]
) -> tuple[Clips, Clips]:
    """Return what is learned from and what is measured on."""
    dataset = LabelledDataset.open(data, camera)
    learned = [info.index for info in dataset.episodes if info.frames > 1]
    if validation is not None:
        other = LabelledDataset.open(validation, camera)
        held_out = [info.index for info in other.episodes if info.frames > 1]
    else:
        if len(learned) < 2:
            raise Refused(f"{data} has 1 episode; expected 2, one of them held out, or a dataset for --validation")
        other, every = dataset, max(2, round(1 / experiment.held_out))
        held_out = learned[every // 2 :: every] or learned[-1:]
        learned = [index for index in learned if index not in set(held_out)]
    count = experiment.pool
    return gather(dataset, size, count, learned), gather(other, size, min(count, 16 * len(held_out)), held_out)


def _shown(clips: Clips) -> list[tuple[Int64[np.ndarray, "s"], Int64[np.ndarray, "f"]]]:
    """Return for every episode that shows arm and object the rows that can be a first frame, and all its rows."""
    complete = np.all([(clips.labels == role).any((1, 2)) for role in ROLES[1:]], axis=0)
    found = [(np.array([row for row in rows if complete[row]]), np.array(rows)) for rows in clips.episodes]
    found = [(firsts, rows) for firsts, rows in found if len(firsts)]
    if not found:
        raise Refused(f"none of {len(clips.frames)} frames shows an arm and an object; expected labels of both")
    return found


def _draw(
    clips: Clips,
    shown: list[tuple[Int64[np.ndarray, "s"], Int64[np.ndarray, "f"]]],
    autoencoder: Autoencoder,
    experiment: SegmenterExperiment,
    rng: np.random.Generator,
) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b 3 h w"], Float[Tensor, "b 2 h w"], Int[Tensor, "b h w"]]:
    """Return frames, first frames, where these show the roles, and the true role of every pixel of the frames."""
    look = experiment.look
    drawn: list[tuple[np.ndarray, ...]] = []
    for episode in rng.integers(len(shown), size=experiment.batch):
        firsts, rows = shown[episode]
        # Half of the time as it will be used; the other half shows things where they seldom begin.
        begin = firsts[0] if rng.random() < 0.5 else rng.choice(firsts)
        row, other = rng.choice(rows), rng.choice(rows)
        frame, labels = clips.frames[row], clips.labels[row]
        if rng.random() < look.erased:
            frame, labels = erase_object(frame, labels, clips.frames[other], clips.labels[other])
        ghosted = imagine_look(frame, clips.frames[other], look, rng)
        first, frame = shift_colours(np.stack([clips.frames[begin], ghosted]), look.colours, rng)
        pair = (frame, first, clips.labels[begin], labels)
        drawn.append(tuple(one[:, ::-1] for one in pair) if rng.random() < look.flipped else pair)
    frames, firsts, first_labels, labels = (np.stack(one) for one in zip(*drawn, strict=True))
    truth = torch.from_numpy(labels.astype(np.int64))
    truth[truth == Role.UNLABELLED] = _IGNORED
    return through_autoencoder(autoencoder, frames, look, rng), to_unit(firsts), one_hot(first_labels), truth


def _overlap_loss(logits: Float[Tensor, "b 3 h w"], truth: Int[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Return one minus the soft IoU of arm and object over the batch: a small object counts as much as a large arm."""
    share = logits.softmax(1)[:, 1:]
    known = (truth != _IGNORED)[:, None]
    wanted = torch.stack([truth == role for role in ROLES[1:]], 1) & known
    both = (share * wanted).sum((0, 2, 3))
    either = (share * known + wanted).sum((0, 2, 3)) - both
    return 1 - ((both + 1) / (either + 1)).mean()
