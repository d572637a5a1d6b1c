"""Between pixels and latents: a diffusers AutoencoderKL from local files. A domain without one works in pixels.

Shapes: pixels (B, 3, 8H, 8H) in [-1, 1], latents (B, 4, H, H), scaled so that their variance is near one.
"""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from torch import Tensor, nn

from amd.backbones.base import Precision, fill

STABLE_DIFFUSION = {  # config.json of stabilityai/sd-vae-ft-ema; used where none lies beside the file
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "sample_size": 256,
}
RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # attention in files of 2022


class LatentAutoencoder(nn.Module):
    """Decoder and encoder with fixed weights. Gradients flow through to the input wherever they are on."""

    def __init__(self, vae: AutoencoderKL, scaling: float) -> None:
        super().__init__()
        self.vae, self.scaling = vae.eval().requires_grad_(False), scaling
        self.precision: Precision = "float32"
        self.vae.enable_gradient_checkpointing()  # with gradients a 256 x 256 decode would hold gigabytes per row

    def decode(self, latents: Tensor) -> Tensor:
        """(B, 4, H, H) -> pixels (B, 3, 8H, 8H) float32, about [-1, 1], not clamped."""
        with self._autocast(latents):
            return self.vae.decode(latents / self.scaling).sample.float()

    def encode(self, pixels: Tensor, eps: Tensor | None = None) -> Tensor:
        """(B, 3, 8H, 8H) -> latents (B, 4, H, H) float32: the posterior's mean, or its sample with `eps` like it."""
        with self._autocast(pixels):
            posterior = self.vae.encode(pixels).latent_dist
        latents = posterior.mean if eps is None else posterior.mean + posterior.std * eps
        return latents.float() * self.scaling

    def _autocast(self, x: Tensor) -> torch.autocast:
        return torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")


def stable_diffusion(scaling: float = 1.0) -> LatentAutoencoder:
    """The architecture of SD's and SDXL's, freshly initialised; under `torch.device("meta")` without values."""
    return LatentAutoencoder(AutoencoderKL.from_config(STABLE_DIFFUSION), scaling)


def load_autoencoder(file: Path, scaling: float) -> LatentAutoencoder:
    """From diffusion_pytorch_model.safetensors, or a folder that holds it; config.json beside it is used if there.

    ValueError names the file and the keys that do not fit.
    """
    file = Path(file)
    if file.is_dir():
        file = file / "diffusion_pytorch_model.safetensors"
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file; it is an AutoencoderKL's safetensors, e.g. of sd-vae-ft-ema")
    settings = file.with_name("config.json")
    config = json.loads(settings.read_text()) if settings.is_file() else STABLE_DIFFUSION
    with torch.device("meta"):  # nothing is initialised only to be overwritten
        vae = AutoencoderKL.from_config(config)
    fill(vae, {_current(name): tensor.float() for name, tensor in load_file(file).items()}, str(file))
    return LatentAutoencoder(vae, scaling)


def _current(name: str) -> str:
    """Attention's key names of older diffusers -> today's."""
    parts = name.split(".")
    if "attentions" in parts and parts[-2] in RENAMED:
        parts[-2] = RENAMED[parts[-2]]
    return ".".join(parts)
