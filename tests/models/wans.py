"""A Wan of a few thousand weights and what it is asked, for the tests of the bidirectional and of the causal one."""

from typing import TypeVar

import torch
from torch import Tensor, nn

from amd.config.schema.sizes import WanSize

SHAPE = (4, 6, 8, 6)  # no two sides of the grid of tokens are equal
CONTEXT, IMAGES = 16, 10
SIZE = WanSize(patch=2, width=24, depth=3, heads=2, ffn=40, context=CONTEXT, frequencies=32)
M = TypeVar("M", bound=nn.Module)


def stirred(module: M, seed: int = 1) -> M:
    """Random weights of which none is zero, so that every path is felt."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            spread = 0.1 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
            parameter.copy_(spread * torch.randn(parameter.shape, generator=draw) + (parameter.ndim == 1) * parameter)
    return module


def inputs(
    rows: int, tokens: int = 7, shape: tuple[int, ...] = SHAPE
) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
    """x, eps (B, C, F, H, W), t (B,) float64 kept off the end, and all that a Wan may be told."""
    draw = torch.Generator().manual_seed(7)
    x, eps = torch.randn(2, rows, *shape, generator=draw).unbind(0)
    t = 0.9 * torch.rand(rows, generator=draw, dtype=torch.float64)
    cond = {"tokens": torch.randn(rows, tokens, CONTEXT, generator=draw)}
    cond["mask"] = torch.rand(rows, tokens, generator=draw) > 0.4
    cond["mask"][:, 0] = True
    cond["first"] = torch.randn(rows, shape[0], *shape[2:], generator=draw)
    cond["image"] = torch.randn(rows, 5, IMAGES, generator=draw)
    return x, eps, t, cond
