"""IoU of arm, hands and objects, on the first frame and tracked, against masks drawn by hand and true ones.

    .venv/bin/python bench/segmentation.py --videos ../shared/data/real_video --clips runs/bench/test --out work

Every thing of a real video gets one box or one click, all those of a video one `track`. A Meta-World
clip gets the bounding boxes of arm and object in its first frame. `--backend sam2 --weights PATH`
measures another back end with the same prompts. Contact sheets of the overlays go to `--out`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from tqdm import tqdm

from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role, iou, overlay
from mask2iv_ros.segmentation import Prompt, Segmenter, create
from mask2iv_ros.segmentation.base import PROMPTED_ROLES

DRAWN = Path(__file__).resolve().parents[1] / "test/segmentation/real_video"
# One box (x, y, width, height), or one click (x, y), as an operator would give it on frame 0.
PROMPTS: dict[str, tuple[tuple[str, Role, tuple[int, ...]], ...]] = {
    "hands_coffee": (
        ("hand_left", Role.INTERACTOR, (262, 313, 212, 211)),
        ("hand_right", Role.INTERACTOR, (950, 329, 148, 230)),
        ("mug", Role.OBJECT, (798, 414, 194, 204)),
        ("kettle", Role.OBJECT, (560, 500)),
    ),
    "robot_arm": (
        ("arm", Role.INTERACTOR, (272, 122, 528, 326)),
        ("clamp", Role.OBJECT, (174, 408, 360, 214)),
    ),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="grabcut")
    parser.add_argument("--weights", default="", help="of the back end, a path or a hub id")
    parser.add_argument("--videos", type=Path, help="folder with hands_coffee.mp4 and robot_arm.mp4")
    parser.add_argument("--frames", type=int, default=241, help="of each video (%(default)s)")
    parser.add_argument("--clips", type=Path, help="LeRobot dataset of Meta-World clips with true masks")
    parser.add_argument("--most", type=int, default=44, help="clips at most, evenly chosen (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the contact sheets")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    back_end = create(arguments.backend, {"weights": arguments.weights} if arguments.weights else {})
    if arguments.videos:
        for name in PROMPTS:
            real_video(back_end, name, arguments.videos / f"{name}.mp4", arguments.frames, arguments.out)
    if arguments.clips:
        metaworld(back_end, arguments.clips, arguments.most, arguments.out)


def real_video(back_end: Segmenter, name: str, path: Path, frames: int, out: Path) -> None:
    """Print the table of one real video: a row a drawn frame, a column a thing."""
    video, fps = read(path, frames)
    prompts = [as_prompt(role, said) for _, role, said in PROMPTS[name]]
    drawn = json.loads((DRAWN / f"{name}.json").read_text())
    begin = time.process_time()
    # Each thing is tracked by a call of its own, beside the others', so that its own mask is seen.
    whole = back_end.track(video, prompts)
    cost = 1000 * (time.process_time() - begin) / len(video)
    alone = {thing: back_end.track(video, [p]) for (thing, *_), p in zip(PROMPTS[name], prompts, strict=True)}
    things = [thing for thing, *_ in PROMPTS[name]]
    print(f"\n{name}, {len(video)} frames, {cost:.0f} ms of CPU a frame for {len(prompts)} things together")
    print("| frame | seconds | " + " | ".join([*things, "interactor", "object"]) + " |")
    print("|---" * (len(things) + 4) + "|")
    for key, outlines in drawn.items():
        index = int(key)
        if index >= len(video):
            continue
        truth = {thing: fill(outline, video.shape[1:3]) for thing, outline in outlines.items()}
        cells = []
        for thing, role, _ in PROMPTS[name]:
            mask = alone[thing].labels[index] == role
            cells.append(f"{iou(mask, truth[thing]):.2f}" if thing in truth else "-")
        for role in PROMPTED_ROLES:
            own = [thing for thing, r, _ in PROMPTS[name] if r == role]
            known = all(thing in truth for thing in own)
            together = np.any([truth[thing] for thing in own], axis=0) if known else None
            cells.append(f"{iou(whole.labels[index] == role, together):.2f}" if known else "-")
        print(f"| {index} | {index / fps:.2f} | " + " | ".join(cells) + " |")
    shown = np.unique([*(int(k) for k in drawn if int(k) < len(video)), *np.linspace(0, len(video) - 1, 4).astype(int)])
    write_sheet(out / f"{name}.png", video[shown], whole.labels[shown], 4)


def metaworld(back_end: Segmenter, root: Path, most: int, out: Path) -> None:
    """Print the IoU of arm and object over clips: first frame, tracked, last frame."""
    dataset = LabelledDataset.open(root)
    chosen = np.unique(np.linspace(0, len(dataset.episodes) - 1, min(most, len(dataset.episodes))).astype(int))
    found: dict[Role, list[list[float]]] = {role: [] for role in PROMPTED_ROLES}
    rows, refused, begin, frames = [], 0, time.process_time(), 0
    for number in tqdm(chosen, desc="clips", unit="clip", disable=None):
        episode = dataset.read(int(number))
        try:
            prompts = [Prompt(role, box=bounding_box(episode.labels[0] == role)) for role in PROMPTED_ROLES]
            track = back_end.track(episode.video, prompts)
        except Refused:
            refused += 1
            continue
        frames += len(episode.video)
        for role in PROMPTED_ROLES:
            pairs = zip(track.labels, episode.labels, strict=True)
            found[role].append([iou(a == role, b == role) for a, b in pairs])
        if len(rows) < 8:
            rows.append((episode.video[::5], track.labels[::5]))
    print(
        f"\nMeta-World, {root.name}: {len(chosen)} clips, {refused} refused, "
        f"{1000 * (time.process_time() - begin) / max(frames, 1):.0f} ms of CPU a frame"
    )
    print("| role | first frame | all frames | last frame |\n|---|---|---|---|")
    for role, values in found.items():
        first, last = (np.mean([v[k] for v in values]) for k in (0, -1))
        print(f"| {role.name.lower()} | {first:.2f} | {np.mean([np.mean(v) for v in values]):.2f} | {last:.2f} |")
    pictures, labels = (np.concatenate(part) for part in zip(*rows, strict=True))
    write_sheet(out / f"metaworld_{root.name}.png", pictures, labels, len(rows[0][0]))


def as_prompt(role: Role, said: tuple[int, ...]) -> Prompt:
    """Return a click (x, y) or a box (x, y, width, height) as a prompt."""
    if len(said) == 2:
        return Prompt.from_lists(role, [said[0]], [said[1]])
    return Prompt.from_lists(role, box=said)


def fill(thing: dict[str, list[list[list[int]]]], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Return drawn outlines less their holes as a mask."""
    mask = np.zeros(size, np.uint8)
    for value, key in ((1, "outlines"), (0, "holes")):
        for outline in thing.get(key, ()):
            cv2.fillPoly(mask, [np.array(outline)], value)
    return mask > 0


def bounding_box(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
    """Return the mask's bounding box, at least as large as a prompt's has to be."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    width, height = max(width, 4), max(height, 4)
    return min(x, mask.shape[1] - width), min(y, mask.shape[0] - height), width, height


def read(path: Path, frames: int) -> tuple[UInt8[np.ndarray, "t h w 3"], float]:
    """Return a video's first frames and its rate."""
    capture = cv2.VideoCapture(str(path))
    found = []
    while len(found) < frames and (answer := capture.read())[0]:
        found.append(cv2.cvtColor(answer[1], cv2.COLOR_BGR2RGB))
    if not found:
        raise SystemExit(f"{path} cannot be read; expected a video")
    return np.stack(found), capture.get(cv2.CAP_PROP_FPS)


def write_sheet(
    path: Path, video: UInt8[np.ndarray, "t h w 3"], labels: UInt8[np.ndarray, "t h w"], columns: int
) -> None:
    """Write the overlays as a contact sheet."""
    tiles = [overlay(picture, label) for picture, label in zip(video, labels, strict=True)]
    factor = min(1.0, 480 / video.shape[2])
    tiles = [cv2.resize(tile, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) for tile in tiles]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    sheet = cv2.vconcat([cv2.hconcat(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])
    cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
