"""The lossless autoencoder of the small scale: pixels in f x f squares become channels, and come back.

A UNet at 32 x 32 pixels costs four times what it costs at 16 x 16 places of 12 channels; at that size no learnt
autoencoder would be worth its error. `scaling` and `shift` stand where a VAE's do: latents = scaling x (pixels - shift)
have unit variance and no mean. At the noisiest level an eps-predicting network sees 0.07 x0, and what it says of x0
there is multiplied by 15: a mean would have to come through that.

Clips (B, 3, F, ...) are rearranged frame by frame.
"""

import math
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn


class PixelShuffleCodec(nn.Module):
    """Pixels (B, 3, f h, f w) <-> latents (B, 3 f f, h, w), channels in torch's pixel_unshuffle order.

    Of clips (B, 3, F, f h, f w) <-> (B, 3 f f, F, h, w).
    """

    def __init__(self, factor: int, scaling: float = 2.0, shift: float = 0.0) -> None:
        super().__init__()
        if factor < 1:
            raise ValueError(f"factor {factor}: a square of pixels has at least 1")
        if not 0 < scaling < math.inf:
            raise ValueError(f"scaling {scaling} is not a positive number")
        self.factor, self.scaling, self.shift = factor, scaling, shift

    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> pixels, about [-1, 1], not clamped."""
        return _framewise(F.pixel_shuffle, latents / self.scaling + self.shift, self.factor)

    def encode(self, pixels: Tensor, eps: Tensor | None = None) -> Tensor:
        """Pixels -> latents. There is no posterior: `eps` is not read."""
        return _framewise(F.pixel_unshuffle, (pixels - self.shift) * self.scaling, self.factor)


def _framewise(rearranged: Callable[[Tensor, int], Tensor], x: Tensor, factor: int) -> Tensor:
    return rearranged(x, factor) if x.ndim == 4 else rearranged(x.transpose(1, 2), factor).transpose(1, 2).contiguous()
