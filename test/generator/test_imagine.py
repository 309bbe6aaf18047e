import gc
import shutil
import weakref
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.checkpoint import add_stage, load, read_config, set_thresholds
from mask2iv_ros.generator.coding import Coder
from mask2iv_ros.generator.imagine import MAX_SEED, Imaginer
from mask2iv_ros.generator.paste import paste_and_move
from mask2iv_ros.generator.progress import Cancelled, Progress
from mask2iv_ros.generator.sampler import Sampling
from mask2iv_ros.generator.space_time import SpaceTimeUNet
from mask2iv_ros.generator.stage import Stage
from mask2iv_ros.generator.tiny import write_tiny_checkpoint
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory
from mask2iv_ros.scoring.scores import SCORES, agreement
from mask2iv_ros.scoring.segmenter import find_roles
from mask2iv_ros.scoring.verdict import Thresholds


@pytest.fixture(scope="module")
def imaginer(tiny: Path) -> Imaginer:
    return Imaginer.load(tiny, "cpu")


def imagine(imaginer: Imaginer, scene: Scene, goal: Goal, seed: int = 0, **more: object) -> Rollout:
    return imaginer.imagine(scene, goal, seed=seed, rollout_id="r", **more)


def test_an_imaginer_says_what_it_makes(tiny: Path, imaginer: Imaginer):
    assert (imaginer.frames, imaginer.size, imaginer.fps, imaginer.stage_steps) == (4, (32, 48), 8.0, 2)
    assert imaginer.conditions == {"mask"}
    name, _, digest = imaginer.name.partition("@")
    assert name == "tiny"
    assert len(digest) == 8
    assert Imaginer.load(tiny, "cpu", steps=7).stage_steps == 7


def test_a_rollout_carries_all_that_made_it(imaginer: Imaginer, scene: Scene, goal: Goal):
    rollout = imagine(imaginer, scene, goal, seed=3)
    assert (rollout.id, rollout.seed, rollout.checkpoint, rollout.fps) == ("r", 3, imaginer.name, 8.0)
    assert rollout.video.shape == (4, 32, 48, 3)
    assert rollout.trajectory.source == "predicted"
    np.testing.assert_array_equal(rollout.trajectory.labels[0], scene.labels)
    assert (rollout.trajectory.labels[1:] != scene.labels).any()
    np.testing.assert_array_equal(rollout.scene.image, scene.image)
    assert (rollout.scene.stamp_ns, rollout.scene.frame_id) == (5, "optical")
    np.testing.assert_array_equal(rollout.goal.mask, goal.mask)
    assert set(rollout.scores) == {"goal_iou", "smoothness", "permanence"}
    assert all(0 <= value <= 1 for value in rollout.scores.values())


def test_a_seed_decides_a_rollout_to_the_bit(tiny: Path, imaginer: Imaginer, scene: Scene, goal: Goal):
    first = imagine(imaginer, scene, goal, seed=1)
    other = imagine(imaginer, scene, goal, seed=2)
    for again in (imagine(imaginer, scene, goal, seed=1), imagine(Imaginer.load(tiny, "cpu"), scene, goal, seed=1)):
        np.testing.assert_array_equal(first.video, again.video)
        np.testing.assert_array_equal(first.trajectory.labels, again.trajectory.labels)
    assert (first.video != other.video).any()
    assert (first.trajectory.labels != other.trajectory.labels).any()


def test_watching_does_not_change_a_rollout(imaginer: Imaginer, scene: Scene, goal: Goal):
    watched = imagine(imaginer, scene, goal, on_step=lambda progress: None)
    np.testing.assert_array_equal(watched.video, imagine(imaginer, scene, goal).video)


def test_the_goal_moves_the_trajectory(imaginer: Imaginer, scene: Scene, goal: Goal):
    elsewhere = Goal(np.roll(goal.mask, 12, axis=0))
    one, other = (imaginer.trajectory(scene, where, seed=0) for where in (goal, elsewhere))
    assert (one.labels != other.labels).any()


