"""The teacher's own sampler: Euler's method on the guided probability-flow ODE of the linear path."""

import torch
from torch import Tensor

from amd.distill.displacement import both
from amd.distill.operator import guided
from amd.distill.path import rows
from amd.distill.types import Conditioning, Denoiser


@torch.no_grad()
def euler(network: Denoiser, z: Tensor, conditioning: Conditioning, steps: int, cfg_weight: float) -> Tensor:
    """z (B, *S) at t = 0 -> x (B, *S) at t = 1 in `steps` equal steps.

    dx/dt = (x0_hat - x) / (1 - t), the velocity x - eps that x0_hat implies; the last step lands on x0_hat.
    """
    x = z
    for step in range(steps):
        t = torch.full((x.shape[0],), step / steps, dtype=torch.float64, device=x.device)
        if cfg_weight == 1:
            x0 = network(x, t, conditioning.cond)
        else:
            x0 = guided(*both(network, x, t, conditioning), cfg_weight)
        x = x + (x0 - x) / rows(1 - t, x) / steps
    return x
