"""Windows: pieces of encoded episodes, all of one length, as a dataset for a loader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NotRequired, TypedDict

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from mask2iv_ros.errors import Refused
from mask2iv_ros.training.latents import LatentEpisodes

if TYPE_CHECKING:
    from mask2iv_ros.training.pasted import Pasted
    from mask2iv_ros.training.trajectories import Trajectories


@dataclass(frozen=True)
class Windows:
    """Which pieces of an episode are trained on.

    Attributes:
        frames: of a window.
        strides: frames of the episode from one frame of the window to the next; each is used for
            every start. The base model was trained with 1 to 6 (reference, section 6).
        every: a window starts at every so-manieth frame.
    """

    frames: int = 16
    strides: tuple[int, ...] = (1,)
    every: int = 8

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise Refused(f"frames is {self.frames}; expected at least 2 in a window")
        if not self.strides or min(self.strides) < 1:
            raise Refused(f"strides are {self.strides}; expected one or more, each at least 1")
        if self.every < 1:
            raise Refused(f"every is {self.every}; expected a window to start at every 1 or more frames")

    def within(self, length: int) -> Iterator[tuple[int, int]]:
        """Yield (start, stride) of all windows that fit into an episode of `length` frames."""
        for stride in self.strides:
            for start in range(0, length - (self.frames - 1) * stride, self.every):
                yield start, stride


class Window(TypedDict):
    """One item of `LatentWindows`; a loader's default collation adds the axis b in front.

    Attributes:
        video: latents of the frames, half precision.
        masks: latents of the coloured label maps, half precision.
        goal: latent of where the object ends up, alone and coloured: the dataset's goal mask if
            the window ends with its episode, otherwise the object as the window's last frame shows it.
        labels: `Role`s in pixels.
        text: hidden states of the task's text; there if the episodes were encoded with a text encoder.
        image: tokens of the window's first frame; there if they were encoded with an image encoder.
        sampled: latents of trajectories that stage 1 sampled for the window, half precision; there if it has some.
        frame: the first frame in pixels, and
        pasted: latents of its pixels pasted along the masks, half precision; there if they were made (`pasted`).
        pasted_sampled: the same along the sampled trajectories.
        fps: of the window, floor(fps of the dataset / stride), at least 1.
    """

    video: Float[Tensor, "c t h w"]
    masks: Float[Tensor, "c t h w"]
    goal: Float[Tensor, "c h w"]
    labels: UInt8[Tensor, "t H W"]
    text: NotRequired[Float[Tensor, "s d"]]
    image: NotRequired[Float[Tensor, "n d"]]
    sampled: NotRequired[Float[Tensor, "n c t h w"]]
    frame: NotRequired[UInt8[Tensor, "H W 3"]]
    pasted: NotRequired[Float[Tensor, "c t h w"]]
    pasted_sampled: NotRequired[Float[Tensor, "n c t h w"]]
    fps: int


class LatentWindows(Dataset[Window]):
    """All windows of encoded episodes whose first frame shows the object and whose goal is known.

    Where the object is hidden in the first frame there is nothing to move, and where it is
    hidden in the last there is no goal to train on: such windows are left out.

    Args:
        latents: encoded episodes.
        windows: which pieces of them.
        trajectories: that stage 1 sampled for them, to be given beside the true ones.

    Attributes:
        pasted: made for these windows (`encode_pasted`), to be given too; none to begin with.

    Raises:
        Refused: no window is left, or windows start at frames without image tokens.
    """

    def __init__(self, latents: LatentEpisodes, windows: Windows, trajectories: Trajectories | None = None):
        if latents.image_folder and windows.every % latents.every:
            raise Refused(
                f"windows start at every {windows.every} frames and image tokens are at every {latents.every}; "
                "expected a multiple"
            )
        self.latents, self.windows, self.trajectories = latents, windows, trajectories
        self.pasted: Pasted | None = None
        self.places: list[tuple[int, int, int]] = []  # episode, start, stride
        for episode, info in enumerate(latents.episodes):
            seen, has_goal = latents.object_seen(episode)
            for start, stride in windows.within(info.frames):
                last = start + (windows.frames - 1) * stride
                if seen[start] and (seen[last] or (has_goal and last == info.frames - 1)):
                    self.places.append((episode, start, stride))
        if not self.places:
            longest = max(info.frames for info in latents.episodes)
            raise Refused(
                f"{latents.root} has no window of {windows.frames} frames at strides {windows.strides} that shows the "
                f"object first and last; its longest episode has {longest} frames"
            )

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Window:
        episode, start, stride = self.places[index]
        stop = start + (self.windows.frames - 1) * stride + 1
        with self.latents.open(episode) as file:

            def frames(name: str) -> Tensor:
                return file.get_slice(name)[start:stop][::stride]

            ends = stop == self.latents.episodes[episode].frames and "goal" in file.keys()  # noqa: SIM118 not a dict
            window = Window(
                video=frames("video").transpose(0, 1).contiguous(),
                masks=frames("masks").transpose(0, 1).contiguous(),
                goal=file.get_tensor("goal") if ends else file.get_slice("object")[stop - 1],
                labels=frames("labels").contiguous(),
                fps=max(1, self.latents.fps // stride),
            )
        if self.latents.text_folder:
            window["text"] = self.latents.text(self.latents.episodes[episode].task)
        if self.latents.image_folder:
            window["image"] = self.latents.image(episode, start)
        if self.trajectories is not None:
            sampled = self.trajectories.of(self.latents.episodes[episode], start, stride)
            if sampled is not None:
                window["sampled"] = sampled
        if self.pasted is not None:
            window.update(self.pasted.of(self.latents.episodes[episode], start, stride))
        return window

    def change_scale(self, stream: str, at_most: int = 400) -> Float[Tensor, "c"]:
        """Return the root mean square of z - z_origin per channel, over windows spread evenly.

        The origin is the pasted video where there is one, otherwise the first frame.

        Args:
            stream: "masks" (stage 1) or "video" (stage 2).
            at_most: windows that are looked at.
        """
        chosen = torch.linspace(0, len(self) - 1, min(at_most, len(self))).round().long().tolist()
        total = torch.zeros(())
        for index in chosen:
            window = self[index]
            latent = window[stream].float()
            origin = latent[:, :1] if self.pasted is None else window["pasted"].float()
            total = total + (latent - origin).square().mean((1, 2, 3))
        return (total / len(chosen)).sqrt().clamp_min(1e-3)
