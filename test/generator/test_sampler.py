from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.guidance import rescaled
from mask2iv_ros.generator.sampler import Near, Predict, Sampling, sample, timesteps
from mask2iv_ros.generator.schedule import NoiseSchedule

REFERENCE = Path(__file__).parents[2] / "../shared/reference/dynamicrafter"
METHODS = ("ddim", "dpm++", "unipc")
SPACINGS = ("trailing", "uniform")
SHAPE = (2, 4, 3, 5, 6)
LAYOUTS = {
    "512": NoiseSchedule(),
    "1024": NoiseSchedule(rescale=0.3),
    "256": NoiseSchedule("epsilon", zero_terminal_snr=False, rescale=None),
    "small": NoiseSchedule("sample", rescale=None),
}


def draw(seed: int, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def exact(schedule: NoiseSchedule, mean: torch.Tensor | float, std: torch.Tensor | float) -> Predict:
    """The best network for data that is normal in every value: its clean latent is E[x | x_t] and no other."""

    def predict(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        share, scale = (torch.from_numpy(part)[t].float().view(-1, 1, 1, 1, 1) for part in tables)
        signal = share.sqrt() * scale
        clean = mean + signal * std**2 / (signal**2 * std**2 + 1 - share) * (x - signal * mean)
        if schedule.prediction == "sample":
            return clean
        noise = (x - signal * clean) / (1 - share).sqrt()
        return noise if schedule.prediction == "epsilon" else share.sqrt() * noise - (1 - share).sqrt() * scale * clean

    tables = schedule.alphas_cumprod, schedule.scale
    return predict


def fresh(index: int) -> torch.Tensor:
    return draw(1000 + index)


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the base model's goldens are not here")
@pytest.mark.parametrize(
    ("run", "sampling", "image_guidance"),
    [
        ("trailing_eta0", Sampling(steps=5, eta=0), None),
        ("trailing_eta0_nocfg", Sampling(steps=5, eta=0, guidance=1), None),
        ("trailing_eta1", Sampling(steps=5), None),
        ("trailing_eta1_multicond", Sampling(steps=5), 3.0),
        ("uniform_eta0_nogr", Sampling(steps=5, eta=0, spacing="uniform", guidance_rescale=0), None),
    ],
)
def test_the_base_models_trajectories_are_replayed_from_its_networks_outputs(run, sampling, image_guidance):
    golden = load_file(REFERENCE / "ddim_tiny_trajectories.safetensors")
    golden = {name.removeprefix(f"{run}."): value for name, value in golden.items() if name.startswith(f"{run}.")}
    path: list[torch.Tensor] = []
    estimates: list[torch.Tensor] = []

    def predict(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        step = len(path)
        assert t.tolist() == golden["t"][step].tolist()
        path.append(x)
        given = golden["model_out_cond"][step]
        if "model_out_uncond" not in golden:
            return given
        mixed = without = golden["model_out_uncond"][step]
        if image_guidance is not None:
            without = golden["model_out_uncond_text_only_dropped"][step]
            mixed = mixed + image_guidance * (without - mixed)
        return rescaled(mixed + sampling.guidance * (given - without), given, sampling.guidance_rescale)

    end = sample(
        predict,
        NoiseSchedule(),
        sampling,
        golden["x"][0],
        lambda index: golden["noise"][index],
        lambda done, clean: estimates.append(clean),
    )
    assert (torch.stack([*path, end]) - golden["x"]).abs().max() <= 1e-5
    # The stored estimates have the next step's dynamic rescale.
    visited = timesteps(NoiseSchedule(), sampling)
    scale = torch.from_numpy(NoiseSchedule().scale)[[*visited[1:], visited[-1]]].float().view(-1, 1, 1, 1, 1, 1)
    assert (torch.stack(estimates) * scale - golden["pred_x0"]).abs().max() <= 1e-5


@pytest.mark.parametrize("spacing", SPACINGS)
def test_as_many_timesteps_as_asked_for_and_no_two_the_same(spacing):
    for count in range(1, 1001):
        visited = timesteps(NoiseSchedule(), Sampling(steps=count, spacing=spacing))
        assert len(visited) == count
        assert all(a > b for a, b in pairwise(visited))
        assert 0 <= visited[-1] <= visited[0] <= 999
        assert spacing == "uniform" or visited[0] == 999
        if spacing == "uniform" and 1000 % count == 0 and count < 1000:
            assert visited[::-1] == list(range(1, 1000, 1000 // count))


def test_more_steps_than_timesteps_are_refused():
    with pytest.raises(Refused, match=r"steps is 101; .* 100 timesteps"):
        timesteps(NoiseSchedule(steps=100), Sampling(steps=101))
    assert timesteps(NoiseSchedule(steps=100), Sampling(steps=100)) == list(range(99, -1, -1))


@pytest.mark.parametrize(("layout", "spacing"), list(product(LAYOUTS, SPACINGS)))
@pytest.mark.parametrize("method", METHODS)
def test_no_sample_is_nan_or_infinite_or_far_from_the_data(method, layout, spacing):
    predict = exact(LAYOUTS[layout], mean=0.5, std=0.2)
    # Among these counts are the reference's NaNs and failures; all of 1 to 100 take minutes.
    for count, eta in product((1, 2, 3, 7, 9, 11, 20, 25, 36, 61), (0.0, 0.3, 1.0) if method == "ddim" else (0.0,)):
        sampling = Sampling(method, count, eta, spacing)
        result = sample(predict, LAYOUTS[layout], sampling, draw(0), fresh)
        assert result.shape == SHAPE
        assert result.isfinite().all(), sampling
        # Few uniform steps start where little noise is expected, which is the reference's spacing too.
        assert spacing == "uniform" or result.abs().max() < 2, sampling


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_many_steps_with_the_exact_network_give_the_datas_mean_and_spread(method, layout, spacing):
    schedule, wide = LAYOUTS[layout], (1, 4, 4, 32, 32)
    for eta in (0.0, 1.0) if method == "ddim" else (0.0,):
        sampling = Sampling(method, 200, eta, spacing)
        # Without a zero terminal SNR pure noise lacks some of the data's mean; start from the data.
        first = torch.tensor(timesteps(schedule, sampling)[:1])
        start = schedule.add_noise(0.8 + 0.5 * draw(1, wide), draw(0, wide), first)
        result = sample(exact(schedule, 0.8, 0.5), schedule, sampling, start, lambda index: draw(1000 + index, wide))
        assert result.mean().item() == pytest.approx(0.8, abs=0.01)
        assert result.std().item() == pytest.approx(0.5, abs=0.03)


def two_points(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """The clean latent that the best network puts out for data near 1 or -1, with a spread of 0.03."""
    share = torch.from_numpy(LAYOUTS["small"].alphas_cumprod)[t].float().view(-1, 1, 1, 1, 1)
    spread = share * 0.03**2 + 1 - share
    signs = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1, 1, 1)
    belief = (share.sqrt() * x * signs / spread).softmax(0)
    return (belief * (signs + share.sqrt() * 0.03**2 / spread * (x - share.sqrt() * signs))).sum(0)


def test_the_solvers_come_nearer_than_ddim_in_the_same_steps():
    wide = draw(0, (1, 4, 4, 32, 32))

    def run(method: str, steps: int) -> torch.Tensor:
        return sample(two_points, LAYOUTS["small"], Sampling(method, steps, 0), wide)

    # The exact flow is monotone: it keeps every value's rank, so it maps quantile to quantile.
    grid = torch.linspace(-1.5, 1.5, 300_001, dtype=torch.float64)
    rank = sum(torch.special.ndtr((grid - sign) / 0.03) for sign in (-1, 1)) / 2
    wanted = grid[torch.searchsorted(rank, torch.special.ndtr(wide.double())).clamp_max(len(grid) - 1)]
    for steps, share in ((10, 0.85), (20, 0.6)):
        error = {method: (run(method, steps) - wanted).square().mean().sqrt().item() for method in METHODS}
        assert error["dpm++"] < share * error["ddim"], steps
        assert error["unipc"] < share * error["ddim"], steps


@pytest.mark.parametrize("method", METHODS)
def test_a_point_is_found_in_any_number_of_steps_but_for_the_first_timesteps_noise(method):
    schedule, point = NoiseSchedule(rescale=None), draw(5)
    for count in (1, 2, 10, 1000):
        result = sample(exact(schedule, point, 0.0), schedule, Sampling(method, count, 0), draw(0))
        # The network that knows the point sees where sampling started as the noise that is left.
        left = schedule.add_noise(point, draw(0), torch.zeros(2, dtype=torch.long))
        torch.testing.assert_close(result, left, rtol=0, atol=2e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rescale", [None, 0.7])
def test_what_the_network_predicts_does_not_change_the_sample(method, rescale):
    results = []
    for prediction in ("v", "epsilon", "sample"):
        schedule = NoiseSchedule(prediction, zero_terminal_snr=False, rescale=rescale)
        sampling = Sampling(method, 12, 0.5)
        results.append(sample(exact(schedule, mean=0.3, std=0.4), schedule, sampling, draw(0), fresh))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(results[2], results[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_of_two_is_two_batches_of_one(method):
    def predict(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x) * (t.view(-1, 1, 1, 1, 1) / 1000)

    def run(rows: slice) -> torch.Tensor:
        return sample(predict, NoiseSchedule(), Sampling(method, 6), draw(0)[rows], lambda index: fresh(index)[rows])

    both = run(slice(None))
    assert not torch.equal(both[0], both[1])
    torch.testing.assert_close(both, torch.cat([run(slice(0, 1)), run(slice(1, 2))]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_estimates_come_after_every_step_and_what_they_raise_ends_the_sampling(method):
    seen: list[int] = []

    def stop(done: int, clean: torch.Tensor) -> None:
        assert clean.shape == SHAPE
        seen.append(done)
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(exact(NoiseSchedule(), 0.0, 1.0), NoiseSchedule(), Sampling(method, 5), draw(0), fresh, stop)
    assert seen == [1, 2, 3]


def test_fresh_noise_is_asked_for_once_a_step_and_only_with_eta():
    asked: list[int] = []

    def note(index: int) -> torch.Tensor:
        asked.append(index)
        return fresh(index)

    predict = exact(NoiseSchedule(), 0.0, 1.0)
    sample(predict, NoiseSchedule(), Sampling("ddim", 4, 0), draw(0), note)
    sample(predict, NoiseSchedule(), Sampling("dpm++", 4, 1), draw(0), note)
    assert asked == []
    sample(predict, NoiseSchedule(), Sampling("ddim", 4, 0.1), draw(0), note)
    assert asked == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="step_noise"):
        sample(predict, NoiseSchedule(), Sampling("ddim", 4, 0.1), draw(0))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("prediction", ["v", "sample"])
def test_a_half_precision_network_is_sampled_in_float32(method, prediction):
    schedule = NoiseSchedule(prediction)
    whole = exact(schedule, 0.3, 0.2)

    def half(change: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        def predict(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            assert x.dtype == torch.float32
            return change(whole(x, t).bfloat16())

        return sample(predict, schedule, Sampling(method, 4, 0), draw(0).bfloat16())

    assert torch.equal(half(lambda output: output), half(torch.Tensor.float))


@pytest.mark.parametrize(
    ("fields", "quoted"),
    [
        ({"method": "euler"}, "'euler'"),
        ({"spacing": "leading"}, "'leading'"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 1001}, "steps is 1001"),
        ({"steps": 5.0}, "steps is 5.0"),
        ({"eta": -0.1}, "eta is -0.1"),
        ({"eta": 1.1}, "eta is 1.1"),
        ({"eta": float("nan")}, "eta is nan"),
        ({"guidance": -1}, "guidance is -1"),
        ({"guidance": float("inf")}, "guidance is inf"),
        ({"guidance": "7.5"}, "guidance is '7.5'"),
        ({"guidance_rescale": 2}, "guidance_rescale is 2"),
        ({"image_guidance": 101}, "image_guidance is 101"),
        ({"eta": None}, "eta is None"),
    ],
)
def test_settings_out_of_range_are_refused(fields, quoted):
    with pytest.raises(Refused, match=quoted):
        Sampling(**fields)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_sample_near_latents_is_the_nearer_the_less_the_strength(method, layout):
    schedule, truth = LAYOUTS[layout], draw(1)
    sampling, predict = Sampling(method, 6, 0), exact(schedule, 0.0, 1.0)
    alike = [
        torch.stack([sample(predict, schedule, sampling, draw(0), near=Near(truth, strength)), truth])
        .flatten(1)
        .corrcoef()[0, 1]
        .item()
        for strength in (0.05, 0.3, 0.6, 1.0)
    ]
    assert alike[0] > 0.95
    assert all(one > other for one, other in pairwise(alike))
    assert abs(alike[-1]) < 0.2


def test_a_strength_spaces_the_steps_over_its_share_of_the_timesteps():
    assert timesteps(NoiseSchedule(), Sampling(steps=3), 0.6) == [599, 399, 199]
    assert timesteps(NoiseSchedule(), Sampling(steps=3, spacing="uniform"), 0.6) == [401, 201, 1]
    with pytest.raises(Refused, match=r"steps is 7; expected at most the 6 timesteps .* at strength 0.006"):
        timesteps(NoiseSchedule(), Sampling(steps=7), 0.006)
    for strength in (0, 1.1, float("nan")):
        with pytest.raises(Refused, match=f"strength is {strength}"):
            Near(draw(0), strength)


def test_a_text_may_have_a_guidance_of_its_own():
    assert Sampling(guidance=2.0).for_text().guidance == 2.0
    plain = Sampling(guidance=1.0, text_guidance=3.0)
    assert not plain.guided
    assert plain.for_text() == replace(plain, guidance=3.0)
    with pytest.raises(Refused, match="text_guidance is -1; expected a number from 0 to 100"):
        Sampling(text_guidance=-1)
