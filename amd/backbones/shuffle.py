"""The lossless autoencoder of the small scale: pixels in f x f squares become channels, and come back.

A UNet at 32 x 32 pixels costs four times what it costs at 16 x 16 places of 12 channels; at that size no learnt
autoencoder would be worth its error. `scaling` and `shift` stand where a VAE's do: latents = scaling x (pixels - shift)
have unit variance and no mean. At the noisiest level an eps-predicting network sees 0.07 x0, and what it says of x0
there is multiplied by 15: a mean would have to come through that.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn


class PixelShuffleCodec(nn.Module):
    """Pixels (B, 3, f h, f h) <-> latents (B, 3 f f, h, h), channels in torch's pixel_unshuffle order."""

    def __init__(self, factor: int, scaling: float = 2.0, shift: float = 0.0) -> None:
        super().__init__()
        if factor < 1:
            raise ValueError(f"factor {factor}: a square of pixels has at least 1")
        if not 0 < scaling < math.inf:
            raise ValueError(f"scaling {scaling} is not a positive number")
        self.factor, self.scaling, self.shift = factor, scaling, shift

    def decode(self, latents: Tensor) -> Tensor:
        """(B, 3 f f, h, h) -> pixels (B, 3, f h, f h), about [-1, 1], not clamped."""
        return F.pixel_shuffle(latents / self.scaling + self.shift, self.factor)

    def encode(self, pixels: Tensor, eps: Tensor | None = None) -> Tensor:
        """(B, 3, f h, f h) -> latents (B, 3 f f, h, h). There is no posterior: `eps` is not read."""
        return F.pixel_unshuffle((pixels - self.shift) * self.scaling, self.factor)
