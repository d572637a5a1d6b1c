"""Between clips and their latents: Wan2.1's causal autoencoder from local files.

Shapes: pixels (B, 3, F, 8H, 8W) in [-1, 1], F = 4 (f - 1) + 1, latents (B, C, f, H, W), of which every channel has no
mean and unit variance by the statistics of its configuration. The first frame is a latent frame of its own.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, unpatchify
from safetensors.torch import load_file
from torch import Tensor, nn

from amd.backbones.base import Precision, fill

STRIDE = 4  # frames of pixels per latent frame, after the first


class ClipAutoencoder(nn.Module):
    """Decoder and encoder with fixed weights, one clip at a time. Gradients flow through wherever they are on."""

    def __init__(self, vae: AutoencoderKLWan) -> None:
        super().__init__()
        self.vae = vae.eval().requires_grad_(False)
        self.vae.enable_slicing()
        self.precision: Precision = "float32"

    def decode(self, latents: Tensor) -> Tensor:
        """(B, C, f, H, W) -> pixels (B, 3, F, 8H, 8W) float32, clamped to [-1, 1], as Wan's decoder is."""
        mean, std = self._statistics(latents)
        with self._autocast(latents):
            return self.vae.decode(latents * std + mean).sample.float()

    def decoded(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """A clip's latents, (B, C, f, H, W) after another -> the pixels of each, which together are `decode`'s.

        What the decoder's causal convolutions remember goes on from part to part (diffusers' `_decode`, which throws it
        away at its end): for every clip a list of features of the last two frames, of the same size at any length.
        """
        pasts: list[list[Tensor | str | None]] = []
        for latents in parts:
            pasts = pasts or [[None] * self.convolutions for _ in latents]
            clips = zip(latents.split(1), pasts, strict=True)
            yield torch.cat([self._next(clip, past) for clip, past in clips])

    def _next(self, latents: Tensor, past: list[Tensor | str | None]) -> Tensor:
        """One clip's next latent frames (1, C, f, H, W) -> their pixels; `past` is brought up to them."""
        mean, std = self._statistics(latents)
        shown = []
        with self._autocast(latents):
            x = self.vae.post_quant_conv(latents * std + mean)
            for frame in x.split(1, 2):
                first = past[0] is None
                shown.append(self.vae.decoder(frame, feat_cache=past, feat_idx=[0], first_chunk=first))
        out = torch.cat(shown, 2)
        if self.vae.config.patch_size is not None:
            out = unpatchify(out, patch_size=self.vae.config.patch_size)
        return out.clamp(-1, 1).float()

    @property
    def convolutions(self) -> int:
        """How many of the decoder's layers remember frames."""
        return sum(isinstance(module, WanCausalConv3d) for module in self.vae.decoder.modules())

    def encode(self, pixels: Tensor, eps: Tensor | None = None) -> Tensor:
        """(B, 3, F, 8H, 8W) -> latents (B, C, f, H, W) float32: the posterior's mean, or its sample with `eps` like it.

        ValueError for a number of frames that is not 4 (f - 1) + 1.
        """
        if (pixels.shape[2] - 1) % STRIDE:
            raise ValueError(f"{pixels.shape[2]} frames: Wan's autoencoder takes 1, 5, 9, ... of them")
        with self._autocast(pixels):
            posterior = self.vae.encode(pixels).latent_dist
        latents = posterior.mean if eps is None else posterior.mean + posterior.std * eps
        mean, std = self._statistics(pixels)
        return (latents.float() - mean) / std

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel, (C, 1, 1, 1) each."""
        config = self.vae.config
        found = torch.tensor([config.latents_mean, config.latents_std], dtype=torch.float32, device=like.device)
        mean, std = found[:, :, None, None, None]
        return mean, std

    def _autocast(self, x: Tensor) -> torch.autocast:
        return torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")


def wan() -> AutoencoderKLWan:
    """Wan2.1's at its own size, freshly initialised: diffusers' defaults are its configuration."""
    return AutoencoderKLWan()


def load_clip_autoencoder(file: Path) -> ClipAutoencoder:
    """From diffusion_pytorch_model.safetensors of a diffusers folder's vae/, or that folder; with its config.json.

    Without a configuration beside it, it is Wan2.1's. ValueError names the file and the keys that do not fit.
    """
    file = Path(file)
    if file.is_dir():
        file = file / "diffusion_pytorch_model.safetensors"
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file; it is an AutoencoderKLWan's safetensors, of Wan2.1's vae/")
    settings = file.with_name("config.json")
    config = json.loads(settings.read_text()) if settings.is_file() else {}
    with torch.device("meta"):  # nothing is initialised only to be overwritten
        vae = AutoencoderKLWan.from_config(config)
    fill(vae, {name: tensor.float() for name, tensor in load_file(file).items()}, str(file))
    return ClipAutoencoder(vae)
