import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mask2iv_ros.generator.autoencoder import PatchAutoencoder, decode_video, encode_video, to_bytes, to_unit


@pytest.fixture
def images() -> torch.Tensor:
    """Smooth and noisy pictures in [-1, 1]."""
    generator = torch.Generator().manual_seed(0)
    smooth = F.interpolate(torch.rand(12, 3, 4, 6, generator=generator), (32, 48), mode="bilinear") * 1.6 - 0.8
    return smooth + 0.1 * torch.randn(12, 3, 32, 48, generator=generator)


def patches(images: torch.Tensor) -> torch.Tensor:
    return F.pixel_unshuffle(images, 8).movedim(1, -1).flatten(0, -2)


def fitted(images: torch.Tensor, channels: int) -> PatchAutoencoder:
    model = PatchAutoencoder(channels=channels, width=32)
    model.set_principal_components(patches(images))
    return model.requires_grad_(False)


def test_all_components_give_every_image_back(images: torch.Tensor):
    model = fitted(images, 192)
    other = torch.rand(2, 3, 16, 8, generator=torch.Generator().manual_seed(5)) * 2 - 1
    for image in (images, other):
        torch.testing.assert_close(model.decode(model.encode(image)), image, rtol=0, atol=1e-4)


def test_few_components_lose_what_varies_least(images: torch.Tensor):
    variances = torch.linalg.eigvalsh(torch.cov(patches(images).T)).flip(0)
    model = fitted(images, 10)
    latent = model.encode(images)
    assert latent.shape == (12, 10, 4, 6)
    torch.testing.assert_close(latent.var((0, 2, 3)), variances[:10], rtol=1e-3, atol=1e-5)
    lost = (model.decode(latent) - images).square().sum((1, 2, 3)).mean() / 24
    torch.testing.assert_close(lost, variances[10:].sum(), rtol=0.02, atol=1e-4)


def test_statistics_make_latents_zero_mean_and_unit_variance(images: torch.Tensor):
    model = fitted(images, 10)
    before = model.decode(model.encode(images))
    model.set_statistics(images)
    latent = model.encode(images)
    torch.testing.assert_close(latent.mean((0, 2, 3)), torch.zeros(10), rtol=0, atol=1e-4)
    torch.testing.assert_close(latent.std((0, 2, 3)), torch.ones(10))
    torch.testing.assert_close(model.decode(latent), before, rtol=0, atol=1e-4)
    model.set_statistics(images)
    torch.testing.assert_close(model.encode(images), latent)


def test_a_channel_that_is_constant_does_not_divide_by_zero(images: torch.Tensor):
    model = fitted(images, 10)
    model.set_statistics(torch.zeros(2, 3, 8, 8))
    assert model.encode(images).isfinite().all()


def test_the_convolutions_begin_as_nothing_and_learn(images: torch.Tensor):
    model = PatchAutoencoder(channels=4, width=32)
    assert not model.encoder(images).any()
    assert not model.decoder(torch.randn(1, 4, 2, 2)).any()
    for branch in (model.encoder[-1], model.decoder[-2]):
        torch.nn.init.normal_(branch.weight)
    (model.decode(model.encode(images)) - images).square().mean().backward()
    assert all(parameter.grad.any() for parameter in model.parameters())


def test_every_byte_survives_the_unit_range():
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    unit = to_unit(image)
    assert unit.shape == (1, 3, 16, 16)
    assert unit.min() == -1
    assert unit.max() == 1
    np.testing.assert_array_equal(to_bytes(unit), image)


def test_channels_keep_their_order():
    image = np.zeros((4, 5, 3), np.uint8)
    image[1, 2] = (255, 0, 127)
    unit = to_unit(image)
    torch.testing.assert_close(unit[:, 1, 2], torch.tensor([1.0, -1.0, -0.5 / 127.5]))
    np.testing.assert_array_equal(to_bytes(unit), image)


def test_what_leaves_the_unit_range_is_clipped():
    beyond = torch.tensor([-1.7, 0.0, 2.4]).view(3, 1, 1)
    np.testing.assert_array_equal(to_bytes(beyond), [[[0, 128, 255]]])


def test_a_video_is_encoded_frame_by_frame(images: torch.Tensor):
    model = fitted(images, 10)
    video = images.view(2, 6, 3, 32, 48)
    latent = encode_video(model, video)
    assert latent.shape == (2, 10, 6, 4, 6)
    torch.testing.assert_close(latent[1, :, 4], model.encode(images[10:11])[0])
    decoded = decode_video(model, latent)
    assert decoded.shape == video.shape
    torch.testing.assert_close(decoded[1, 4], model.decode(model.encode(images[10:11]))[0])
