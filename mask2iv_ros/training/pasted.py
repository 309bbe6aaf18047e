"""First frames pasted along windows' masks, as a stage 2 wants them whose origin they are: made once, kept.

Beside the latents of a dataset's frames, in a folder named by what they depend on, a file an episode:

    frame/<start>                     the window's first frame in pixels: h w 3
    true/<start>/<stride>             pasted along the true masks: c t h w, half precision
    sampled/<start>/<stride>          along the trajectories that stage 1 sampled: n c t h w, half precision
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from tqdm import tqdm

from mask2iv_ros.data.labelled import EpisodeInfo, LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.autoencoder import Autoencoder, encode_video, to_unit
from mask2iv_ros.generator.framing import Framing
from mask2iv_ros.generator.paste import paste_and_move
from mask2iv_ros.training.cached import episode_file, reading, told, write
from mask2iv_ros.training.origin import hashed
from mask2iv_ros.training.windows import LatentWindows

_MADE_BY = 1  # counted up when `paste_and_move` makes something else of the same


@dataclass(frozen=True)
class Pasted:
    """Pasted videos of a dataset's windows.

    Attributes:
        folder: where they are.
    """

    folder: Path

    def of(self, info: EpisodeInfo, start: int, stride: int) -> dict[str, Tensor]:
        """Return a `Window`'s `frame`, `pasted` and, if it has sampled trajectories, `pasted_sampled`.

        Raises:
            Refused: their file is gone or torn.
        """
        with reading(self.folder / episode_file(info), "pasted frames", "encode the dataset anew") as file:
            found = {
                "frame": file.get_tensor(f"frame/{start}"),
                "pasted": file.get_tensor(f"true/{start}/{stride}"),
            }
            if f"sampled/{start}/{stride}" in file.keys():  # noqa: SIM118 not a dict
                found["pasted_sampled"] = file.get_tensor(f"sampled/{start}/{stride}")
            return found


@torch.inference_mode()
def encode_pasted(
    dataset: LabelledDataset, windows: LatentWindows, autoencoder: Autoencoder, device: torch.device | str
) -> Pasted:
    """Paste and encode all windows, or what is missing or out of date of them.

    Args:
        dataset: that the windows are of.
        windows: with the trajectories that stage 2 is to be told, if any.
        autoencoder: on `device` already.
        device: of the autoencoder.

    Raises:
        Refused: a corrupt episode, or a folder that cannot be written.
    """
    latents, trajectories = windows.latents, windows.trajectories
    sampled = None if trajectories is None else trajectories.digest
    key = hashed([_MADE_BY, latents.video_folder.name, asdict(windows.windows), sampled])
    folder = latents.video_folder.with_name(f"pasted-{key}")
    of_episode: dict[int, list[tuple[int, int]]] = {}
    for episode, *span in windows.places:
        of_episode.setdefault(episode, []).append(tuple(span))
    missing = [
        episode
        for episode in of_episode
        if told(folder / episode_file(latents.episodes[episode]), latents.episodes[episode].digest) is None
    ]
    framing = Framing(dataset.size, latents.size)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for episode in tqdm(missing, desc="pasting", unit="episode", mininterval=5, disable=not missing):
            info = latents.episodes[episode]
            video, labels, _ = dataset.read(info.index)
            tensors: dict[str, Tensor] = {}
            for start, stride in of_episode[episode]:
                chosen = slice(start, start + (windows.windows.frames - 1) * stride + 1, stride)
                first = framing.image(video[start])
                followed = np.stack([framing.labels(one) for one in labels[chosen]])
                tensors[f"frame/{start}"] = torch.from_numpy(first)
                tensors[f"true/{start}/{stride}"] = encode_one(autoencoder, first, followed, device)
                others = None if trajectories is None else trajectories.labels(info, start, stride)
                if others is not None:
                    tensors[f"sampled/{start}/{stride}"] = torch.stack(
                        [encode_one(autoencoder, first, other.numpy(), device) for other in others]
                    )
            write(folder / episode_file(info), tensors, info.digest)
    except OSError as error:
        raise Refused(f"{folder} cannot be written ({error}); expected a folder with room") from error
    return Pasted(folder)


@torch.no_grad()
def encode_one(
    autoencoder: Autoencoder,
    first: UInt8[np.ndarray, "H W 3"],
    labels: UInt8[np.ndarray, "t H W"],
    device: torch.device | str,
) -> Float[Tensor, "c t h w"]:
    """Return the latents of a first frame that is pasted along masks."""
    dtype = next(autoencoder.parameters()).dtype
    pixels = to_unit(paste_and_move(first, labels))[None].to(device, dtype)
    return encode_video(autoencoder, pixels)[0].float()
