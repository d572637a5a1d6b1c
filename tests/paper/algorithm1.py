"""Algorithm 1 of the paper, line by line, sample by sample, in plain Python loops: what the vectorised step is held to.

The comments carry the paper's line numbers. Nothing of `amd` is imported. Three things the listing leaves open are
arguments: the guidance weight w of Eq. 10, whether g is divided by mean|x - x0_real| as every implementation does, and
whether line 19 multiplies by the weight that line 18 has already multiplied by.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Predict = Callable[[Tensor, float, int], Tensor]
"""x_t (*S), t, class -> the network's noise prediction (*S) for one sample."""


@dataclass
class Gradients:
    """Lines 16 and 19: sums over all samples of all groups."""

    student: list[Tensor]
    fake: list[Tensor]


@dataclass(frozen=True)
class Draw:
    """What line 2, 3, 8 and 10 draw for one group."""

    label: int
    z: Sequence[Tensor]
    t: float
    eps: Sequence[Tensor]


def mean_and_deviation(values: list[float]) -> tuple[float, float]:
    mu = sum(values) / len(values)
    return mu, math.sqrt(sum((v - mu) ** 2 for v in values) / len(values))


def iteration(
    generate: Callable[[Tensor, int], Tensor],
    student: Sequence[nn.Parameter],
    real: Predict,
    real_uncond: Predict,
    fake: Predict,
    psi: Sequence[nn.Parameter],
    reward: Callable[[Tensor, int], float],
    groups: Sequence[Draw],
    *,
    s: float,
    w: float,
    epsilon: float = 0.0,
    divide: bool = False,
    line_19_again: bool = False,
) -> Gradients:
    """The body of the while loop for one group after another; the gradients of lines 16 and 19 before lines 21, 22."""
    grad_theta = [torch.zeros_like(p) for p in student]  # line 7
    grad_psi = [torch.zeros_like(p) for p in psi]
    for group in groups:  # line 2: the prompt
        x = [generate(z, group.label) for z in group.z]  # line 3
        r = [reward(sample.detach(), group.label) for sample in x]  # line 4
        mu_g, sigma_g = mean_and_deviation(r)  # line 5
        a = [max(-1.0, min(1.0, (r_i - mu_g) / (sigma_g + epsilon))) for r_i in r]  # line 6
        t = group.t  # line 8
        alpha_t, sigma_t = t, 1 - t  # Sec. 2: F_t(x) = t x + (1 - t) eps
        for i in range(len(x)):  # line 9
            x_i, eps_i = x[i].detach(), group.eps[i]  # line 10
            x_t = alpha_t * x_i + sigma_t * eps_i  # line 11
            with torch.no_grad():
                # line 12, Tweedie: x0 = (x_t - sigma_t eps) / alpha_t
                x0_cond = (x_t - sigma_t * real(x_t, t, group.label)) / alpha_t
                x0_uncond = (x_t - sigma_t * real_uncond(x_t, t, group.label)) / alpha_t
                x0_fake = (x_t - sigma_t * fake(x_t, t, group.label)) / alpha_t
            d_cond, d_uncond, d_fake = x_i - x0_cond, x_i - x0_uncond, x_i - x0_fake  # line 13
            alpha, beta = 1 + s * a[i], 1 - s * a[i]  # line 14
            g = beta * (d_cond - d_fake) + alpha * (w - 1) * (d_cond - d_uncond)  # line 15, Eq. 10
            if divide:
                g = g / (d_uncond + w * (d_cond - d_uncond)).abs().mean()
            for total, part in zip(grad_theta, torch.autograd.grad(x[i], student, g, allow_unused=True), strict=True):
                if part is not None:
                    total += part  # line 16
            weight = math.exp(-a[i])  # line 17
            loss = weight * (eps_i - fake(x_t, t, group.label)).square().sum()  # line 18
            if line_19_again:
                loss = weight * loss
            for total, part in zip(grad_psi, torch.autograd.grad(loss, psi, allow_unused=True), strict=True):
                if part is not None:
                    total += part  # line 19
    return Gradients(grad_theta, grad_psi)
