"""The lossless autoencoder of the small scale: pixels in f x f squares become channels, and come back.

A UNet at 32 x 32 pixels costs four times what it costs at 16 x 16 places of 12 channels; at that size no learnt
autoencoder would be worth its error. `scaling` and `shift` stand where a VAE's do: latents = scaling x (pixels - shift)
have unit variance and no mean. At the noisiest level an eps-predicting network sees 0.07 x0, and what it says of x0
there is multiplied by 15: a mean would have to come through that.

Clips (B, 3, F, ...) are rearranged frame by frame; or several frames into the channels of one, so that every token of
a transformer sees a piece of the motion. As in Wan's autoencoder the first frame has a latent frame of its own: it
stands there as often as others stand in theirs, and decoding takes the mean.
"""

import math
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PixelShuffleCodec(nn.Module):
    """Pixels (B, 3, s h, s w) <-> latents (B, 3 s s r, h, w), where s is the factor and r is `frames`.

    Of clips (B, 3, F, s h, s w) <-> (B, 3 s s r, f, h, w), F = r (f - 1) + 1; a picture is a clip's first frame.
    Channels: frame by frame, each in torch's pixel_unshuffle order.
    """

    def __init__(self, factor: int, scaling: float = 2.0, shift: float = 0.0, frames: int = 1) -> None:
        super().__init__()
        if factor < 1 or frames < 1:
            raise ValueError(f"factor {factor}, frames {frames}: a square of pixels has at least 1, of 1 frame")
        if not 0 < scaling < math.inf:
            raise ValueError(f"scaling {scaling} is not a positive number")
        self.factor, self.scaling, self.shift, self.frames = factor, scaling, shift, frames

    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> pixels, about [-1, 1], not clamped."""
        if latents.ndim == 4:
            return self.decode(latents[:, :, None])[:, :, 0]
        x = self._frames(latents)
        first = x[:, 0].mean(1, keepdim=True)
        return torch.cat((first, x[:, 1:].flatten(1, 2)), 1).transpose(1, 2).contiguous()

    def decoded(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """A clip's latents, (B, 3 s s r, f, h, w) after another -> the pixels of each, together `decode`'s."""
        for place, latents in enumerate(parts):
            later = self._frames(latents).flatten(1, 2).transpose(1, 2).contiguous() if place else None
            yield self.decode(latents) if later is None else later

    def _frames(self, latents: Tensor) -> Tensor:
        """Every latent frame as the r of pixels that its channels are, (B, f, r, 3, s h, s w)."""
        x = F.pixel_shuffle(latents.transpose(1, 2) / self.scaling + self.shift, self.factor)  # (B, f, 3 r, H, W)
        return x.unflatten(2, (self.frames, -1))

    def encode(self, pixels: Tensor, eps: Tensor | None = None) -> Tensor:
        """Pixels -> latents. There is no posterior: `eps` is not read.

        ValueError for a number of frames that is not r (f - 1) + 1.
        """
        if pixels.ndim == 4:
            return self.encode(pixels[:, :, None])[:, :, 0]
        if (pixels.shape[2] - 1) % self.frames:
            raise ValueError(
                f"{pixels.shape[2]} frames: with {self.frames} in a latent one a clip has 1, {self.frames + 1}, "
                f"{2 * self.frames + 1}, ... of them"
            )
        x = ((pixels - self.shift) * self.scaling).transpose(1, 2)  # (B, F, 3, H, W)
        x = torch.cat((x[:, :1].expand(-1, self.frames, -1, -1, -1), x[:, 1:]), 1).unflatten(1, (-1, self.frames))
        return F.pixel_unshuffle(x.flatten(2, 3), self.factor).transpose(1, 2).contiguous()
