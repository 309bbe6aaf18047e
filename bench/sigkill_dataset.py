"""Kill a writing process at random moments and see that no accepted rollout is lost.

    python bench/sigkill_dataset.py --kills 50 --seed 0

Each round starts a process that appends rollouts to one dataset and tells which ones were
accepted, and kills it with SIGKILL after a random time. Then, without any repair, the dataset
is loaded as a user would, and must hold every accepted rollout in its place: provenance of all,
pixels of those accepted in this round. Now and then it is loaded while the process writes, too.
The next process repeats what the last one was not told to be accepted, which must give no
duplicates. The exit status is 0 if all of this held in every round.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mask2iv_ros.export import DatasetWriter, labels_from_frame, read_provenance
from mask2iv_ros.export.provenance import digest
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory

MIN_PSNR = 38.0


def rollout(
    number: int,
    size: tuple[int, int] = (64, 96),
    frames: int = 8,
    fps: float = 8.0,
    instruction: str = "",
    with_mask: bool = True,
) -> Rollout:
    """Return a small made-up rollout: a red arm stands still, a green object moves over noise."""
    height, width = size
    noise = np.random.default_rng(number)
    labels = np.zeros((frames, height, width), np.uint8)
    labels[:, : height // 3, : width // 4] = 1
    for t in range(frames):
        labels[t, height // 2 : height // 2 + 9, 3 * t : 3 * t + 12] = 2
    coarse = noise.integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    video = np.repeat(coarse.repeat(8, axis=0).repeat(8, axis=1)[None, :height, :width], frames, axis=0)
    video[labels == 1] = (200, 30, 40)
    video[labels == 2] = (20, 200, 60)
    goal = np.zeros(size, bool)
    goal[height // 2 : height // 2 + 9, -20:-5] = True
    return Rollout(
        id=f"rollout-{number}",
        scene=Scene(video[0].copy(), labels[0].copy(), stamp_ns=1_700_000_000_123_456_789 + number, frame_id="optical"),
        goal=Goal(goal if with_mask else None, instruction),
        trajectory=Trajectory(labels, "edited" if number % 2 else "predicted"),
        video=video,
        fps=fps,
        seed=number,
        checkpoint="default@1a2b3c4d",
        scores={"goal_iou": 0.5 + number / 4096, "permanence": 0.25},
    )


def write(root: Path, first: int, accepted: Connection) -> None:
    """Append rollouts from number `first` on, in twos and ones, until killed."""
    import mask2iv_ros.export.shard  # noqa: F401  so that the time to import is not what is killed

    accepted.send(("ready", []))
    with DatasetWriter(root) as writer:
        while True:
            batch = [first, first + 1] if first % 3 == 0 else [first]
            episodes = writer.append([rollout(number) for number in batch])
            accepted.send(("accepted", list(zip(batch, episodes, strict=True))))
            first = batch[-1] + 1


def check(root: Path, accepted: dict[int, int], pixels_of: list[int]) -> list[str]:
    """Load the dataset and return what is wrong with it; `accepted` gives the episode of each rollout."""
    from lerobot.datasets import LeRobotDataset

    if not root.exists():
        return [f"{len(accepted)} rollouts accepted, no dataset"] if accepted else []
    try:
        # pyav, because torchcodec wants a system FFmpeg.
        dataset = LeRobotDataset("mask2iv/bench", root=root, video_backend="pyav")
        found = {one.id: one for one in read_provenance(root)}
        wrong = []
        if len(dataset.hf_dataset) < len(dataset) or len(dataset.meta.episodes) < dataset.num_episodes:
            wrong.append(f"{len(dataset)} frames counted, {len(dataset.hf_dataset)} there")
        for number, episode in accepted.items():
            one = found.get(f"rollout-{number}")
            if one is None or one.episode != episode or one.digest != digest(rollout(number)):
                wrong.append(f"rollout {number} accepted as episode {episode}, found {one}")
        for number in pixels_of:
            wrong += _compare(dataset, accepted[number], rollout(number))
    except Exception as error:
        return [f"does not load: {type(error).__name__}: {error}"]
    return wrong


def _compare(dataset, episode: int, expected: Rollout) -> list[str]:
    start = dataset.meta.episodes[episode]["dataset_from_index"]
    wrong = []
    for t, image in enumerate(expected.video):
        item = dataset[start + t]
        error = item["observation.images.front"].numpy().transpose(1, 2, 0) * 255 - image
        psnr = 10 * np.log10(255**2 / np.mean(error**2))
        if psnr < MIN_PSNR:
            wrong.append(f"{expected.id} frame {t}: {psnr:.1f} dB")
        if not np.array_equal(labels_from_frame(item["observation.labels.front"]), expected.trajectory.labels[t]):
            wrong.append(f"{expected.id} frame {t}: labels differ")
    return wrong


def main() -> int:
    """Run the rounds and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--appends", type=int, default=2, help="a process is killed during one of its first appends")
    parser.add_argument("--root", type=Path, help="where the dataset is made; a temporary folder if left out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": f"{scratch}/cache"}
        root = arguments.root or Path(scratch, "dataset")
        result = run(root, arguments.kills, random.Random(arguments.seed), arguments.appends)
    print(json.dumps(result, indent=2))
    return 1 if result["wrong"] else 0


def run(root: Path, kills: int, chance: random.Random, appends: int) -> dict:
    """Kill `kills` writers and return the counts and all that was wrong."""
    # The children fork from a process that has imported LeRobot once and does nothing else.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mask2iv_ros.export.shard"])
    accepted: dict[int, int] = {}
    wrong: list[str] = []
    interrupted = loads = 0
    pace = 1.0  # seconds an append takes; measured, so that kills fall evenly over it on any machine
    for _ in tqdm(range(kills), unit="kill"):
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=write, args=(root, len(accepted), theirs), daemon=True)
        process.start()
        theirs.close()
        mine.recv()
        news = {}
        for _ in range(chance.randrange(appends)):
            begin = time.monotonic()
            news |= dict(mine.recv()[1])
            pace = time.monotonic() - begin
        end = time.monotonic() + chance.uniform(0, 1.2 * pace)
        if chance.random() < 0.3:
            wrong += [f"while written: {what}" for what in check(root, accepted, [])]
            loads += 1
        time.sleep(max(0.0, end - time.monotonic()))
        process.kill()
        process.join()
        try:
            while mine.poll():
                news |= dict(mine.recv()[1])
        except EOFError:
            pass
        accepted |= news
        interrupted += root.with_name(f".{root.name}.staging").exists()
        wrong += check(root, accepted, list(news))
        loads += 1
    with DatasetWriter(root) as writer:
        last = list(accepted)[-1:]
        repeated = writer.append([rollout(number) for number in last])
        if repeated != [accepted[number] for number in last]:
            wrong.append(f"rollout {last} appended again became episode {repeated}")
        episodes = writer.episodes
    ids = [one.id for one in read_provenance(root)] if episodes else []
    if len(set(ids)) != len(ids):
        wrong.append(f"{len(ids) - len(set(ids))} duplicates")
    left = sorted(path.name for path in root.parent.glob(f".{root.name}.*") if not path.name.endswith(".lock"))
    return {
        "kills": kills,
        "in the middle of an append": interrupted,
        "rollouts accepted": len(accepted),
        "episodes in the dataset": episodes,
        "loads": loads,
        "left beside the dataset": left,
        "wrong": wrong,
    }


if __name__ == "__main__":
    sys.exit(main())
