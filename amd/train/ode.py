"""The teacher's own sampler: the guided probability-flow ODE in equal steps of t, on either path."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from amd.distill.displacement import both
from amd.distill.operator import guided
from amd.distill.path import Discrete, Linear, eps_of, rows, shifted
from amd.distill.types import Conditioning, Denoiser, Path

Solver = Callable[[Denoiser, Tensor, Conditioning, int, float], Tensor]
"""(network, z (B, *S) at t = 0, conditioning, steps, cfg_weight) -> x (B, *S) at t = 1."""


def ode(path: Path, shift: float = 1.0) -> Solver:
    """The solver of a path. They are one method: on the linear path a DDIM step is an Euler step.

    `shift` crowds the steps towards noise (of the linear path: Wan's flow shift).
    """
    if isinstance(path, Discrete):
        return ddim(path)
    return euler if shift == 1 else partial(euler, shift=shift)


@torch.no_grad()
def euler(
    network: Denoiser, z: Tensor, conditioning: Conditioning, steps: int, cfg_weight: float, shift: float = 1.0
) -> Tensor:
    """z (B, *S) at t = 0 -> x (B, *S) at t = 1 on the linear path.

    dx/dt = (x0_hat - x) / (1 - t), the velocity x - eps that x0_hat implies; the last step lands on x0_hat.
    """
    *_, x = states(network, z, conditioning, steps, cfg_weight, shift)
    return x


def states(
    network: Denoiser, z: Tensor, conditioning: Conditioning, steps: int, cfg_weight: float, shift: float = 1.0
) -> Iterator[Tensor]:
    """x (B, *S) at each of the steps + 1 times of `euler`, from noise to data."""
    x, times = z, shifted(torch.arange(steps + 1, dtype=torch.float64) / steps, shift).tolist()
    yield x
    for now, then in pairwise(times):
        t = torch.full((x.shape[0],), now, dtype=torch.float64, device=x.device)
        with torch.no_grad():
            x = x + (_target(network, x, t, conditioning, cfg_weight) - x) / rows(1 - t, x) * (then - now)
        yield x


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
