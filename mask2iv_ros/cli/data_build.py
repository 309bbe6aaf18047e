"""`mask2iv data bag|bridge|hoi4d|lerobot|video`: labelled clips from a robot's or a person's footage."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import yaml

from mask2iv_ros.data.building.quality import Quality
from mask2iv_ros.data.motion import SHARE
from mask2iv_ros.data.sources.base import Source
from mask2iv_ros.errors import Refused
from mask2iv_ros.segmentation import names

_QUALITY = {
    "consistency": "least IoU of a role's mask with the one before carried along by optical flow",
    "jump": "largest factor by which a role's area changes between frames",
    "swap": "least share of a role's pixels that come from itself",
    "unseen": "largest share of the frames in which a role is out of sight",
    "smallest": "fewest pixels of the object in the first and the last frame",
    "largest": "largest share of the picture that a role fills",
    "moves": "least way of interactor and object, in diagonals of the picture",
    "camera": "farthest that the background shifts, in diagonals of the picture",
}


def add_builders(sources: argparse._SubParsersAction) -> None:
    """Declare the builders beside the other kinds of data."""
    bag = _builder(sources, "bag", "ROS 2 bags (mcap, sqlite3): camera, joint states and commands", _bag)
    bag.add_argument("path", nargs="+", type=Path, help="bags, or folders of bags; each bag is an episode")
    topics = bag.add_argument_group("topics, each the only one that fits if it is not told")
    topics.add_argument("--state", metavar="TOPIC", default="", help="joint states, poses, arrays; none: no state")
    topics.add_argument("--action", metavar="TOPIC", default="", help="commands of any such type; none: no action")
    topics.add_argument("--labels", metavar="TOPIC", default="", help="label images (mono8) with the frames' stamps")
    topics.add_argument("--task-topic", metavar="TOPIC", default="", help="texts, each what happens until the next")
    topics.add_argument("--height", type=int, default=0, help="pixels to which frames are reduced (the camera's)")
    topics.add_argument(
        "--stale", type=float, default=0.5, metavar="SECONDS", help="a message's greatest age (%(default)s)"
    )
    bag.set_defaults(apart=("state", "action", "labels", "task_topic", "height", "stale"))
    bridge = _builder(sources, "bridge", "BridgeData V2, from RLDS (tfrecords) or the raw release", _bridge)
    bridge.add_argument("path", type=Path, help="folder with features.json, or of the raw release")
    bridge.add_argument("--split", default="train", help="of the RLDS dataset (%(default)s)")
    hoi4d = _builder(sources, "hoi4d", "HOI4D: hands and objects, by its own masks and actions", _hoi4d)
    hoi4d.add_argument("path", type=Path, help="folder of the dataset")
    lerobot = _builder(sources, "lerobot", "any LeRobot dataset, v2.1 or v3.0", _lerobot)
    lerobot.add_argument("path", help="folder, or id on the hub as owner/name")
    video = _builder(sources, "video", "a video file, a folder of them, or a folder of images", _video)
    video.add_argument("path", type=Path, help="file or folder")


def _builder(
    sources: argparse._SubParsersAction, name: str, summary: str, source: Callable[[argparse.Namespace], Source]
) -> argparse.ArgumentParser:
    parser = sources.add_parser(name, help=summary, description=summary)
    parser.add_argument("--out", type=Path, required=True, help="folder; a later run goes on where one stopped")
    parser.add_argument(
        "--cameras", "--camera", nargs="+", action="extend", metavar="CAMERA", help="of the source (its first)"
    )
    parser.add_argument("--name", default=name, help="first part of the clips' ids (%(default)s)")
    parser.add_argument("--task", default="", help="in words, in place of the source's")
    clips = parser.add_argument_group("clips")
    clips.add_argument("--frames", type=int, default=16, help="of a clip (%(default)s)")
    clips.add_argument("--fps", type=int, default=0, help="of the clips (the source's, divided by a stride by motion)")
    clips.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="pixels (the source's)")
    clips.add_argument("--overlap", type=float, default=0.0, help="share of neighbouring clips (%(default)s)")
    clips.add_argument("--validation", type=float, default=0.0, help="share of the episodes held out (%(default)s)")
    default = SHARE if name == "hoi4d" else 0.0
    clips.add_argument(
        "--drop-least", type=float, default=default, metavar="SHARE", help="of the clips, that move least (%(default)s)"
    )
    labels = parser.add_argument_group("labels, where the source has none")
    labels.add_argument("--prompts", type=Path, metavar="YAML", help="clicks, boxes or words by episode")
    for role, example in (("interactor", '"robot arm"'), ("object", "320,180")):
        labels.add_argument(
            f"--{role}", nargs="+", default=[], metavar="WHAT", help=f"words, X,Y of clicks, or X,Y,W,H, as {example}"
        )
    labels.add_argument("--motion", action="store_true", help="static camera: what moves, and what it handles")
    labels.add_argument("--segmenter", default="grabcut", choices=names(), help="back end (%(default)s)")
    labels.add_argument(
        "--segmenter-set", action="append", default=[], metavar="KEY=VALUE", help="of the back end, as weights=FOLDER"
    )
    quality = parser.add_argument_group("quality: what a clip must be to be kept")
    for field in fields(Quality):
        # HOI4D is filmed from the head.
        asks_nothing = name == "hoi4d" and field.name == "camera"
        quality.add_argument(
            f"--quality-{field.name}",
            type=int if field.type == "int" else float,
            default=1.0 if asks_nothing else field.default,
            metavar="N",
            help=f"{_QUALITY[field.name]} (%(default)s)",
        )
    parser.add_argument("--episodes", type=int, help="the source's first so many (all); a later run may take more")
    parser.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    parser.add_argument("--sample", type=int, default=12, help="kept clips shown in the report (%(default)s)")
    parser.set_defaults(make=run, open=source, apart=())
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Build, write the report, and say what was made."""
    # Imported here: LeRobot and what reads videos cost seconds, which --help should not.
    from mask2iv_ros.data.building.build import build
    from mask2iv_ros.data.building.prompts import Prompts, read_prompts, told_prompts
    from mask2iv_ros.data.building.report import describe, write_report
    from mask2iv_ros.data.building.settings import BuildSettings

    if arguments.sample < 0:
        raise Refused(f"--sample is {arguments.sample}; expected 0 or more clips")
    told = bool(arguments.interactor or arguments.object)
    if told and arguments.prompts is not None:
        raise Refused("prompts are told twice; expected --prompts, or --interactor and --object")
    prompts = Prompts()
    if arguments.prompts is not None:
        prompts = read_prompts(arguments.prompts)
    elif told:
        prompts = told_prompts(arguments.interactor, arguments.object)
    source = arguments.open(arguments)
    settings = BuildSettings(
        out=arguments.out,
        name=arguments.name,
        cameras=tuple(arguments.cameras or source.cameras()[:1]),
        how="motion" if arguments.motion else "prompts" if told or arguments.prompts else "source",
        prompts=prompts,
        segmenter=arguments.segmenter,
        segmenter_settings=tuple(_setting(one) for one in arguments.segmenter_set),
        frames=arguments.frames,
        fps=arguments.fps,
        size=arguments.size and tuple(arguments.size),
        overlap=arguments.overlap,
        task=arguments.task,
        validation=arguments.validation,
        drop_least=arguments.drop_least,
        source=_origin(arguments),
        quality=Quality(**{field.name: getattr(arguments, f"quality_{field.name}") for field in fields(Quality)}),
    )
    try:
        summary, plan = build(source, settings, arguments.workers, arguments.episodes)
    except ConnectionError as error:
        raise Refused(f"{error}; what was built is kept, a later run goes on") from error
    report = write_report(summary, settings, plan, arguments.sample)
    print("\n".join(describe(summary, plan)))
    for split in settings.splits:
        print(f"{split}: {sum(one.split == split for one in summary.kept)} clips in {settings.out / split}")
    print(f"look at: {report}")
    return 0 if summary.kept else 1


