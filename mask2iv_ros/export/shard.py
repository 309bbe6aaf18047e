"""LeRobot's own writer and aggregation, one rollout at a time.

Importing this module imports lerobot, torch and datasets (several seconds), so the writer does
it when the first rollout comes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import datasets
import pandas as pd
import pyarrow.parquet as pq
from huggingface_hub import constants as hub
from lerobot.configs import RGBEncoderConfig
from lerobot.datasets import LeRobotDataset, LeRobotDatasetMetadata
from lerobot.datasets.aggregate import (
    aggregate_data,
    aggregate_metadata,
    aggregate_videos,
    finalize_aggregation,
)
from lerobot.datasets.io_utils import load_info, load_stats, load_tasks
from lerobot.datasets.utils import (
    DEFAULT_CHUNK_SIZE,
    DEFAULT_DATA_FILE_SIZE_IN_MB,
    DEFAULT_VIDEO_FILE_SIZE_IN_MB,
    update_chunk_file_indices,
)

from mask2iv_ros.export.estimate import Estimate
from mask2iv_ros.export.provenance import provenance_columns
from mask2iv_ros.export.robot import RobotColumns
from mask2iv_ros.export.schema import (
    DEFAULT_TASK,
    VIDEO,
    ExportSettings,
    features,
    frame_from_goal,
    frame_from_labels,
)
from mask2iv_ros.scene import Rollout

# An append rewrites the last data file and the last file of the episodes' metadata, so their
# length bounds what it costs: LeRobot takes 1 to 3 ms for every row with images. A reader takes
# 4 ms for every file when it first loads a dataset: half a second at 1,000 episodes.
EPISODES_PER_DATA_FILE = 8
EPISODES_PER_METADATA_FILE = 100

# Less than any video, in MB.
_NO_ROOM = 1e-9

# LeRobot wants a name for every dataset and keeps it nowhere.
_REPO_ID = "mask2iv/rollouts"


@contextlib.contextmanager
def lerobot_contained(scratch: Path) -> Iterator[None]:
    """Keep LeRobot off the network, quiet, and its caches in `scratch`.

    Reading a parquet file, `datasets` leaves an Arrow copy of it in the user's cache for ever;
    one append would add the size of what it rewrites. These are settings of the process, put
    back on leaving.
    """
    saved = hub.HF_HUB_OFFLINE, datasets.config.HF_DATASETS_CACHE, datasets.are_progress_bars_disabled()
    hub.HF_HUB_OFFLINE, datasets.config.HF_DATASETS_CACHE = True, scratch
    datasets.disable_progress_bars()
    av.logging.set_libav_level(av.logging.ERROR)
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE, datasets.config.HF_DATASETS_CACHE, disabled = saved
        if not disabled:
            datasets.enable_progress_bars()


def write_shard(
    rollouts: Sequence[Rollout],
    root: Path,
    settings: ExportSettings,
    imagined: bool = True,
    robots: Sequence[RobotColumns] | None = None,
) -> None:
    """Write rollouts of one size and rate as a finished LeRobot dataset into `root`, which must not exist.

    Args:
        rollouts: the episodes.
        root: the dataset's folder.
        settings: how they are written.
        imagined: False for episodes that a camera has seen, true or simulated.
        robots: state and action of each episode, where the settings name some.

    Raises:
        Refused: an episode's state or action is not what the settings name.
    """
    robots = robots or [RobotColumns()] * len(rollouts)
    columns = [robot.frames(len(one.video), settings) for one, robot in zip(rollouts, robots, strict=True)]
    size = rollouts[0].video.shape[1:3]
    dataset = LeRobotDataset.create(
        _REPO_ID,
        fps=int(rollouts[0].fps),
        features=features(settings, size),
        root=root,
        rgb_encoder=RGBEncoderConfig(**VIDEO),
        # Frames go to the encoder as they are, without a PNG of each on the way: 0.2 s instead
        # of 0.65 s for 16 frames of 320 x 512. A queue shorter than the video drops frames.
        streaming_encoding=True,
        encoder_queue_maxsize=max(len(rollout.video) for rollout in rollouts) + 1,
        # A video file for each episode: LeRobot joins videos in the system's temporary folder,
        # where a kill would leave rests.
        video_files_size_in_mb=_NO_ROOM,
        # Otherwise LeRobot tries torchcodec, which logs a page where there is no system FFmpeg.
        video_backend="pyav",
    )
    for rollout, robot, told in zip(rollouts, columns, robots, strict=True):
        _add_episode(dataset, rollout, robot, settings, imagined, told.estimate)
    dataset.finalize()
    shutil.rmtree(root / "images")  # LeRobot leaves its empty working folders
    dataset.meta.update_chunk_settings(video_files_size_in_mb=DEFAULT_VIDEO_FILE_SIZE_IN_MB)
    for rollout, path in zip(rollouts, sorted((root / "videos").rglob("*.mp4")), strict=True):
        _require_all_frames(path, len(rollout.video))


def _add_episode(
    dataset: LeRobotDataset,
    rollout: Rollout,
    robot: list[dict[str, Any]],
    settings: ExportSettings,
    imagined: bool,
    estimate: Estimate | None,
) -> None:
    provenance = provenance_columns(rollout, imagined, estimate)
    goal = frame_from_goal(rollout.goal.mask, rollout.video.shape[1:3])
    for image, labels, columns in zip(rollout.video, rollout.trajectory.labels, robot, strict=True):
        frame = {
            settings.image_key: image,
            settings.labels_key: frame_from_labels(labels),
            settings.goal_key: goal,
            "task": rollout.goal.instruction.strip() or DEFAULT_TASK,
        }
        dataset.add_frame(frame | columns | provenance)
    dataset.save_episode()


def _require_all_frames(path: Path, frames: int) -> None:
    """Raise `OSError` if a video is shorter than its rollout: an encoder that stops early says so only in the log."""
    with av.open(str(path)) as video:
        held = video.streams.video[0].frames
    if held != frames:
        raise OSError(f"{path} holds {held} frames; {frames} were written")


class _Totals(LeRobotDatasetMetadata):
    """Metadata without the list of episodes, whose loading takes half of an append and grows."""

    def _load_metadata(self) -> None:
        self.info, self.tasks, self.stats = load_info(self.root), load_tasks(self.root), load_stats(self.root)
        self.episodes = None


def absorb(dataset: Path, shard: Path, settings: ExportSettings) -> None:
    """Add the episodes of `shard` to `dataset`, in place.

    `aggregate_datasets` would copy the whole dataset into a new one; these are its own steps,
    run for the new episodes only. Of the files that are there, the last of `data` and the last
    of `meta/episodes` are rewritten and grow, besides those in `meta` (see `rewritten`).
    """
    before, after, source = (_Totals(_REPO_ID, root=root) for root in (dataset, dataset, shard))
    source.episodes = pd.read_parquet(shard / "meta/episodes")
    tasks = pd.concat([before.tasks, source.tasks]).index.unique()
    after.tasks = pd.DataFrame({"task_index": range(len(tasks))}, index=pd.Index(tasks, name="task"))

    video = _next(_last(dataset / "videos" / settings.image_key)) | {"latest_duration": 0, "episode_duration": 0}
    videos = aggregate_videos(source, after, {settings.image_key: video}, 0, DEFAULT_CHUNK_SIZE, False)

    data = aggregate_data(source, after, _data_tail(dataset), DEFAULT_DATA_FILE_SIZE_IN_MB, DEFAULT_CHUNK_SIZE)
    aggregate_metadata(source, after, _metadata_tail(dataset), data, videos)
    finalize_aggregation(after, [before, source])


def rewritten(dataset: Path) -> Callable[[Path], bool]:
    """Return whether `absorb` writes to a file that exists, by its path relative to the dataset."""
    ends = [
        Path(folder, _NAME.format(**index))
        for folder, index in (("data", _data_tail(dataset)), ("meta/episodes", _metadata_tail(dataset)))
    ]
    return lambda path: path in ends or path.parent == Path("meta")


_NAME = "chunk-{chunk:03d}/file-{file:03d}.parquet"


def _data_tail(dataset: Path) -> dict[str, int]:
    """Return the data file that the next episode goes to, which need not exist yet."""
    index = _last(dataset / "data")
    # LeRobot writes one row group an episode.
    episodes = pq.read_metadata(dataset / "data" / _NAME.format(**index)).num_row_groups
    return index if episodes < EPISODES_PER_DATA_FILE else _next(index)


def _metadata_tail(dataset: Path) -> dict[str, int]:
    """Return the file that the next episode's metadata go to, which need not exist yet."""
    index = _last(dataset / "meta/episodes")
    episodes = pq.read_metadata(dataset / "meta/episodes" / _NAME.format(**index)).num_rows
    return index if episodes < EPISODES_PER_METADATA_FILE else _next(index)


def _last(folder: Path) -> dict[str, int]:
    """Return the last of LeRobot's `chunk-000/file-000` files in a folder."""
    files = [(int(path.parent.name[6:]), int(path.stem[5:])) for path in folder.glob("chunk-*/file-*")]
    if not files:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
    chunk, file = max(files)
    return {"chunk": chunk, "file": file}


def _next(index: dict[str, int]) -> dict[str, int]:
    chunk, file = update_chunk_file_indices(index["chunk"], index["file"], DEFAULT_CHUNK_SIZE)
    return {"chunk": chunk, "file": file}
