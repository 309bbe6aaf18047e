from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from mask2iv_ros.generator.autoencoder import encode_video, to_unit
from mask2iv_ros.masks import Role, encode_colours
from mask2iv_ros.training.contact import RegionWeights, loss_weight
from mask2iv_ros.training.experiment import Experiment, Perturbation
from mask2iv_ros.training.order import generator_at

DRAWS = 300


def halves(beside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first frame's channels and the mask latents."""
    return beside.chunk(2, 1)


def same(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return which rows are equal."""
    return (one == other).flatten(1).all(1)


def test_stage_1_is_told_one_condition(small, tiny_experiment: Callable[..., Experiment]):
    windows = [small.windows[index % len(small.windows)] for index in range(40)]
    batch = small.batcher(tiny_experiment("trajectory", goals=0.3)).train(windows, generator_at(0))
    first, masks = halves(batch.condition.beside)
    video, goal, labels = (torch.stack([one[name].float() for one in windows]) for name in ("video", "goal", "masks"))
    assert torch.equal(batch.video, labels)
    assert torch.equal(batch.origin, labels[:, :, :1])
    assert all(torch.equal(first[:, :, frame], video[:, :, 0]) for frame in range(first.shape[2]))
    assert torch.equal(masks[:, :, 0], labels[:, :, 0])
    assert not masks[:, :, 1:-1].any()
    by_mask = same(masks[:, :, -1], goal)
    by_text = same(batch.condition.text, torch.stack([one["text"].float() for one in windows]))
    assert same(masks[:, :, -1], torch.zeros_like(goal))[~by_mask].all()
    assert same(batch.condition.text, small.latents.no_text.float().expand_as(batch.condition.text))[~by_text].all()
    assert torch.equal(by_mask, ~by_text)
    assert 0.15 < by_mask.float().mean() < 0.45
    assert batch.condition.fps.tolist() == [10] * 40


@pytest.mark.parametrize(("goals", "by_mask"), [(1.0, True), (0.0, False)])
def test_shares_of_all_and_none_are_kept(small, tiny_experiment, goals: float, by_mask: bool):
    windows = [small.windows[0]] * 20
    for make in (small.batcher(tiny_experiment("trajectory", goals=goals)).train,) * 2:
        _, masks = halves(make(windows, generator_at(1)).condition.beside)
        assert masks[:, :, -1].flatten(1).any(1).tolist() == [by_mask] * 20


def test_stage_2_is_told_the_trajectory_and_no_text(small, tiny_experiment):
    windows = [small.windows[index] for index in range(4)]
    batch = small.batcher(tiny_experiment("video")).train(windows, generator_at(0))
    _, masks = halves(batch.condition.beside)
    video = torch.stack([one["video"].float() for one in windows])
    assert torch.equal(batch.video, video)
    assert torch.equal(batch.origin, video[:, :, :1])
    assert torch.equal(masks, torch.stack([one["masks"].float() for one in windows]))
    assert same(batch.condition.text, small.latents.no_text.float().expand_as(batch.condition.text)).all()


@pytest.mark.parametrize("stage", ["trajectory", "video"])
def test_dropout_has_the_shares_of_one_uniform_draw(full, base_experiment, stage: str):
    window = full.windows[1]
    goals = {"goals": 0.0} if stage == "trajectory" else {}
    batcher = full.batcher(base_experiment(stage, dropout=0.1, **goals))
    batch = batcher.train([window] * DRAWS, generator_at(0))
    first, masks = halves(batch.condition.beside)
    assert same(first[:, :, 0], window["video"][:, 0].float().expand_as(first[:, :, 0])).all()
    no_image = same(batch.condition.image, full.latents.no_image.float().expand_as(batch.condition.image))
    assert same(batch.condition.image, window["image"].float().expand_as(batch.condition.image))[~no_image].all()
    assert no_image.float().mean().item() == pytest.approx(0.2, abs=0.07)
    if stage == "video":
        no_masks = ~masks.flatten(1).any(1)
        assert no_masks.float().mean().item() == pytest.approx(0.1, abs=0.05)
        assert no_image[no_masks].all()
    else:
        no_text = same(batch.condition.text, full.latents.no_text.float().expand_as(batch.condition.text))
        assert no_text.float().mean().item() == pytest.approx(0.2, abs=0.07)
        assert (no_text & no_image).float().mean().item() == pytest.approx(0.1, abs=0.05)


def test_dropout_of_stage_1_loses_the_goal_and_keeps_the_initial_masks(small, tiny_experiment):
    window = small.windows[0]
    batcher = small.batcher(tiny_experiment("trajectory", goals=1.0, dropout=1 / 3))
    _, masks = halves(batcher.train([window] * DRAWS, generator_at(0)).condition.beside)
    dropped = ~masks[:, :, -1].flatten(1).any(1)
    assert dropped.float().mean().item() == pytest.approx(1 / 3, abs=0.09)
    assert same(masks[:, :, 0], window["masks"][:, 0].float().expand_as(masks[:, :, 0])).all()


def test_validation_drops_and_perturbs_nothing(full, base_experiment):
    asked = base_experiment("video", dropout=1 / 3, perturbation=Perturbation(share=1.0, kernels=(3,)))
    windows = [full.windows[index] for index in range(4)]
    condition = full.batcher(asked).plain(windows, generator_at(0)).condition
    assert torch.equal(halves(condition.beside)[1], torch.stack([one["masks"].float() for one in windows]))
    assert torch.equal(condition.image, torch.stack([one["image"].float() for one in windows]))


def test_perturbed_masks_are_drawn_anew_and_encoded(small, tiny_experiment):
    window = small.windows[0]
    asked = tiny_experiment("video", perturbation=Perturbation(share=0.2, kernels=(3,)))
    batcher = small.batcher(asked)
    _, masks = halves(batcher.train([window] * DRAWS, generator_at(0)).condition.beside)
    true = window["masks"].float().expand_as(masks)
    changed = ~same(masks, true)
    assert changed.float().mean().item() == pytest.approx(0.2, abs=0.08)
    found = {one.numpy().tobytes() for one in masks[changed]}
    # Dilated or eroded, arm and object each: four ways with one kernel.
    assert len(found) == 4
    plain = encode_video(small.base.autoencoder, to_unit(encode_colours(window["labels"].numpy()))[None])[0]
    assert (plain - true[0]).abs().max() < 0.01
    again = halves(batcher.train([window] * DRAWS, generator_at(0)).condition.beside)[1]
    assert torch.equal(again, masks)


@pytest.mark.parametrize("make", ["train", "plain"])
def test_a_stage_2_that_is_told_less_is_never_told_more(small, tiny_experiment, make: str):
    windows = [small.windows[index] for index in range(3)]
    told = {}
    for masks in ("none", "interactor", "both"):
        batcher = small.batcher(tiny_experiment("video", masks=masks))
        first, told[masks] = halves(getattr(batcher, make)(windows, generator_at(0)).condition.beside)
        assert torch.equal(first[:, :, 0], torch.stack([one["video"][:, 0].float() for one in windows]))
    assert not told["none"].any()
    labels = np.stack([one["labels"].numpy() for one in windows])
    alone = to_unit(encode_colours(np.where(labels == Role.OBJECT, 0, labels).astype(np.uint8)))
    torch.testing.assert_close(told["interactor"], encode_video(small.base.autoencoder, alone), rtol=0, atol=1e-5)
    assert not same(told["interactor"], told["both"]).any()


def test_perturbed_masks_of_the_interactor_show_no_object(small, tiny_experiment):
    asked = tiny_experiment("video", masks="interactor", perturbation=Perturbation(share=1.0, kernels=(3,)))
    windows = [small.windows[0]] * 40
    _, masks = halves(small.batcher(asked).train(windows, generator_at(0)).condition.beside)
    # Dilated or eroded, the interactor alone: two ways with one kernel.
    assert len({one.numpy().tobytes() for one in masks}) == 2


def test_the_weight_is_the_contact_map_on_the_latent_grid(small, tiny_experiment):
    windows = [small.windows[index] for index in range(2)]
    weights = RegionWeights(interactor=0, object=0, contact=5, reach=5)
    batch = small.batcher(tiny_experiment("video", weights=weights)).train(windows, generator_at(0))
    expected = [loss_weight(one["labels"].numpy(), weights, 8) for one in windows]
    assert torch.equal(batch.weight, torch.stack(expected))
    assert set(np.unique(batch.weight)) == {1, 5}


def test_what_guidance_leads_away_from_is_what_dropout_drops(full, base_experiment):
    windows = [full.windows[index] for index in range(2)]
    for stage in ("trajectory", "video"):
        asked = base_experiment(stage, **({"goals": 1.0} if stage == "trajectory" else {}))
        batcher = full.batcher(asked)
        condition = batcher.plain(windows, generator_at(0)).condition
        nothing = batcher.unconditional(condition)
        assert torch.equal(nothing.text[0], full.latents.no_text.float())
        assert torch.equal(nothing.image[0], full.latents.no_image.float())
        assert torch.equal(nothing.fps, condition.fps)
        (first, masks), (kept, left) = halves(condition.beside), halves(nothing.beside)
        assert torch.equal(first, kept)
        assert masks[:, :, -1].any()
        assert not left[:, :, -1].any()
        assert torch.equal(left[:, :, 0], masks[:, :, 0]) == (stage == "trajectory")
        picture = batcher.without_text(replace(condition, text=condition.text + 1))
        assert torch.equal(picture.text[0], full.latents.no_text.float())
        assert torch.equal(picture.image, condition.image)
        assert torch.equal(picture.beside, condition.beside)
