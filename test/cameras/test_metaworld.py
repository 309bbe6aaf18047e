import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from importlib.util import find_spec

import numpy as np
import pytest

from mask2iv_ros.cameras.metaworld import MAX_SEED, MetaWorldCamera, StandInScene
from mask2iv_ros.cameras.tasks import TASKS
from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role

# Not importorskip: mujoco must not be imported before its renderer is chosen.
pytestmark = pytest.mark.skipif(find_spec("metaworld") is None, reason="the stand-in camera needs the extra 'demo'")
SIZE = (48, 64)


@pytest.fixture(scope="module")
def camera() -> Iterator[MetaWorldCamera]:
    with MetaWorldCamera(("push", "coffee-push"), SIZE, settle=2) as camera:
        yield camera


def digest(stand_in: StandInScene) -> str:
    scene = stand_in.scene
    parts = (scene.image, scene.labels, stand_in.goal_mask)
    return sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def centre(mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask).mean(0)


def test_a_scene_is_a_cameras_image_with_arm_object_and_goal(camera: MetaWorldCamera):
    stand_in = camera.next_scene("push", 3)
    scene = stand_in.scene
    assert (stand_in.task, stand_in.seed, stand_in.instruction) == ("push", 3, TASKS["push"].instruction)
    assert scene.image.shape == (*SIZE, 3)
    assert scene.image.std() > 10
    assert scene.frame_id
    assert scene.require_roles() is scene
    assert set(np.unique(scene.labels)) == {0, 1, 2}
    assert stand_in.goal_mask.any()
    # A puck is small, and the arm larger than it.
    assert 0.002 < scene.mask(Role.OBJECT).mean() < 0.02 < scene.mask(Role.INTERACTOR).mean() + 0.015 < 0.6


def test_other_seeds_are_other_scenes(camera: MetaWorldCamera):
    scenes = [camera.next_scene("push", seed) for seed in (0, 1, 2, 1_000_000, 2_000_000)]
    assert len({digest(one) for one in scenes}) == 5
    centres = np.array([centre(one.scene.mask(Role.OBJECT)) for one in scenes])
    assert np.ptp(centres, axis=0).max() > 3, "the puck lies elsewhere, not only the goal"


@pytest.mark.parametrize("task", ["push", "coffee-push"])
def test_a_seed_is_the_same_scene_after_others_were_shown(camera: MetaWorldCamera, task: str):
    first = camera.next_scene(task, 5)
    camera.next_scene("coffee-push", 6)
    camera.next_scene("push", 7)
    camera.step(10)
    assert digest(camera.next_scene(task, 5)) == digest(first)
    camera.step(3)
    camera.reset(task, 5)
    image, labels = camera.render()
    np.testing.assert_array_equal(image, first.scene.image)
    np.testing.assert_array_equal(labels, first.scene.labels)


