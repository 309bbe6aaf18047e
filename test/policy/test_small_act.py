import pytest
import torch
from lerobot.configs import FeatureType, PolicyFeature
from torch import Tensor

from mask2iv_ros.errors import Refused
from mask2iv_ros.policy.configuration_small_act import SmallActConfig
from mask2iv_ros.policy.modeling_small_act import SmallActPolicy, shifted

SMALL = {"device": "cpu", "dim_model": 16, "dim_feedforward": 16, "channels": (8, 8, 8), "dropout": 0.0}


def _policy(offered: dict[str, PolicyFeature], **settings: object) -> SmallActPolicy:
    torch.manual_seed(0)
    config = SmallActConfig(**SMALL | settings)
    config.input_features = dict(offered)
    config.output_features = {"action": PolicyFeature(FeatureType.ACTION, (4,))}
    return SmallActPolicy(config)


def _batch(count: int = 2) -> dict[str, Tensor]:
    torch.manual_seed(1)
    goal = torch.zeros(count, 3, 48, 64)
    goal[:, :, 10:20, 10:20] = 1
    return {
        "observation.images.front": torch.rand(count, 3, 48, 64),
        "observation.goal_mask.front": goal,
        "observation.state": torch.rand(count, 4),
        "action": torch.rand(count, 16, 4),
        "action_is_pad": torch.zeros(count, 16, dtype=torch.bool),
    }


def test_it_chooses_its_inputs_and_learns(offered: dict[str, PolicyFeature]):
    policy = _policy(offered)
    assert list(policy.config.input_features) == [
        "observation.images.front",
        "observation.goal_mask.front",
        "observation.state",
    ]
    assert sum(one.numel() for one in policy.model.backbone.parameters()) < 10_000
    optimizer = torch.optim.Adam(policy.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        loss, _ = policy.forward(_batch())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_it_gives_as_many_actions_as_it_is_to_take_before_it_looks_again(offered: dict[str, PolicyFeature]):
    policy, batch = _policy(offered, n_action_steps=2), _batch()
    first = policy.select_action(batch)
    assert first.shape == (2, 4)
    torch.testing.assert_close(first, policy.predict_action_chunk(batch)[:, 0])
    other = {**batch, "observation.images.front": torch.zeros(2, 3, 48, 64)}
    torch.testing.assert_close(policy.select_action(other), policy.predict_action_chunk(batch)[:, 1])
    torch.testing.assert_close(policy.select_action(other), policy.predict_action_chunk(other)[:, 0])


def test_the_goal_counts_as_white_or_black_and_the_picture_as_it_is(offered: dict[str, PolicyFeature]):
    policy, batch = _policy(offered), _batch()
    told = policy.predict_action_chunk(batch)
    faded = {**batch, "observation.goal_mask.front": 0.2 + 0.5 * batch["observation.goal_mask.front"]}
    torch.testing.assert_close(policy.predict_action_chunk(faded), told)
    elsewhere = {**batch, "observation.goal_mask.front": batch["observation.goal_mask.front"].flip(-1)}
    assert (policy.predict_action_chunk(elsewhere) - told).abs().max() > 1e-4
    darker = {**batch, "observation.images.front": 0.5 * batch["observation.images.front"]}
    assert (policy.predict_action_chunk(darker) - told).abs().max() > 1e-4


def test_the_blind_one_sees_nothing_and_feels_its_state(offered: dict[str, PolicyFeature]):
    policy, batch = _policy(offered, blind=True), _batch()
    told = policy.predict_action_chunk(batch)
    unseen = {**batch, "observation.images.front": torch.zeros(2, 3, 48, 64)}
    unseen["observation.goal_mask.front"] = torch.ones(2, 3, 48, 64)
    torch.testing.assert_close(policy.predict_action_chunk(unseen), told)
    moved = {**batch, "observation.state": batch["observation.state"] + 1}
    assert (policy.predict_action_chunk(moved) - told).abs().max() > 1e-4


def test_an_image_is_moved_as_a_whole():
    image = torch.arange(6 * 8, dtype=torch.float32).view(1, 1, 6, 8).repeat(20, 2, 1, 1)
    moved = shifted(image, 2)
    assert moved.shape == image.shape
    torch.testing.assert_close(moved[:, 0], moved[:, 1])
    corners = moved[:, 0, 2, 2]
    assert len(corners.unique()) > 5
    # Pixels that stay in view keep their neighbours.
    torch.testing.assert_close(moved[:, 0, 2, 3], corners + 1)


@pytest.mark.parametrize("missing", ["observation.goal_mask.front", "observation.state"])
def test_a_dataset_without_an_input_is_refused(offered: dict[str, PolicyFeature], missing: str):
    with pytest.raises(Refused, match=f"lack {missing}; expected observation.images.front"):
        _policy({key: value for key, value in offered.items() if key != missing})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"channels": (12,)}, r"channels is \(12,\)"),
        ({"shift": -1}, "shift is -1"),
        ({"dtype": "int8"}, "dtype is 'int8'; accepted are"),
        ({"warmup": -1}, "warmup is -1"),
        ({"remembered": -1}, "remembered is -1"),
        ({"camera": "a b"}, "camera name is 'a b'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict, said: str):
    with pytest.raises(Refused, match=said):
        SmallActConfig(**SMALL | settings)
