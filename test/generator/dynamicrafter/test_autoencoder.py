import pytest
import torch

from mask2iv_ros.generator.dynamicrafter.autoencoder import KLAutoencoder


@pytest.fixture(scope="module")
def io(reference) -> dict[str, torch.Tensor]:
    return reference("vae_clip_tiny_io.safetensors")


@pytest.fixture(scope="module")
def autoencoder(parts) -> KLAutoencoder:
    return parts["autoencoder"]


def test_its_latents_are_the_references(autoencoder, io, largest):
    assert largest("vae mode", autoencoder.encode(io["vae.x"]), io["vae.z_scaled_mode"]) <= 2e-5
    drawn = autoencoder.encode(io["vae.x"], io["vae.noise"])
    assert largest("vae sample", drawn, io["vae.z_scaled_sample"]) <= 2e-5
    assert float((io["vae.z_scaled_sample"] - io["vae.z_scaled_mode"]).abs().max()) > 0.1, "or the draw is untested"


def test_its_images_are_the_references(autoencoder, io, largest):
    images = autoencoder.decode(io["vae.z_scaled_sample"])
    assert largest("vae decode", images, io["vae.decode_of_z_scaled_sample"]) <= 2e-5


def test_it_says_its_shape(autoencoder, io):
    assert (autoencoder.patch, autoencoder.channels) == (8, 4)
    assert autoencoder.encode(io["vae.x"]).shape == (2, 4, 8, 12)


def test_a_saved_one_comes_back(autoencoder, io, tmp_path):
    autoencoder.save_pretrained(tmp_path)
    again = KLAutoencoder.from_pretrained(tmp_path)
    assert torch.equal(again.encode(io["vae.x"]), autoencoder.encode(io["vae.x"]))
    assert again.config.scaling_factor == 0.18215
