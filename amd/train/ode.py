"""The teacher's own sampler: the guided probability-flow ODE in equal steps of t, on either path."""

from collections.abc import Callable

import torch
from torch import Tensor

from amd.distill.displacement import both
from amd.distill.operator import guided
from amd.distill.path import Discrete, Linear, eps_of, rows
from amd.distill.types import Conditioning, Denoiser, Path

Solver = Callable[[Denoiser, Tensor, Conditioning, int, float], Tensor]
"""(network, z (B, *S) at t = 0, conditioning, steps, cfg_weight) -> x (B, *S) at t = 1."""


def ode(path: Path) -> Solver:
    """The solver of a path. They are one method: on the linear path a DDIM step is an Euler step."""
    return ddim(path) if isinstance(path, Discrete) else euler


@torch.no_grad()
def euler(network: Denoiser, z: Tensor, conditioning: Conditioning, steps: int, cfg_weight: float) -> Tensor:
    """z (B, *S) at t = 0 -> x (B, *S) at t = 1 on the linear path.

    dx/dt = (x0_hat - x) / (1 - t), the velocity x - eps that x0_hat implies; the last step lands on x0_hat.
    """
    x = z
    for step in range(steps):
        t = torch.full((x.shape[0],), step / steps, dtype=torch.float64, device=x.device)
        x = x + (_target(network, x, t, conditioning, cfg_weight) - x) / rows(1 - t, x) / steps
    return x


def ddim(path: Linear | Discrete) -> Solver:
    """DDIM without fresh noise (Song et al., arXiv 2010.02502): x_{t'} = alpha' x0_hat + sigma' eps_hat.

    Its levels are the student's grid, so that four steps ask at DMD2's [999, 749, 499, 249] ("trailing" in diffusers).
    """

    @torch.no_grad()
    def solve(network: Denoiser, z: Tensor, conditioning: Conditioning, steps: int, cfg_weight: float) -> Tensor:
        x = z
        for step in range(steps):
            t = torch.full((x.shape[0],), step / steps, dtype=torch.float64, device=x.device)
            x0 = _target(network, x, t, conditioning, cfg_weight)
            if step == steps - 1:
                return x0
            alpha, sigma = path.coefficients(torch.full_like(t, (step + 1) / steps))
            x = rows(alpha, x) * x0 + rows(sigma, x) * eps_of(path, x0, x, t)
        return x

    return solve


def _target(network: Denoiser, x: Tensor, t: Tensor, conditioning: Conditioning, cfg_weight: float) -> Tensor:
    """Guided x0_hat."""
    if cfg_weight == 1:
        return network(x, t, conditioning.cond)
    return guided(*both(network, x, t, conditioning), cfg_weight)
