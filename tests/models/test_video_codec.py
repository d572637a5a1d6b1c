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


@pytest.mark.parametrize("parts", [(1, 1, 1, 1, 1, 1), (3, 3), (1, 4, 1), (6,)])
def test_a_clip_decoded_part_by_part_is_the_clip_decoded_at_once(folder, parts):
    """What the decoder remembers goes on from part to part; a decoder that forgets shows something else."""
    codec = load_clip_autoencoder(folder)
    latents = torch.randn(2, 4, 6, 2, 3, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        whole, shown = codec.decode(latents), list(codec.decoded(latents.split(parts, 2)))
        assert [part.shape[2] for part in shown] == [4 * n - 3 * (place == 0) for place, n in enumerate(parts)]
        torch.testing.assert_close(torch.cat(shown, 2), whole)
        if len(parts) > 1:
            alone = codec.decode(latents[:, :, parts[0] :])
            assert not torch.allclose(torch.cat(shown[1:], 2)[:, :, -alone.shape[2] :], alone, atol=1e-3)


def test_two_clips_are_decoded_in_turns_and_neither_is_told_of_the_other(folder):
    codec = load_clip_autoencoder(folder)
    one, other = torch.randn(2, 1, 4, 4, 2, 3, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        turns = list(zip(codec.decoded(one.split(1, 2)), codec.decoded(other.split(1, 2)), strict=True))
        torch.testing.assert_close(torch.cat([a for a, _ in turns], 2), codec.decode(one))
        torch.testing.assert_close(torch.cat([b for _, b in turns], 2), codec.decode(other))


def test_what_the_decoder_remembers_does_not_grow(folder):
    codec, past = load_clip_autoencoder(folder), []
    codec.vae.decoder.register_forward_pre_hook(
        lambda _, args, kwargs: past.append(kwargs["feat_cache"]), with_kwargs=True
    )
    held = []
    with torch.no_grad():
        for _ in codec.decoded(torch.randn(1, 4, 1, 2, 3) for _ in range(12)):
            held.append(sum(x.numel() for x in past[-1] if torch.is_tensor(x)))
    assert all(each is past[0] for each in past)
    assert held[0] < held[2] == held[-1]


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
