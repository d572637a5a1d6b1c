"""A small AutoencoderKL of the real class, from its own files."""

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from amd.backbones.autoencoder import STABLE_DIFFUSION, load_autoencoder

SCALING = 0.18215
SD_VAE = 83_653_863  # parameters of Stable Diffusion's autoencoder


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
    )
    vae.save_pretrained(tmp_path / "vae")
    return tmp_path / "vae"


def test_decode_is_diffusers_decode_of_unscaled_latents(folder):
    ours, theirs = load_autoencoder(folder, SCALING), AutoencoderKL.from_pretrained(folder).eval()
    latents = torch.randn(2, 4, 4, 4)
    with torch.no_grad():
        expected = theirs.decode(latents / SCALING).sample
        pixels = ours.decode(latents)
    assert pixels.shape == (2, 3, 8, 8)
    assert pixels.dtype == torch.float32
    assert torch.equal(pixels, expected)


def test_encode_is_the_scaled_posterior(folder):
    ours, theirs = load_autoencoder(folder, SCALING), AutoencoderKL.from_pretrained(folder).eval()
    pixels, eps = torch.randn(2, 3, 8, 8), torch.randn(2, 4, 4, 4)
    with torch.no_grad():
        posterior = theirs.encode(pixels).latent_dist
        assert torch.equal(ours.encode(pixels), posterior.mean * SCALING)
        torch.testing.assert_close(ours.encode(pixels, eps), (posterior.mean + posterior.std * eps) * SCALING)


def test_gradients_flow_through_to_the_latents_alone(folder):
    autoencoder = load_autoencoder(folder, SCALING)
    latents = torch.randn(2, 4, 4, 4, requires_grad=True)
    autoencoder.decode(latents).square().sum().backward()
    assert latents.grad is not None
    assert bool(latents.grad.any())
    assert all(p.grad is None and not p.requires_grad for p in autoencoder.parameters())


def test_files_with_the_attention_names_of_2022_load(folder):
    file = folder / "diffusion_pytorch_model.safetensors"
    today = load_file(file)
    before = load_autoencoder(folder, SCALING)
    older = {}
    for name, tensor in today.items():
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            name = name.replace(f".{new}.", f".{old}.")
        older[name] = tensor
    assert older.keys() != today.keys()
    save_file(older, file)
    after = load_autoencoder(file, SCALING)
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))


def test_without_config_json_it_is_stable_diffusions(folder):
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(STABLE_DIFFUSION)
    assert sum(p.numel() for p in vae.parameters()) == SD_VAE
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"diffusion_pytorch_model\.safetensors.*missing.*unexpected.*another shape"):
        load_autoencoder(folder, SCALING)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"diffusion_pytorch_model\.safetensors"):
        load_autoencoder(tmp_path, SCALING)
