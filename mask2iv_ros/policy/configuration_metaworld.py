"""What `lerobot-eval --env.type=mask2iv_metaworld` takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.envs.utils import FreezeAfterEpisodeEnd

from mask2iv_ros.cameras.metaworld import ACTION_NAMES, CONTROL_HZ, STATE_NAMES
from mask2iv_ros.cameras.tasks import TASKS
from mask2iv_ros.errors import Refused
from mask2iv_ros.export.schema import ACTION_KEY, STATE_KEY, ExportSettings
from mask2iv_ros.policy.trials import Trials


@EnvConfig.register_subclass("mask2iv_metaworld")
@dataclass
class Mask2IvMetaWorld(EnvConfig):
    """Scenes that policies are tried on; see `trials.Trials`.

    Attributes:
        task: a key of `cameras.tasks.TASKS`.
        fps: steps a second, a divisor of 80, as in the demonstrations.
        camera: last part of the names of the picture and of the goal mask.
        height: of the picture in pixels; a multiple of 8 from 32 to 536.
        width: of the picture in pixels; a multiple of 8 from 32 to 536.
        episode_length: steps; a demonstration has 16.
        records: a file to which a line of JSON is appended for every episode.
    """

    task: str | None = "coffee-push"
    fps: int = 16
    camera: str = "front"
    height: int = 96
    width: int = 128
    episode_length: int = 24
    records: str | None = None
    features: dict[str, PolicyFeature] = field(default_factory=dict)
    features_map: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise Refused(f"task {self.task!r} is unknown; accepted are {', '.join(TASKS)}")
        if self.fps < 1 or CONTROL_HZ % self.fps:
            raise Refused(f"fps is {self.fps}; expected a divisor of {CONTROL_HZ}")
        if any(side % 8 or not 32 <= side <= 536 for side in (self.height, self.width)):
            raise Refused(f"size {self.height, self.width} cannot be rendered; expected multiples of 8 from 32 to 536")
        if self.episode_length < 1:
            raise Refused(f"episode_length is {self.episode_length}; expected at least 1")
        names = ExportSettings(self.camera)
        picture = PolicyFeature(FeatureType.VISUAL, (self.height, self.width, 3))
        self.features = {
            names.image_key: picture,
            names.goal_key: picture,
            STATE_KEY: PolicyFeature(FeatureType.STATE, (len(STATE_NAMES),)),
            ACTION_KEY: PolicyFeature(FeatureType.ACTION, (len(ACTION_NAMES),)),
        }
        self.features_map = {key: key for key in self.features}

    @property
    def package_name(self) -> str:
        """Part of the environment's id in Gymnasium."""
        return self.type

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """What `Trials` is made of, but the task."""
        return {
            "size": (self.height, self.width),
            "stride": CONTROL_HZ // self.fps,
            "episode_length": self.episode_length,
            "camera": self.camera,
            "records": None if self.records is None else Path(self.records),
        }


def _trials(task: str, **settings: Any) -> gym.Env:
    # A vector of environments resets each where it ends; without this the next scene would be solved for nothing.
    return FreezeAfterEpisodeEnd(Trials(task, **settings))


for _task in TASKS:
    gym.register(f"mask2iv_metaworld/{_task}", entry_point=partial(_trials, _task))
