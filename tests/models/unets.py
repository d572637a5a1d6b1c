"""UNets of a few thousand weights and what they are asked, for the tests of the network and of its branches."""

import torch
from torch import Tensor

from amd.config.schema.sizes import UNetSize

CHANNELS, SIDE, TOKENS = 4, 8, 7
LARGE = UNetSize(  # SDXL's shape, small
    channels=[16, 32],
    layers=1,
    transformers=[0, 2],
    heads=[2, 4],
    context=24,
    pooled=12,
    linear_projection=True,
    groups=8,
)
SMALL = UNetSize(
    channels=[16, 24, 32], layers=2, transformers=[1, 1, 0], heads=[2, 2, 4], context=24, groups=8
)  # SD1.5's


def inputs(size: UNetSize, rows: int) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
    """x, eps (B, C, H, H), t (B,) float64, and what SDXL or SD1.5 is told."""
    draw = torch.Generator().manual_seed(7)
    x, eps = torch.randn(2, rows, CHANNELS, SIDE, SIDE, generator=draw).unbind(0)
    t = torch.rand(rows, generator=draw, dtype=torch.float64)
    cond = {"tokens": torch.randn(rows, TOKENS, size.context, generator=draw)}
    cond["mask"] = torch.rand(rows, TOKENS, generator=draw) > 0.4
    cond["mask"][:, 0] = True
    if size.pooled:
        cond["pooled"] = torch.randn(rows, size.pooled, generator=draw)
        cond["time_ids"] = torch.tensor([[64.0, 48, 0, 8, 64, 64]]).repeat(rows, 1)
    return x, eps, t, cond
