"""`mask2iv imagine`: files in, files out, no ROS."""

from __future__ import annotations

import argparse
from itertools import batched
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.sheet import contact_sheet, describe_scores, rollout_strips, write_png
from mask2iv_ros.evaluation.video import side_by_side, write_mp4
from mask2iv_ros.export.writer import DatasetWriter
from mask2iv_ros.generator.imagine import Imaginer
from mask2iv_ros.generator.progress import Progress
from mask2iv_ros.masks import Role, check_labels, move_mask
from mask2iv_ros.scene import GOOD, Goal, Rollout, Scene, Trajectory, new_batch
from mask2iv_ros.scoring.verdict import MAX_BEST_OF, BestOf


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--image", type=Path, required=True, help="the camera frame")
    parser.add_argument(
        "--labels", type=Path, required=True, help="8-bit image of its size: 0 background, 1 interactor, 2 object"
    )
    goal = parser.add_mutually_exclusive_group()
    goal.add_argument("--goal", type=Path, help="8-bit image, non-zero where the object should end up")
    goal.add_argument(
        "--offset", type=float, nargs=2, metavar=("DX", "DY"), help="pixels to the right and down from where it is"
    )
    parser.add_argument(
        "--instruction", default="", help="the task's text in the dataset; without --goal and --offset it is the goal"
    )
    parser.add_argument("--trajectory", type=Path, help="folder of label PNGs to follow; stage 1 is then skipped")
    parser.add_argument("--trajectory-only", action="store_true", help="stop after stage 1")
    parser.add_argument("--rollouts", type=int, default=1, help="1 to 64 (%(default)s)")
    parser.add_argument(
        "--best-of", type=int, default=1, help=f"each rollout is the best of so many, 1 to {MAX_BEST_OF} (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first that is imagined (%(default)s)")
    parser.add_argument("--batch", type=int, default=1, help="rollouts at once (%(default)s)")
    parser.add_argument("--checkpoint", default="default", help="folder, name or hub id (%(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (%(default)s)")
    parser.add_argument("--dtype", default="auto", help="auto, fp32, fp16 or bf16 (%(default)s)")
    parser.add_argument("--compile", action="store_true", help="let torch compile the denoisers: minutes once")
    parser.add_argument("--offload", action="store_true", help="keep text and image encoder in main memory")
    parser.add_argument("--steps", type=int, help="denoising steps of a stage (the checkpoint's)")
    parser.add_argument("--sampler", dest="method", help="ddim, dpm++ or unipc (the checkpoint's)")
    parser.add_argument(
        "--eta", type=float, help="0 to 1, share of noise added in every step of ddim (the checkpoint's)"
    )
    parser.add_argument("--guidance", type=float, help="1: none (the checkpoint's)")
    parser.add_argument("--out", type=Path, required=True, help="folder for pictures, videos and the dataset")
    parser.add_argument("--dataset", type=Path, help="folder of the LeRobot dataset (OUT/dataset)")
    parser.add_argument(
        "--accept", choices=("all", GOOD), default="all", help="which rollouts the dataset takes (%(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Imagine the rollouts and write them."""
    if not 1 <= arguments.rollouts <= 64:
        raise Refused(f"rollouts is {arguments.rollouts}; expected 1 to 64")
    chosen, candidates = BestOf(arguments.best_of), arguments.rollouts * arguments.best_of
    if arguments.trajectory_only and arguments.best_of > 1:
        raise Refused(f"best-of is {arguments.best_of} with --trajectory-only; expected 1: whole rollouts are compared")
    if not 1 <= arguments.batch <= candidates:
        raise Refused(f"batch is {arguments.batch}; expected 1 to the number of rollouts to imagine, {candidates}")
    scene, goal = _read_scene(arguments)
    edited = Trajectory(_read_frames(arguments.trajectory), "edited") if arguments.trajectory else None
    sampling = {name: getattr(arguments, name) for name in ("method", "eta", "guidance")}
    imaginer = Imaginer.load(
        arguments.checkpoint,
        arguments.device,
        arguments.steps,
        dtype=arguments.dtype,
        compiling=arguments.compile,
        offload=arguments.offload,
        **sampling,
    )
    imaginer.check(scene, goal)
    batch = new_batch()
    stages = (edited is None) + (not arguments.trajectory_only)
    groups = list(batched(range(candidates), arguments.batch))
    rollouts: list[Rollout] = []
    with tqdm(total=len(groups) * stages * imaginer.stage_steps, desc="imagining", unit="step") as bar:

        def on_step(progress: Progress) -> None:
            bar.set_postfix_str(progress.stage, refresh=False)
            bar.update()

        for group in groups:
            names = [f"{batch}-{index // arguments.best_of:02d}" for index in group]
            seeds = [arguments.seed + index for index in group]
            goals = [goal] * len(group)
            trajectories = [edited] * len(group) if edited else imaginer.trajectories(scene, goals, seeds, on_step)
            if arguments.best_of == 1:
                for name, trajectory in zip(names, trajectories, strict=True):
                    _write_frames(arguments.out / name / "trajectory", trajectory.labels)
            if arguments.trajectory_only:
                continue
            for one in imaginer.imagine_many(scene, goals, seeds, names, trajectories, on_step):
                if (best := chosen.offer(one)) is not None:
                    rollouts.append(best)
                    _write_frames(arguments.out / best.id / "trajectory", best.trajectory.labels)
                    write_mp4(arguments.out / best.id / "video.mp4", best.video, imaginer.fps)
    print(f"trajectories: {arguments.out / batch}-*/trajectory/*.png")
    if not rollouts:
        return 0
    sheet = arguments.out / f"{batch}.png"
    write_png(sheet, contact_sheet([strip for one in rollouts for strip in rollout_strips(one)]))
    write_mp4(arguments.out / f"{batch}.mp4", side_by_side(rollouts), imaginer.fps)
    dataset = arguments.dataset or arguments.out / "dataset"
    accepted = [one for one in rollouts if arguments.accept in ("all", one.verdict)]
    with DatasetWriter(dataset) as writer:
        episodes = dict(zip([one.id for one in accepted], writer.append(accepted), strict=True))
    for one in rollouts:
        place = f"episode {episodes[one.id]}" if one.id in episodes else "not in the dataset"
        print(f"{one.id}: seed {one.seed}, {describe_scores(one)}; {place}")
    print(f"contact sheet: {sheet}\nvideo:         {sheet.with_suffix('.mp4')}")
    print(f"dataset:       {dataset if accepted else 'unchanged, as no rollout is good'}")
    return 0


def _read_scene(arguments: argparse.Namespace) -> tuple[Scene, Goal]:
    image = cv2.cvtColor(_read_image(arguments.image, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    scene = Scene(image, _read_image(arguments.labels, cv2.IMREAD_GRAYSCALE)).require_roles()
    if arguments.offset:
        return scene, Goal(move_mask(scene.mask(Role.OBJECT), *arguments.offset), arguments.instruction)
    if arguments.goal is None:
        if not arguments.instruction.strip():
            raise Refused("there is no goal; expected --goal, --offset or --instruction")
        return scene, Goal(None, arguments.instruction)
    mask = _read_image(arguments.goal, cv2.IMREAD_GRAYSCALE)
    return scene, Goal.from_image(mask, scene.image.shape[:2], arguments.instruction)


def _read_image(path: Path, mode: int) -> np.ndarray:
    image = cv2.imread(str(path), mode) if path.is_file() else None
    if image is None:
        raise Refused(
            f"{path} is {'no image that OpenCV reads' if path.exists() else 'not there'}; expected a PNG or JPEG"
        )
    return image


def _read_frames(folder: Path) -> UInt8[np.ndarray, "t h w"]:
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise Refused(f"{folder} has no PNG; expected one label image a frame, as --trajectory-only writes them")
    frames = [check_labels(_read_image(path, cv2.IMREAD_GRAYSCALE), str(path)) for path in paths]
    for path, frame in zip(paths, frames, strict=True):
        if frame.shape != frames[0].shape:
            raise Refused(f"{path} is {frame.shape[1]} x {frame.shape[0]} pixels; expected the first frame's size")
    return np.stack(frames)


def _write_frames(folder: Path, labels: UInt8[np.ndarray, "t h w"]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(
            f"{folder} cannot be made ({error.strerror}); expected a folder that can be written to"
        ) from error
    for index, frame in enumerate(labels):
        write_png(folder / f"{index:04d}.png", frame)