def test_the_trajectory_alone_is_the_one_that_a_rollout_follows(imaginer: Imaginer, scene: Scene, goal: Goal):
    alone = imaginer.trajectory(scene, goal, seed=4)
    whole = imagine(imaginer, scene, goal, seed=4)
    np.testing.assert_array_equal(alone.labels, whole.trajectory.labels)
    # Following it as given makes the same video: stage 2 does not ask where it came from.
    given = imagine(imaginer, scene, goal, seed=4, trajectory=alone)
    np.testing.assert_array_equal(given.video, whole.video)
    assert given.trajectory.source == "predicted"


def test_both_stages_report_every_step(imaginer: Imaginer, scene: Scene, goal: Goal):
    seen: list[Progress] = []
    imagine(imaginer, scene, goal, on_step=seen.append)
    assert [(one.stage, one.step, one.steps) for one in seen] == [
        ("trajectory", 1, 2),
        ("trajectory", 2, 2),
        ("video", 1, 2),
        ("video", 2, 2),
    ]
    assert seen[-1].preview.shape == (32, 48, 3)
    assert seen[-1].preview.dtype == np.uint8


def test_previews_come_halfway_and_at_the_end_only(tiny: Path, scene: Scene, goal: Goal):
    seen: list[Progress] = []
    Imaginer.load(tiny, "cpu", steps=5).trajectory(scene, goal, seed=0, on_step=seen.append)
    assert [one.step for one in seen if one.preview is not None] == [2, 5]


def test_an_edited_trajectory_skips_stage_one(imaginer: Imaginer, scene: Scene, goal: Goal):
    labels = np.stack([np.roll(scene.labels, 3 * frame, axis=1) for frame in range(4)])
    seen: list[Progress] = []
    rollout = imagine(imaginer, scene, goal, trajectory=Trajectory(labels, "edited"), on_step=seen.append)
    assert [one.stage for one in seen] == ["video", "video"]
    assert rollout.trajectory.source == "edited"
    np.testing.assert_array_equal(rollout.trajectory.labels, labels)
    other = imagine(imaginer, scene, goal, trajectory=Trajectory(labels[::-1].copy(), "edited"))
    assert (rollout.video != other.video).any()


@pytest.mark.parametrize(("masks", "arm", "thing"), [("none", 0, 0), ("interactor", 1, 0), ("both", 1, 1)])
def test_stage_two_follows_what_it_was_trained_to_be_told(
    tiny: Path, tmp_path: Path, scene: Scene, goal: Goal, masks: str, arm: bool, thing: bool
):
    folder = shutil.copytree(tiny, tmp_path / "told")
    stage, about = load(tiny, torch.device("cpu")).stages["video"], read_config(tiny).stages["video"]
    add_stage(folder, "video", stage, replace(about, masks=masks), torch.float16)
    told = Imaginer.load(folder, "cpu")

    def follow(role: int) -> np.ndarray:
        labels = np.repeat(scene.labels[None], 4, 0)
        moving = np.roll(labels[1:] == role, 8, axis=2)
        labels[1:][labels[1:] == role] = 0
        labels[1:][moving] = role
        return imagine(told, scene, goal, trajectory=Trajectory(labels, "edited")).video

    still = imagine(told, scene, goal, trajectory=Trajectory(np.repeat(scene.labels[None], 4, 0), "edited")).video
    assert [(follow(role) != still).any() for role in (1, 2)] == [arm, thing]


def test_a_trajectory_of_the_cameras_size_is_framed_as_the_scene_is(imaginer: Imaginer):
    labels = np.zeros((4, 64, 128), np.uint8)  # sees columns 16 to 112, half the size
    labels[:, 20:40, 20:40], labels[:, 30:40, 60:80] = 1, 2
    scene = Scene(np.zeros((64, 128, 3), np.uint8), labels[0])
    rollout = imagine(imaginer, scene, Goal(labels[0] == 2), trajectory=Trajectory(labels, "edited"))
    assert rollout.trajectory.labels.shape == (4, 32, 48)
    np.testing.assert_array_equal(rollout.trajectory.labels, labels[:, ::2, 16:112:2])
    assert rollout.video.shape == (4, 32, 48, 3)


@pytest.mark.parametrize("shape", [(3, 32, 48), (5, 32, 48), (4, 48, 32), (4, 16, 24)])
def test_a_trajectory_that_does_not_fit_is_refused(imaginer: Imaginer, scene: Scene, goal: Goal, shape: tuple):
    with pytest.raises(Refused, match=rf"trajectory has {shape[0]} frames of .*; expected 4 frames of 48 x 32"):
        imagine(imaginer, scene, goal, trajectory=Trajectory(np.zeros(shape, np.uint8), "edited"))