def _bag(arguments: argparse.Namespace) -> Source:
    from mask2iv_ros.data.sources.bag import BagSource
    from mask2iv_ros.data.sources.bag_topics import BagTopics

    if arguments.labels and (arguments.motion or arguments.prompts or arguments.interactor or arguments.object):
        raise Refused(f"labels are those of {arguments.labels}; expected no prompts and no --motion beside it")
    topics = BagTopics(
        cameras=tuple(arguments.cameras or ()),
        state=arguments.state,
        action=arguments.action,
        labels=arguments.labels,
        task=arguments.task_topic,
        height=arguments.height,
        stale=arguments.stale,
    )
    source = BagSource.open(arguments.path, topics)
    print("\n".join(source.describe()))
    # What was found stands for what was not told: with other topics it would be another source.
    arguments.cameras, arguments.state, arguments.action = source.cameras(), source.topics.state, source.topics.action
    return source


def _bridge(arguments: argparse.Namespace) -> Source:
    from mask2iv_ros.data.sources.bridge import BridgeRaw
    from mask2iv_ros.data.sources.rlds import Rlds

    if (arguments.path / "features.json").is_file():
        return Rlds.open(arguments.path, arguments.split)
    return BridgeRaw.open(arguments.path)


def _hoi4d(arguments: argparse.Namespace) -> Source:
    from mask2iv_ros.data.sources.hoi4d import HEIGHT, Hoi4d

    return Hoi4d.open(arguments.path, max(HEIGHT, arguments.size[0] if arguments.size else 0))


def _lerobot(arguments: argparse.Namespace) -> Source:
    from mask2iv_ros.data.sources.lerobot import LeRobotSource

    return LeRobotSource.open(arguments.path)


def _video(arguments: argparse.Namespace) -> Source:
    from mask2iv_ros.data.sources.video import VideoSource

    return VideoSource.open(arguments.path)


def _origin(arguments: argparse.Namespace) -> str:
    """Return where a source lies and what is taken of it: with either changed, its ids are of something else."""
    paths = arguments.path if isinstance(arguments.path, list) else [arguments.path]
    taken = [f"{option} {value}" for option in arguments.apart if (value := getattr(arguments, option))]
    return ", ".join([*map(_place, paths), *taken])


def _place(path: str | Path) -> str:
    """Return where a source lies, whatever folder the command is given in; an id on the hub as it is."""
    found = Path(path).expanduser()
    return str(found.resolve()) if found.exists() else str(path)


def _setting(told: str) -> tuple[str, object]:
    key, equals, value = told.partition("=")
    if not equals or not key:
        raise Refused(f"--segmenter-set is {told!r}; expected KEY=VALUE, such as weights=FOLDER")
    try:
        found = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise Refused(f"--segmenter-set is {told!r}; expected a YAML value after the =") from error
    return key, tuple(found) if isinstance(found, list) else found  # workers keep back ends by their settings
