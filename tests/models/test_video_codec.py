"""Wan's autoencoder between clips and latents, against diffusers' own calls."""

import pytest
import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import save_file

from amd.backbones.video_codec import ClipAutoencoder, load_clip_autoencoder

MEAN, STD = [0.3, -0.2, 0.0, 1.1], [2.0, 0.5, 1.5, 3.0]


def tiny() -> AutoencoderKLWan:
    """A quarter of the frames and an eighth of the side, as Wan's, eight channels wide."""
    torch.manual_seed(0)
    return AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, latents_mean=MEAN, latents_std=STD
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("vae")
    tiny().save_pretrained(root)
    return root


def clip(rows: int, frames: int) -> torch.Tensor:
    return torch.rand(rows, 3, frames, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("frames", [1, 5, 9])
def test_latents_are_the_posterior_over_each_channels_statistics(folder, frames):
    codec, vae, pixels = load_clip_autoencoder(folder), tiny(), clip(2, frames)
    with torch.no_grad():
        posterior = vae.encode(pixels).latent_dist
        latents = codec.encode(pixels)
        assert latents.shape == (2, 4, 1 + (frames - 1) // 4, 2, 3)
        mean, std = (torch.tensor(v)[:, None, None, None] for v in (MEAN, STD))
        torch.testing.assert_close(latents * std + mean, posterior.mean)
        eps = torch.randn_like(latents)
        drawn = (posterior.mean + posterior.std * eps - mean) / std
        torch.testing.assert_close(codec.encode(pixels, eps), drawn)
        decoded = codec.decode(latents)
        assert decoded.shape == pixels.shape
        torch.testing.assert_close(decoded, vae.decode(posterior.mean).sample)


def test_frames_are_never_told_of_later_ones_and_clips_never_of_each_other(folder):
    codec, pixels = load_clip_autoencoder(folder), clip(2, 9)
    with torch.no_grad():
        latents = codec.encode(pixels)
        torch.testing.assert_close(codec.encode(pixels[:, :, :5]), latents[:, :, :2])
        torch.testing.assert_close(codec.encode(pixels[1:]), latents[1:])
        torch.testing.assert_close(codec.decode(latents[:, :, :2]), codec.decode(latents)[:, :, :5])


def test_gradients_reach_the_latents_and_no_weight(folder):
    codec = load_clip_autoencoder(folder)
    latents = torch.randn(1, 4, 2, 2, 2, requires_grad=True)
    codec.decode(latents).sum().backward()
    assert latents.grad is not None
    assert bool(latents.grad.any())
    assert not any(p.requires_grad for p in codec.parameters())


def test_bfloat16_answers_in_float32(folder):
    codec = load_clip_autoencoder(folder)
    codec.precision = "bfloat16"
    with torch.no_grad():
        latents = codec.encode(clip(1, 5))
        assert latents.dtype == codec.decode(latents).dtype == torch.float32


def test_without_a_configuration_it_is_wans_and_what_does_not_fit_is_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="AutoencoderKLWan's safetensors"):
        load_clip_autoencoder(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="8 frames: Wan's autoencoder takes 1, 5, 9"):
        ClipAutoencoder(tiny()).encode(clip(1, 8))
    save_file(tiny().state_dict(), tmp_path / "alone.safetensors")
    with pytest.raises(ValueError, match=r"alone\.safetensors: its weights are not those of this AutoencoderKLWan"):
        load_clip_autoencoder(tmp_path / "alone.safetensors")
    with torch.device("meta"):
        wan = AutoencoderKLWan.from_config({})
    assert (wan.config.z_dim, wan.config.base_dim, len(wan.config.latents_std)) == (16, 96, 16)