def test_a_seed_is_the_same_scene_in_another_process(camera: MetaWorldCamera):
    program = f"""
from hashlib import sha256
from mask2iv_ros.cameras.metaworld import MetaWorldCamera
with MetaWorldCamera(("push",), {SIZE}, settle=2) as camera:
    camera.next_scene("push", 8)
    one = camera.next_scene("push", 11)
    print(sha256(one.scene.image.tobytes() + one.scene.labels.tobytes() + one.goal_mask.tobytes()).hexdigest())
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split()[-1] == digest(camera.next_scene("push", 11))


def test_the_expert_moves_the_arm_and_brings_the_object_to_the_goal_mask():
    with MetaWorldCamera(("push",), SIZE, settle=70) as camera:
        stand_in = camera.next_scene("push", 0)
        begin = stand_in.scene
        camera.step(70)
        _, labels = camera.render()
        reached = camera.object_mask()
    assert (labels == Role.INTERACTOR).any()
    assert (labels != begin.labels).any()
    np.testing.assert_array_equal(reached, stand_in.goal_mask)
    assert np.linalg.norm(centre(reached) - centre(begin.mask(Role.OBJECT))) > 2


def test_the_objects_mask_reaches_behind_the_arm(camera: MetaWorldCamera):
    camera.reset("push", 0)
    for _ in range(6):
        camera.step(10)
        image, labels = camera.render()
        alone = camera.object_mask()
        assert (alone | (labels != Role.OBJECT)).all()
        assert ((labels == Role.INTERACTOR) | ~alone | (labels == Role.OBJECT)).all()
        again, _ = camera.render()
        np.testing.assert_array_equal(image, again)


def test_without_arguments_task_and_seed_go_on(camera: MetaWorldCamera):
    camera.next_scene("push", 20)
    shown = [(one.task, one.seed) for one in (camera.next_scene() for _ in range(3))]
    assert shown == [("coffee-push", 21), ("push", 22), ("coffee-push", 23)]


def test_the_focal_length_is_that_of_the_field_of_view(camera: MetaWorldCamera):
    camera.next_scene("push", 0)
    with MetaWorldCamera(("push",), (96, 128), settle=1) as larger:
        larger.reset("push", 0)
        assert larger.focal_px == pytest.approx(2 * camera.focal_px)
    assert 0.5 * SIZE[0] < camera.focal_px < 3 * SIZE[0]


def test_every_scene_has_colours_and_a_light_of_its_own(camera: MetaWorldCamera):
    pucks, tables = [], []
    for seed in range(6):
        camera.reset("push", seed)
        image, labels = camera.render()
        pucks.append(image[labels == Role.OBJECT].mean(0))
        tables.append(image[labels == Role.BACKGROUND].mean(0))
    assert np.std(pucks, axis=0).min() > 15
    assert np.std(tables, axis=0).min() > 5


def test_goals_lie_all_around_the_object_and_another_one_is_for_the_asking():
    moved = []
    with MetaWorldCamera(("push",), SIZE, settle=75) as camera:
        camera.reset("push", 4)
        image, _ = camera.render()
        for goal_seed in range(5):
            camera.reset("push", 4, goal_seed)
            again, _ = camera.render()
            np.testing.assert_array_equal(image, again)
            start = centre(camera.object_mask())
            camera.step(75)
            moved.append(centre(camera.object_mask()) - start)
    assert np.linalg.norm(moved, axis=1).min() > 2
    directions = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    assert (directions @ directions.T).min() < -0.5, "to opposite sides"


def test_a_goal_of_the_environments_own_cannot_be_asked_for():
    with (
        MetaWorldCamera(("plate-slide",), SIZE) as camera,
        pytest.raises(Refused, match="goal_seed is 1 for plate-slide, whose goals are the environment's"),
    ):
        camera.reset("plate-slide", 0, 1)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_seen_and_moves(task: str):
    """At the benchmark's size, which is the smallest that anyone should use."""
    with MetaWorldCamera((task,), (96, 128)) as camera:
        camera.reset(task, 1_000_000)
        _, labels = camera.render()
        before = camera.object_mask()
        camera.step(75)
        after = camera.object_mask()
    assert (labels == Role.OBJECT).sum() >= 40
    assert after.any()
    assert (before & after).sum() < 0.75 * (before | after).sum()


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1])
def test_a_seed_out_of_range_is_refused(camera: MetaWorldCamera, seed: int):
    with pytest.raises(Refused, match=f"seed is {seed}; expected 0 to {MAX_SEED}"):
        camera.next_scene("push", seed)


def test_a_task_that_is_not_before_the_camera_is_refused(camera: MetaWorldCamera):
    with pytest.raises(Refused, match="task 'plate-slide' is not before this camera; accepted are push, coffee-push"):
        camera.next_scene("plate-slide", 0)


@pytest.mark.parametrize("tasks", [(), ("push", "juggle")])
def test_unknown_tasks_are_refused(tasks: tuple[str, ...]):
    with pytest.raises(Refused, match=r"task '(juggle)?' is unknown; accepted are .*push"):
        MetaWorldCamera(tasks, SIZE)


@pytest.mark.parametrize("size", [(31, 64), (64, 1081)])
def test_a_size_out_of_range_is_refused(size: tuple[int, int]):
    with pytest.raises(Refused, match=r"camera size .* is out of range; height and width go from 32 to 1080"):
        MetaWorldCamera(("push",), size)
