"""A robot without a robot: Meta-World scenes as a camera sees them, with true labels.

Meta-World v3 (MIT) carries a Sawyer arm, its tasks and their scripted experts. The expert
moves the arm; this module renders RGB and label map from one free camera, and the goal mask
that the expert reaches. mujoco's GL context belongs to the thread that made it: create and
use a `MetaWorldCamera` in one thread.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from ctypes.util import find_library
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8

from mask2iv_ros.cameras.looks import TRAINED_STATION, Painter, Rig, Station, View
from mask2iv_ros.cameras.tasks import EXPERTS, TASKS, TRAINED_TASKS
from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role
from mask2iv_ros.scene import Scene

CONTROL_HZ = 80  # Meta-World: 5 simulation steps of 2.5 ms an action
STATE_NAMES = ("x", "y", "z", "gripper")  # of the hand in m; 0 closed to 1 open
ACTION_NAMES = ("dx", "dy", "dz", "grip")  # -1 to 1: at most 1 cm a control step; 1 closes with full force
MAX_SEED = 2**31 - 1


_HAND_STEPS = 8  # control steps of at most 1 cm
_LEAD_STEPS = 8  # not every scene begins before the act does
# Has a button on a joint, and is not what its task moves.
_FURNITURE = {"coffee_machine"}


@dataclass(frozen=True)
class StandInScene:
    """A Meta-World scene at rest, and what its expert makes of it.

    Attributes:
        scene: first frame and true labels.
        goal_mask: where the expert leaves the object, unoccluded by the arm.
        task: a key of `TASKS`.
        seed: of object, goal and hand positions, of the view and of the looks.
        instruction: what the expert does, in words.
    """

    scene: Scene
    goal_mask: Bool[np.ndarray, "h w"]
    task: str
    seed: int
    instruction: str


class MetaWorldCamera:
    """Renders Meta-World tasks from one camera.

    Args:
        tasks: keys of `TASKS`, visited in turn.
        size: (height, width) in pixels, each 32 to 1080.
        settle: control steps that the expert is given to reach its goal.
        station: where the camera may stand.
        rig: one camera and one look for all scenes, in place of the station and drawn looks.

    Raises:
        Refused: an unknown task, a size out of range, or no EGL or OSMesa to render with.
    """

    def __init__(
        self,
        tasks: Sequence[str] = TRAINED_TASKS,
        size: tuple[int, int] = (480, 640),
        settle: int = 75,
        station: Station = TRAINED_STATION,
        rig: Rig | None = None,
    ):
        unknown = [task for task in tasks if task not in TASKS]
        if unknown or not tasks:
            raise Refused(f"task {unknown[0] if unknown else ''!r} is unknown; accepted are {', '.join(TASKS)}")
        if not all(32 <= side <= 1080 for side in size):
            raise Refused(f"camera size {size} is out of range; height and width go from 32 to 1080 pixels")
        choose_gl()
        self.tasks, self.size, self.settle = tuple(tasks), size, settle
        self.task, self.seed = self.tasks[-1], -1
        self.success = False
        self._station, self._rig = station, rig
        self._envs: dict[str, tuple[Any, Any]] = {}
        self._painters: dict[str, Painter] = {}
        self._renderer: Any = None
        self._view = View()
        self._goal: Float64[np.ndarray, "3"] | None = None

    @property
    def focal_px(self) -> float:
        """Focal length in pixels, from the vertical field of view."""
        env = self._envs[self.task][0]
        return 0.5 * self.size[0] / np.tan(0.5 * np.deg2rad(env.model.vis.global_.fovy))

    def reset(self, task: str, seed: int, goal_seed: int | None = None) -> None:
        """Put a scene before the camera; objects, goal, view, looks and the arm's place follow from task and seed.

        Args:
            task: one of the camera's.
            seed: 0 to `MAX_SEED`.
            goal_seed: of another goal in the same scene; only for tasks with free goals.

        Raises:
            Refused: a task or seed that this camera does not have.
        """
        if task not in self.tasks:
            raise Refused(f"task {task!r} is not before this camera; accepted are {', '.join(self.tasks)}")
        if not 0 <= seed <= MAX_SEED:
            raise Refused(f"seed is {seed}; expected 0 to {MAX_SEED}")
        if goal_seed is not None and TASKS[task].goal is None:
            raise Refused(f"goal_seed is {goal_seed} for {task}, whose goals are the environment's; expected none")
        import mujoco

        env, _ = self._environment(task)
        if task != self.task and self._renderer is not None:
            self._renderer.close()
            self._renderer = None
        self.task, self.seed = task, seed
        # reset(seed=...) leaves the generator of object and goal positions as it was; seed() does not.
        env.seed(seed)
        self._observation, _ = env.reset()
        rng = np.random.default_rng((seed, *task.encode()))
        if self._rig is None:
            self._view = self._station.draw(rng)
            self._painters[task].paint(rng)
        else:
            self._view = self._rig.view
            self._painters[task].paint(np.random.default_rng((self._rig.looks, *task.encode())))
        goal_rng = rng.spawn(1)[0] if goal_seed is None else np.random.default_rng((goal_seed, seed))
        free = TASKS[task].goal
        self._goal = None if free is None else free.draw(env.obj_init_pos, goal_rng)
        if self._goal is not None:
            env._target_pos = self._goal.copy()  # what the environment calls success follows
        # The hand starts up to 8 cm from where the environment puts it, never lower.
        direction = (*rng.uniform(-1, 1, 2), rng.uniform(0, 1), -1.0)
        for _ in range(rng.integers(_HAND_STEPS + 1)):
            self._observation = env.step(np.array(direction))[0]
        self.step(TASKS[task].lead + int(rng.integers(_LEAD_STEPS + 1)))
        # Without it the first frame shows the goal of the episode before.
        mujoco.mj_forward(env.model, env.data)
        self.success = False

    @property
    def state(self) -> Float32[np.ndarray, "4"]:
        """What the arm measures: `STATE_NAMES`."""
        return self._observation[: len(STATE_NAMES)].astype(np.float32)

    @property
    def object_position(self) -> Float64[np.ndarray, "3"]:
        """Where the object is, in m."""
        return self._observation[4:7].copy()

    def expert_action(self) -> Float64[np.ndarray, "4"]:
        """Return what the expert would do now: `ACTION_NAMES`."""
        if self._goal is not None:
            # The environment would tell the expert the nearest of its own goals.
            self._observation[-3:] = self._goal
        return np.clip(self._environment(self.task)[1].get_action(self._observation), -1, 1)

    def act(self, action: Float[np.ndarray, "4"], steps: int = 1) -> None:
        """Do the same for `steps` control steps of 12.5 ms; `success` says whether the goal was ever reached."""
        env = self._environment(self.task)[0]
        for _ in range(steps):
            self._observation, *_, info = env.step(np.clip(action, -1, 1).astype(np.float64))
            self.success |= bool(info["success"])

    def step(
        self, steps: int = 1, choose: Callable[[], Float64[np.ndarray, "4"]] | None = None
    ) -> Float32[np.ndarray, "4"]:
        """Let the expert act for `steps` control steps, or whoever chooses actions; return the mean of them.

        The arm moves by the sum of its actions, so the mean, repeated, takes it to the same place.
        """
        actions = []
        for _ in range(steps):
            actions.append((choose or self.expert_action)())
            self.act(actions[-1])
        return np.mean(actions, axis=0, dtype=np.float64).astype(np.float32) if actions else np.zeros(4, np.float32)

    def render(self) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        """Return the image and its true labels."""
        import mujoco

        renderer = self._scene_renderer()
        env = self._envs[self.task][0]
        renderer.update_scene(env.data, self._camera, self._options)
        # Shadows are three quarters of the rendering time.
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        image = renderer.render().copy()
        return image, self._labels(env, self._options)

    def object_mask(self) -> Bool[np.ndarray, "h w"]:
        """Return the object's mask as if the arm were not in the way."""
        env = self._envs[self.task][0]
        self._scene_renderer()
        alpha = env.model.geom_rgba[:, 3]
        before = alpha.copy()
        alpha[self._roles[self.task] == Role.INTERACTOR] = 0
        try:
            return self._labels(env, self._options) == Role.OBJECT
        finally:
            alpha[:] = before

    def next_scene(self, task: str | None = None, seed: int | None = None) -> StandInScene:
        """Go to a scene; without arguments to the next task, and to the next seed.

        The expert is run ahead to find where it leaves the object, then the scene is put back.
        """
        following = self.tasks[(self.tasks.index(self.task) + 1) % len(self.tasks)]
        chosen_seed = self.seed + 1 if seed is None else seed
        self.reset(task or following, chosen_seed)
        self.step(self.settle)
        goal_mask = self.object_mask()
        self.reset(self.task, chosen_seed)
        image, labels = self.render()
        return StandInScene(
            Scene(image, labels, frame_id="stand_in_camera"),
            goal_mask,
            self.task,
            chosen_seed,
            TASKS[self.task].instruction,
        )

    def close(self) -> None:
        """Free the GL context and the simulations."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
        for env, _ in self._envs.values():
            env.close()
        self._envs.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _environment(self, task: str) -> tuple[Any, Any]:
        if task not in self._envs:
            with warnings.catch_warnings():
                # Some experts ask for more than the action range; `step` clips it, as the environment does.
                warnings.filterwarnings("ignore", message="Constant")
                from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
                from metaworld.policies import ENV_POLICY_MAP
            warnings.filterwarnings("ignore", message="Constant", module="metaworld")
            env = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{task}-v3-goal-observable"](seed=0)
            env._freeze_rand_vec, env.seeded_rand_vec = False, True
            env.max_path_length = 10**6
            if (hidden := TASKS[task].hidden) is not None:
                body = env.model.body(hidden).id
                env.model.geom_rgba[env.model.body_rootid[env.model.geom_bodyid] == body, 3] = 0
            self._envs[task] = (env, ENV_POLICY_MAP[f"{EXPERTS.get(task, task)}-v3"]())
            self._painters[task] = Painter(env.model, _geom_roles(env.model))
        return self._envs[task]

    def _scene_renderer(self) -> Any:
        if self._renderer is None:
            import mujoco

            model = self._envs[self.task][0].model
            # With multisampling the ids of a segmentation speckle along every edge.
            model.vis.quality.offsamples = 0
            model.vis.global_.offheight, model.vis.global_.offwidth = self.size
            self._renderer = mujoco.Renderer(model, *self.size)
            self._camera = mujoco.MjvCamera()
            self._options = mujoco.MjvOption()
            # Goal markers are sites: a robot's camera does not see them.
            self._options.sitegroup[:] = 0
            self._roles = {self.task: _geom_roles(model)}
        view = self._view
        self._camera.lookat[:] = view.lookat
        self._camera.distance = view.distance
        self._camera.azimuth, self._camera.elevation = view.azimuth, view.elevation
        return self._renderer

    def _labels(self, env: Any, options: Any) -> UInt8[np.ndarray, "h w"]:
        import mujoco

        renderer = self._renderer
        renderer.enable_segmentation_rendering()
        renderer.update_scene(env.data, self._camera, options)
        ids = renderer.render()
        renderer.disable_segmentation_rendering()
        is_geom = ids[..., 1] == int(mujoco.mjtObj.mjOBJ_GEOM)
        return np.where(is_geom, self._roles[self.task][np.where(is_geom, ids[..., 0], 0)], 0).astype(np.uint8)


def choose_gl() -> None:
    """Choose mujoco's renderer before it is imported: EGL, else OSMesa; a user's MUJOCO_GL stands.

    Raises:
        Refused: neither library is installed.
    """
    if os.environ.get("MUJOCO_GL"):
        return
    for backend, library in (("egl", "EGL"), ("osmesa", "OSMesa")):
        if find_library(library):
            os.environ["MUJOCO_GL"] = backend
            return
    raise Refused(
        "found neither the EGL nor the OSMesa library to render without a screen; "
        "on Debian and Ubuntu: apt install libegl1 libegl-mesa0 libgl1-mesa-dri"
    )


def _geom_roles(model: Any) -> UInt8[np.ndarray, "geoms"]:
    """Return the role of every geom: the arm's, or the object's if a joint lets it move."""
    import mujoco

    roles = np.zeros(model.ngeom, np.uint8)
    for geom in range(model.ngeom):
        body, names, joints = model.geom_bodyid[geom], set(), 0
        while body > 0:
            names.add(mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_BODY, body))
            joints += model.body_jntnum[body]
            body = model.body_parentid[body]
        if "right_arm_base_link" in names:
            roles[geom] = Role.INTERACTOR
        elif joints and not names & _FURNITURE:
            roles[geom] = Role.OBJECT
    return roles