def test_a_text_alone_is_refused_by_a_checkpoint_for_masks(imaginer: Imaginer, scene: Scene):
    for ask in (imaginer.check, lambda *told: imaginer.trajectory(*told, seed=0)):
        with pytest.raises(Refused, match="takes goals as mask and the goal is the text 'lift it' alone"):
            ask(scene, Goal(None, "lift it"))


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1])
def test_a_seed_out_of_range_is_refused(imaginer: Imaginer, scene: Scene, goal: Goal, seed: int):
    with pytest.raises(Refused, match=f"seed is {seed}; expected 0 to {MAX_SEED}"):
        imagine(imaginer, scene, goal, seed=seed)


def test_the_largest_seed_works(imaginer: Imaginer, scene: Scene, goal: Goal):
    assert imaginer.trajectory(scene, goal, seed=MAX_SEED).labels.shape == (4, 32, 48)


@pytest.mark.parametrize("last", [("trajectory", 1), ("video", 2)])
def test_a_cancel_takes_effect_at_once(imaginer: Imaginer, scene: Scene, goal: Goal, last: tuple[str, int]):
    seen = []

    def stop(progress: Progress) -> None:
        seen.append((progress.stage, progress.step))
        if seen[-1] == last:
            raise Cancelled

    with pytest.raises(Cancelled):
        imagine(imaginer, scene, goal, on_step=stop)
    assert seen[-1] == last
    assert imagine(imaginer, scene, goal).video.shape == (4, 32, 48, 3)


def test_closing_frees_the_weights_and_ends_the_use(tiny: Path, scene: Scene, goal: Goal):
    checkpoint = load(tiny, torch.device("cpu"))
    imaginer = Imaginer(checkpoint, torch.device("cpu"))
    parameter = weakref.ref(next(checkpoint.stages["video"].parameters()))
    del checkpoint
    imagine(imaginer, scene, goal)
    imaginer.close()
    imaginer.close()
    gc.collect()
    assert parameter() is None
    with pytest.raises(Refused, match="was closed; load it again"):
        imagine(imaginer, scene, goal)


@pytest.mark.parametrize("steps", [0, -3, 1001])
def test_steps_out_of_range_are_refused(tiny: Path, steps: int):
    with pytest.raises(Refused, match=f"steps is {steps}; expected a whole number from 1 to 1000"):
        Imaginer.load(tiny, "cpu", steps)


def test_an_unknown_device_is_refused(tiny: Path):
    with pytest.raises(Refused, match="device 'tpu' is unknown; accepted are auto, cpu, cuda"):
        Imaginer.load(tiny, "tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_refused(tiny: Path):
    with pytest.raises(Refused, match="torch sees no GPU; use auto or cpu"):
        Imaginer.load(tiny, "cuda")
    assert Imaginer.load(tiny, "auto").frames == 4


def test_a_batch_gives_what_its_rollouts_are_one_by_one(imaginer: Imaginer, scene: Scene, goal: Goal):
    goals = [goal, Goal(np.roll(goal.mask, 8, axis=0)), goal]
    together = imaginer.imagine_many(scene, goals, [5, 6, 7], ["a", "b", "c"])
    assert [one.id for one in together] == ["a", "b", "c"]
    for one, wanted, seed in zip(together, goals, (5, 6, 7), strict=True):
        alone = imagine(imaginer, scene, wanted, seed)
        assert np.mean(one.trajectory.labels == alone.trajectory.labels) > 0.999
        # A pixel of stage 1's masks may flip by rounding, and stage 2 follows it.
        given = imagine(imaginer, scene, wanted, seed, trajectory=one.trajectory)
        assert np.abs(one.video.astype(int) - given.video).max() <= 1


def test_noise_at_every_step_follows_the_seed_too(tiny: Path, scene: Scene, goal: Goal):
    noisy = Imaginer.load(tiny, "cpu", eta=1.0)
    first, again, other = (noisy.trajectory(scene, goal, seed=seed).labels for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first != Imaginer.load(tiny, "cpu").trajectory(scene, goal, seed=1).labels).any()


@pytest.mark.parametrize("method", ["dpm++", "unipc"])
def test_other_samplers_go_through_the_same_call(tiny: Path, scene: Scene, goal: Goal, method: str):
    assert imagine(Imaginer.load(tiny, "cpu", method=method), scene, goal).video.shape == (4, 32, 48, 3)


def test_guidance_leads_away_from_the_trajectory_without_a_goal(tiny: Path, scene: Scene, goal: Goal):
    plain, guided = (Imaginer.load(tiny, "cpu", guidance=scale).trajectory(scene, goal, seed=0) for scale in (1.0, 4.0))
    assert (plain.labels != guided.labels).any()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Imaginer:
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("text") / "tiny", conditions=("mask", "text"))
    return Imaginer.load(folder, "cpu")


