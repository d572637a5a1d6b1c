"""The root mean square norm, about twice as fast on a CPU, where torch makes it of a dozen passes over the tokens.

With r = (mean(x^2) + eps)^-1/2 and n = x r: y = n w, and dL/dx = r (g w - n mean(g w n)), dL/dw = sum g n.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x (..., D) over its root mean square, times the weight (D,)."""
    return Rooted.apply(x, weight, eps) if x.device.type == "cpu" else F.rms_norm(x, x.shape[-1:], weight, eps)


class Rooted(torch.autograd.Function):
    """y = n w."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """x (..., D), weight (D,) -> y."""
        root = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        normed = x * root
        ctx.save_for_backward(normed, root, weight)
        return normed * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """dL/dy -> dL/dx, dL/dw."""
        (g,) = gradients
        normed, root, weight = ctx.saved_tensors
        along = g * normed
        mean = (along @ weight).unsqueeze(-1) / weight.numel()
        return torch.addcmul(g * weight, normed, mean, value=-1).mul_(root), along.flatten(0, -2).sum(0), None
