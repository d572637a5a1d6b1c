"""DMD2's discriminator on a UNet: convolutions from the fake teacher's bottleneck down to one logit.

4 x 4 convolutions of stride 2 halve the bottleneck until it is at most 4 wide, one as large as what is left takes it to
a point, and a 1 x 1 convolution gives the logit; group norm of 32 groups and SiLU between them. That is DMD2's head of
SDXL (32 -> 16 -> 8 -> 4 -> 1) and of SD1.5 (8 -> 4 -> 1), Yin et al. 2024, App. (arXiv 2405.14867); written from its
description, not from its code. Positive logits mean real.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from amd.distill.noise import generator

KERNEL, GROUPS = 4, 32
FEWEST = 8  # channels of a group: at a point, a group of one channel is normalised to nothing


class BottleneckCritic(nn.Module):
    """The head on a bottleneck of `width` channels and `side` x `side` places.

    Call it on `backbone.features(x_t, t, cond, critic.layers)`.
    """

    layers = (0,)

    def __init__(self, width: int, side: int, *, seed: int = 0) -> None:
        super().__init__()
        self.side, groups = side, math.gcd(max(width // FEWEST, 1), GROUPS)  # 32 of 40 channels at a width of 1280
        parts: list[nn.Module] = []
        while side > KERNEL:
            parts += [nn.Conv2d(width, width, KERNEL, 2, 1), nn.GroupNorm(groups, width), nn.SiLU()]
            side //= 2
        parts += [nn.Conv2d(width, width, side), nn.GroupNorm(groups, width), nn.SiLU()]
        self.body = nn.Sequential(*parts)
        self.out = nn.Conv2d(width, 1, 1)
        self.initialise(seed)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Xavier matrices, zero biases, and a zero last layer: the first logits are 0, undecided."""
        draw = generator(seed, "critic", "weights")
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
                assert module.bias is not None
                nn.init.zeros_(module.bias)
                if module is self.out:
                    nn.init.zeros_(module.weight)
                else:
                    nn.init.xavier_uniform_(module.weight.flatten(1), generator=draw)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """A tuple of one bottleneck (B, width, side, side) -> (B,) logits. ValueError for another side."""
        (state,) = states
        if state.shape[2:] != (self.side, self.side):
            height, width = state.shape[2:]
            raise ValueError(f"this critic reads a bottleneck of {self.side} x {self.side}, not {height} x {width}")
        return self.out(self.body(state.float())).flatten()