def test_an_instruction_alone_is_followed_as_text(reader: Imaginer, scene: Scene):
    left, right = (reader.trajectory(scene, Goal(None, f"push it to the {side}"), seed=0) for side in ("left", "right"))
    assert (left.labels != right.labels).any()


def test_beside_a_goal_mask_the_instruction_changes_nothing(reader: Imaginer, scene: Scene, goal: Goal):
    one, other = (reader.trajectory(scene, Goal(goal.mask, words), seed=0) for words in ("push it", "pull it"))
    np.testing.assert_array_equal(one.labels, other.labels)


def test_masks_and_texts_go_together(reader: Imaginer, scene: Scene, goal: Goal):
    both = reader.trajectories(scene, [goal, Goal(None, "push it")], [1, 2])
    for one, (wanted, seed) in zip(both, ((goal, 1), (Goal(None, "push it"), 2)), strict=True):
        assert np.mean(one.labels == reader.trajectory(scene, wanted, seed=seed).labels) > 0.999


def test_a_text_is_led_by_a_guidance_of_its_own(reader: Imaginer, tmp_path: Path, scene: Scene, goal: Goal):
    folder = write_tiny_checkpoint(tmp_path / "tiny", conditions=("mask", "text"))
    about = Sampling(steps=2, eta=0.0, guidance=1.0, text_guidance=4.0)
    told = Goal(None, "push it")

    def labels(imaginer: Imaginer, wanted: Goal) -> np.ndarray:
        return imaginer.trajectory(scene, wanted, seed=1).labels

    stronger = Imaginer.load(folder, "cpu", **asdict(about))
    np.testing.assert_array_equal(labels(stronger, goal), labels(reader, goal))
    assert (labels(stronger, told) != labels(reader, told)).any()
    everywhere = Imaginer.load(folder, "cpu", guidance=4.0)
    np.testing.assert_array_equal(labels(everywhere, told), labels(stronger, told))
    # One that is asked for counts for every goal, whatever the checkpoint suggests for texts.
    checkpoint = load(folder, torch.device("cpu"))
    add_stage(
        folder,
        "trajectory",
        checkpoint.stages["trajectory"],
        replace(checkpoint.config.stages["trajectory"], sampling=about),
        torch.float16,
    )
    np.testing.assert_array_equal(labels(Imaginer.load(folder, "cpu"), told), labels(stronger, told))
    np.testing.assert_array_equal(labels(Imaginer.load(folder, "cpu", guidance=1.0), told), labels(reader, told))


def test_a_stage_two_that_knows_nothing_yet_pastes(tmp_path: Path, scene: Scene, goal: Goal):
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    checkpoint = load(folder, torch.device("cpu"))
    about = replace(checkpoint.config.stages["video"], origin="pasted", scale=(1e-3,) * 8)
    new = SpaceTimeUNet(32, 8, 4, widths=(16, 32), depth=1, head_width=16)
    add_stage(folder, "video", Stage(new, about.schedule, scale=torch.full((8,), 1e-3)), about, torch.float16)
    imaginer = Imaginer.load(folder, "cpu")
    labels = np.stack([np.roll(scene.labels, 3 * frame, axis=1) for frame in range(4)])
    made = imagine(imaginer, scene, goal, trajectory=Trajectory(labels, "edited")).video
    coder = Coder(load(folder, torch.device("cpu")), torch.device("cpu"))
    pasted = paste_and_move(scene.image, labels)
    rests = (pasted == scene.image).all(-1)
    assert 0.3 < rests[1:].mean() < 0.99
    assert np.abs(made.astype(int) - pasted)[rests].max() <= 2
    decoded = coder.decode(coder.encode(pasted))[0]
    assert np.abs(made.astype(int) - decoded)[~rests].max() <= 2
    assert np.abs(decoded.astype(int) - pasted).max() > 20
    # As with one rollout alone, so in a batch.
    both = imaginer.imagine_many(scene, [goal, goal], [0, 1], ["a", "b"], [Trajectory(labels), Trajectory(labels)])
    assert np.abs(both[0].video.astype(int) - made).max() <= 1


