"""The path from noise (t = 0) to data (t = 1): x_t = alpha_t x + sigma_t eps, and its conversions.

Coefficients are float64: alpha and sigma meet as differences near the ends. Sources: AMD Sec. 2 (linear path),
recipes of SiT (willisma/SiT transport/path.py, ICPlan) and of DDPM-discrete models (diffusers DDPMScheduler).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["x0", "eps", "velocity"]
"""What a network predicts: the clean sample, the noise, or dx_t/dt = d(alpha)/dt x + d(sigma)/dt eps."""


def shifted(t: Tensor, shift: float) -> Tensor:
    """Times moved towards noise: sigma -> s sigma / (1 + (s - 1) sigma), sigma = 1 - t. 1 / s is the way back.

    What a larger latent asks for: the same noise hides less of it (SD3, arXiv 2403.03206, Sec. 5.3.2; Wan2.1: s = 5).
    """
    return t if shift == 1 else t / (t + shift * (1 - t))


def rows(values: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, ..., 1) in the precision and on the device of `like` (B, *S)."""
    return values.to(like).reshape(-1, *[1] * (like.ndim - 1))


@dataclass(frozen=True)
class Linear:
    """alpha_t = t, sigma_t = 1 - t: flow matching, the paper's F_t (Sec. 2). The velocity is x - eps."""

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """t (B,) in [0, 1] -> alpha (B,), sigma (B,), float64."""
        t = t.double()
        return t, 1 - t

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """d(alpha)/dt, d(sigma)/dt, each (B,), float64."""
        one = torch.ones_like(t, dtype=torch.float64)
        return one, -one

    def add_noise(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """F_t(x)."""
        return _combine(self.coefficients(t), x, eps)


@dataclass(frozen=True)
class Discrete:
    """A DDPM table of N levels: index n is t = 1 - (n + 1) / N, so index N - 1 is noise. Eps prediction.

    `alphas_cumprod` (N,) is the model's own table; between levels t is rounded to the nearest.
    """

    alphas_cumprod: Tensor

    def index(self, t: Tensor) -> Tensor:
        """t (B,) -> (B,) int64, the model's own step number."""
        n = self.alphas_cumprod.shape[0]
        return ((1 - t.double()) * n - 1).round().long().clamp(0, n - 1)

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """t (B,) -> alpha (B,) = sqrt(alpha_bar), sigma (B,) = sqrt(1 - alpha_bar), float64."""
        bar = self.alphas_cumprod.double().to(t.device)[self.index(t)]
        return bar.sqrt(), (1 - bar).sqrt()

    def add_noise(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """F_t(x)."""
        return _combine(self.coefficients(t), x, eps)


def _combine(coefficients: tuple[Tensor, Tensor], x: Tensor, eps: Tensor) -> Tensor:
    alpha, sigma = coefficients
    return rows(alpha, x) * x + rows(sigma, x) * eps


def to_x0(path: Linear | Discrete, prediction: Tensor, x_t: Tensor, t: Tensor, kind: Kind) -> Tensor:
    """A prediction of any kind -> x0_hat (B, *S). Computed in float64 for eps: at t near 0 it divides by alpha_t."""
    if kind == "x0":
        return prediction
    alpha, sigma = path.coefficients(t)
    if kind == "eps":
        x0 = (x_t.double() - rows(sigma, x_t.double()) * prediction.double()) / rows(alpha, x_t.double())
        return x0.to(x_t.dtype)
    if not isinstance(path, Linear):
        raise ValueError("velocity is defined here for the linear path alone")
    return x_t + rows(sigma, x_t) * prediction  # x_t + (1 - t)(x - eps) = x


def from_x0(path: Linear | Discrete, x0: Tensor, x_t: Tensor, t: Tensor, kind: Kind) -> Tensor:
    """x0_hat -> what a network of that kind would have predicted (B, *S); the inverse of `to_x0`."""
    if kind == "x0":
        return x0
    alpha, sigma = path.coefficients(t)
    eps = (x_t.double() - rows(alpha, x_t.double()) * x0.double()) / rows(sigma, x_t.double())
    if kind == "eps":
        return eps.to(x_t.dtype)
    if not isinstance(path, Linear):
        raise ValueError("velocity is defined here for the linear path alone")
    return (x0.double() - eps).to(x_t.dtype)


def eps_of(path: Linear | Discrete, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """The noise that leads from x0_hat to x_t (B, *S)."""
    return from_x0(path, x0, x_t, t, "eps")
