"""`mask2iv train`: trains the autoencoder, a stage or the segmenter from a dataset, as an experiment file says."""

from __future__ import annotations

import argparse
from pathlib import Path

from mask2iv_ros.errors import Refused
from mask2iv_ros.ros.files import config_file

STAGES = {"stage1": "trajectory", "stage2": "video"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "part", choices=["autoencoder", *STAGES, "segmenter"], help="autoencoder: the small default's; or a stage"
    )
    parser.add_argument("--config", required=True, help="experiment: a name under config/experiments, or a YAML file")
    parser.add_argument("--data", type=Path, required=True, help="LeRobot v3 dataset with a label image per frame")
    parser.add_argument("--validation", type=Path, help="another one, held out (a share of --data's episodes)")
    parser.add_argument("--camera", help="whose frames and labels, where a dataset has several")
    parser.add_argument(
        "--base", help="checkpoint that gives encoders and weights: folder, name or hub id (stages: --out)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint, which the stage is added to")
    parser.add_argument("--work", type=Path, required=True, help="folder for states and curves; a later run goes on")
    parser.add_argument("--trajectories", type=Path, help="mask2iv data trajectories' (beside --data), where told such")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one of its settings")
    parser.add_argument("--dtype", default="fp16", help="of the checkpoint's weights: fp32, fp16, bf16 (%(default)s)")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu"], help="where to train (%(default)s)")
    parser.add_argument("--threads", type=int, help="of torch (its own choice); one job a core beats one job on two")


def run(arguments: argparse.Namespace) -> int:
    """Train."""
    # Imported here: accelerate and diffusers cost seconds, which --help should not.
    import torch
    from accelerate import PartialState

    from mask2iv_ros.generator.parts import dtype_named
    from mask2iv_ros.training.autoencoder import AutoencoderExperiment, train_autoencoder
    from mask2iv_ros.training.experiment import read_experiment
    from mask2iv_ros.training.reading import read_settings
    from mask2iv_ros.training.run import train_stage
    from mask2iv_ros.training.segmenter import SegmenterExperiment, train_segmenter

    if arguments.threads is not None:
        if arguments.threads < 1:
            raise Refused(f"threads is {arguments.threads}; expected at least 1")
        torch.set_num_threads(arguments.threads)
    path, dtype = experiment_file(arguments.config), dtype_named(arguments.dtype)
    if arguments.part == "autoencoder":
        experiment = read_settings(AutoencoderExperiment, path, arguments.set)
        train_autoencoder(
            experiment, arguments.data, arguments.out, arguments.work, arguments.camera, dtype, arguments.base
        )
    elif arguments.part == "segmenter":
        experiment = read_settings(SegmenterExperiment, path, arguments.set)
        figures = train_segmenter(
            experiment, arguments.data, arguments.out, arguments.work, arguments.validation, arguments.camera, dtype
        )
        for name, value in figures.items():
            print(f"held-out IoU, {name}: {value:.3f}")
    else:
        experiment = read_experiment(path, arguments.set)
        asked = STAGES[arguments.part]
        if experiment.stage != asked:
            raise Refused(f"{path} trains stage {experiment.stage}; expected {asked} for {arguments.part}")
        train_stage(
            experiment,
            arguments.data,
            arguments.base or arguments.out,
            arguments.out,
            arguments.work,
            arguments.validation,
            arguments.camera,
            arguments.device,
            dtype,
            arguments.trajectories,
        )
    PartialState().print(f"{arguments.part} in {arguments.out}")
    return 0


def experiment_file(name: str) -> Path:
    """Return the file of an experiment: a path, or a name under `config/experiments`.

    Raises:
        Refused: there is neither.
    """
    if Path(name).suffix in (".yaml", ".yml") and Path(name).is_file():
        return Path(name)
    try:
        return config_file(f"experiments/{name}.yaml")
    except FileNotFoundError as error:
        raise Refused(f"experiment {name!r} is no YAML file; accepted are {_known()}") from error


def _known() -> str:
    """Return in words what names an experiment."""
    try:
        folder = config_file("experiments/paper_stage1.yaml").parent
    except FileNotFoundError:
        return "paths, as no experiments are installed"
    return ", ".join([*sorted(path.stem for path in folder.glob("*.yaml")), "or a path"])