def test_half_precision_is_near_single_precision(tiny: Path, imaginer: Imaginer, scene: Scene, goal: Goal):
    trajectory = imaginer.trajectory(scene, goal, seed=0)
    half = imagine(Imaginer.load(tiny, "cpu", dtype="bf16"), scene, goal, trajectory=trajectory).video.astype(int)
    whole = imagine(imaginer, scene, goal, trajectory=trajectory).video
    assert 0 < np.abs(half - whole).mean() < 4


def test_an_unknown_dtype_is_refused(tiny: Path):
    with pytest.raises(Refused, match=r"'fp8'; accepted are"):
        Imaginer.load(tiny, "cpu", dtype="fp8")


def test_offloaded_encoders_give_the_same(tmp_path: Path, scene: Scene):
    folder = write_tiny_checkpoint(tmp_path / "tiny", conditions=("text",))
    goal = Goal(None, "push it to the left")
    plain, offloaded = (Imaginer.load(folder, "cpu", offload=offload) for offload in (False, True))
    np.testing.assert_array_equal(*(one.trajectory(scene, goal, seed=0).labels for one in (plain, offloaded)))


def test_networks_are_compiled_only_if_asked(tiny: Path):
    # That torch can compile them is tested with the wrapper; here it would take minutes.
    for compiling in (False, True):
        stages = Imaginer.load(tiny, "cpu", compiling=compiling)._checkpoint.stages.values()
        assert {stage.denoiser.denoiser._compiled_call_impl is not None for stage in stages} == {compiling}


def test_image_guidance_alone_needs_the_unconditional_too(tiny: Path, scene: Scene, goal: Goal):
    both = Imaginer.load(tiny, "cpu", guidance=1.0, image_guidance=2.0)
    assert both.trajectory(scene, goal, seed=0).labels.shape == (4, 32, 48)


def test_too_little_memory_is_one_sentence(imaginer: Imaginer, scene: Scene, goal: Goal):
    def burst(_: Progress) -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(Refused, match="memory does not hold 1 rollouts of 4 frames of 48 x 32; what needs less"):
        imaginer.trajectory(scene, goal, seed=0, on_step=burst)


def test_a_segmenter_holds_the_video_against_its_masks(tmp_path: Path, scene: Scene, goal: Goal):
    folder = write_tiny_checkpoint(tmp_path / "seeing", segmenter=True)
    seeing = Imaginer.load(folder, "cpu")
    one, other = (imagine(seeing, scene, goal, seed) for seed in (0, 1))
    assert set(one.scores) == set(SCORES)
    assert one.scores["agreement"] != other.scores["agreement"]
    found = find_roles(load(folder, torch.device("cpu")).segmenter, scene.image, scene.labels, one.video)
    assert one.scores["agreement"] == pytest.approx(agreement(one.trajectory.labels, found), abs=0.02)


def test_a_checkpoints_own_thresholds_decide_what_is_good(tiny: Path, tmp_path: Path, scene: Scene, goal: Goal):
    folder = shutil.copytree(tiny, tmp_path / "copy")
    assert Imaginer.load(folder, "cpu").thresholds == Thresholds()
    for thresholds, verdict in ((Thresholds(0, 0, 0, 0), "good"), (Thresholds(goal_iou=1.0), "doubtful: ")):
        set_thresholds(folder, thresholds, load(folder, torch.device("cpu")).sha256)
        rollout = imagine(Imaginer.load(folder, "cpu"), scene, goal)
        assert rollout.verdict.startswith(verdict)
    assert "the object does not end in the goal (goal_iou" in rollout.verdict
