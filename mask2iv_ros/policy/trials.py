"""Scenes that policies are tried on: the stand-in camera as a Gymnasium environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
from jaxtyping import Bool, Float, UInt8

from mask2iv_ros.cameras.looks import Rig
from mask2iv_ros.cameras.metaworld import ACTION_NAMES, CONTROL_HZ, STATE_NAMES, MetaWorldCamera
from mask2iv_ros.cameras.tasks import TASKS
from mask2iv_ros.data.metaworld import FINER
from mask2iv_ros.data.splits import TRIALS
from mask2iv_ros.errors import Refused
from mask2iv_ros.export.schema import frame_from_goal
from mask2iv_ros.masks import Role, iou, resize_labels

APART = 50_000  # scenes from one that the expert fails to the one in its place: never another trial's
_DEMONSTRATED = 16  # frames of a demonstration, whose last shows the goal
_SHOWN = 2  # films are larger than what the camera sees, by this
_GOAL_COLOUR = (255, 255, 255)


class Trials(gym.Env):
    """Try a policy on scenes of one task, seen and told as in `mask2iv data demonstrations`.

    A seed chooses the scene `TRIALS.start + seed`. Where the expert itself fails on it, where the object is out of
    view or its goal is, the scene `APART` further takes its place, and so on: equal seeds are equal scenes for every
    policy, and all can be solved. One step is one frame of a demonstration: the action is repeated for `stride`
    control steps. An episode always lasts `episode_length` steps, so that what is pushed too far is seen;
    `is_success` tells whether the goal was reached by then, and the reward is 1 in the step that first reaches it.

    Args:
        task: a key of `cameras.tasks.TASKS`.
        size: (height, width) of the picture in pixels.
        stride: control steps a step.
        episode_length: steps.
        camera: last part of the goal mask's name and of the picture's.
        records: a file to which a line of JSON is appended for every episode: seed, scene, success, the object's
            distance (m) from where the expert leaves it and its mask's IoU with the goal, both after the last step.

    Raises:
        Refused: an unknown task, a size that cannot be rendered.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": CONTROL_HZ // 5}

    def __init__(
        self,
        task: str,
        size: tuple[int, int] = (96, 128),
        stride: int = 5,
        episode_length: int = 24,
        camera: str = "front",
        records: Path | None = None,
    ):
        self.task, self.size, self.stride, self.records = task, size, stride, records
        self.metadata = {**self.metadata, "render_fps": CONTROL_HZ // stride}
        self.render_mode = "rgb_array"
        self._max_episode_steps = episode_length
        self._camera_name = camera
        self._stand_in = MetaWorldCamera((task,), (FINER * size[0], FINER * size[1]), rig=Rig())
        self.task_description = TASKS[task].instruction
        low = np.full(len(STATE_NAMES), -np.inf, np.float32)
        self.observation_space = gym.spaces.Dict(
            {
                "pixels": gym.spaces.Dict({camera: gym.spaces.Box(0, 255, (*size, 3), np.uint8)}),
                self._goal_name: gym.spaces.Box(0, 1, (3, *size), np.float32),
                "agent_pos": gym.spaces.Box(low, -low),
            }
        )
        self.action_space = gym.spaces.Box(-1, 1, (len(ACTION_NAMES),), np.float32)
        self._following = 0

    @property
    def _goal_name(self) -> str:
        # LeRobot puts "observation." before what it does not know, and takes it as it is: channels first, 0 to 1.
        return f"goal_mask.{self._camera_name}"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Put the scene of a seed before the camera, or that after the last one; return what is seen of it.

        Raises:
            Refused: a seed for which there is no scene.
        """
        super().reset(seed=seed)
        self.trial = self._following if seed is None else seed
        if not 0 <= self.trial < APART:
            raise Refused(f"seed is {self.trial}; expected 0 to {APART - 1}")
        self._following = self.trial + 1
        self.scene, self.goal, self.goal_position = self._solvable(self.trial)
        self._steps, self._reached = 0, False
        return self._look(), {"is_success": False, "scene": self.scene}

    def step(self, action: Float[np.ndarray, "4"]) -> tuple[dict, float, bool, bool, dict]:
        """Repeat an action for `stride` control steps; return what is seen, the reward, and whether time is up."""
        self._stand_in.act(action, self.stride)
        self._steps += 1
        first = self._stand_in.success and not self._reached
        self._reached = self._stand_in.success
        ended = self._steps >= self._max_episode_steps
        seen = self._look()
        if ended and self.records is not None:
            self._record()
        return seen, float(first), False, ended, {"is_success": self._reached, "scene": self.scene}

    def render(self) -> UInt8[np.ndarray, "h w 3"]:
        """Return what the camera sees, larger, with the goal outlined; a bar on top tells that it was reached."""
        height, width = self._shot.shape[:2]
        frame = cv2.resize(self._shot, (_SHOWN * width, _SHOWN * height), interpolation=cv2.INTER_CUBIC)
        goal = resize_labels(self._fine_goal.astype(np.uint8), frame.shape[:2]) > 0
        contours, _ = cv2.findContours(goal.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(frame, contours, -1, _GOAL_COLOUR, 1, cv2.LINE_AA)
        if self._reached:
            frame[:6] = (60, 200, 90)
        return frame

    def close(self) -> None:
        """Free the GL context and the simulation."""
        self._stand_in.close()

    def _solvable(self, trial: int) -> tuple[int, Bool[np.ndarray, "h w"], np.ndarray]:
        """Go to the trial's scene; return its number, the goal mask and where the expert leaves the object."""
        camera = self._stand_in
        for scene in range(TRIALS.start + trial, TRIALS.stop, APART):
            camera.reset(self.task, scene)
            visible = (camera.render()[1] == Role.OBJECT).any()
            camera.step((_DEMONSTRATED - 1) * self.stride)
            self._fine_goal = camera.object_mask()
            goal = resize_labels(self._fine_goal.astype(np.uint8), self.size) > 0
            position = camera.object_position
            camera.step(self.stride)
            if camera.success and visible and goal.any():
                camera.reset(self.task, scene)
                return scene, goal, position
        raise Refused(f"the expert of {self.task} fails on all scenes of trial {trial}; expected another task")

    def _look(self) -> dict[str, Any]:
        self._shot, _ = self._stand_in.render()
        picture = cv2.resize(self._shot, self.size[::-1], interpolation=cv2.INTER_AREA)
        goal = frame_from_goal(self.goal, self.size).transpose(2, 0, 1).astype(np.float32) / 255
        return {
            "pixels": {self._camera_name: picture},
            self._goal_name: goal,
            "agent_pos": self._stand_in.state,
        }

    def _record(self) -> None:
        reached = resize_labels(self._stand_in.object_mask().astype(np.uint8), self.size) > 0
        row = {
            "seed": self.trial,
            "scene": self.scene,
            "success": self._reached,
            "distance_m": float(np.linalg.norm(self._stand_in.object_position - self.goal_position)),
            "goal_iou": iou(reached, self.goal),
        }
        with self.records.open("a") as file:
            file.write(json.dumps(row) + "\n")
