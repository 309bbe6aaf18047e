"""What a training shows while it runs: curves and videos for TensorBoard, and the same curves as lines of JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter


class Curves:
    """Writes into a training's folder.

    Args:
        folder: gets `events.*` and `log.jsonl`.
        step: that the training goes on from; what a killed run wrote after it is taken back.
    """

    def __init__(self, folder: Path, step: int):
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = SummaryWriter(folder, purge_step=step + 1)
        self._log = folder / "log.jsonl"
        if self._log.exists():
            kept = [line for line in self._log.read_text().splitlines() if _step(line) <= step]
            self._log.write_text("".join(f"{line}\n" for line in kept))

    def points(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each of some curves."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def line(self, step: int, values: Mapping[str, float]) -> None:
        """Add a line to `log.jsonl`."""
        with self._log.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def video(self, step: int, name: str, frames: UInt8[np.ndarray, "t h w 3"], fps: float) -> None:
        """Add a video, which TensorBoard shows where it is a moving picture among the images."""
        first, *others = [Image.fromarray(frame) for frame in frames]
        stream = io.BytesIO()
        first.save(stream, "GIF", save_all=True, append_images=others, duration=round(1000 / fps), loop=0)
        height, width = frames.shape[1:3]
        picture = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=stream.getvalue())
        self._writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=name, image=picture)]), step)

    def flush(self) -> None:
        """Write out what is buffered."""
        self._writer.flush()

    def close(self) -> None:
        """Close the files."""
        self._writer.close()


def _step(line: str) -> float:
    """Return the step of a line; a torn one has none and goes."""
    try:
        return json.loads(line)["step"]
    except (ValueError, LookupError, TypeError):
        return float("inf")
