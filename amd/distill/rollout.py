"""How the student makes x: backward simulation with S steps, of which one step is the case S = 1.

The student predicts x0 at t_0 = 0 < t_1 < ... < t_{S-1}; between two predictions x0 is taken back to the next level by
    x_{t'} = alpha' x0 + sigma' (cos(eta pi/2) eps_hat + sin(eta pi/2) z),
so eta = 1 is fresh noise (DMD2, sd_unified_model.py:128), eta = 0 the ODE, and between them CPS (RTDMD).
"""

import math

import torch
from torch import Tensor

from amd.distill.path import Discrete, Linear, eps_of, rows
from amd.distill.slot import slot
from amd.distill.types import Cast, Conditioning, Noise, Trajectory


def grid(steps: int) -> list[float]:
    """The student's times: 0, 1/S, ..., (S - 1)/S. S = 4 is DMD2's [999, 749, 499, 249]."""
    return [index / steps for index in range(steps)]


def renoise_between(
    path: Linear | Discrete, x0: Tensor, x_t: Tensor, t: Tensor, t_next: Tensor, z: Tensor, eta: float
) -> Tensor:
    """x0_hat at t -> x at t_next (B, *S)."""
    alpha, sigma = path.coefficients(t_next)
    fresh = math.sin(eta * math.pi / 2)
    noise = fresh * z
    if fresh < 1:
        noise = noise + math.cos(eta * math.pi / 2) * eps_of(path, x0, x_t, t)
    return rows(alpha, x0) * x0 + rows(sigma, x0) * noise


@slot()
def backward_simulation(
    cast: Cast,
    conditioning: Conditioning,
    shape: tuple[int, ...],
    noise: Noise,
    grad: bool,
    full: bool,
    *,
    steps: int = 1,
    eta: float = 1.0,
    first: float = 0.0,
) -> Trajectory:
    """Roll the student to an exit step; the prediction there is x, with its graph where `grad` is on.

    The exit is drawn once for all rows and ranks, so that a group's advantage measures quality and not the exit.
    `full` runs to the last step instead (sampling). `first` is the time at which the student is asked for pure noise:
    an eps-predicting network divides by alpha there, so DMD2's one-step SDXL is asked at 0.6 (index 399).
    """
    exit_step = steps - 1 if full else (noise.integer("exit", steps) if steps > 1 else 0)
    times = [first, *grid(steps)[1:]]
    x_t = noise.normal("z", shape)
    states = []
    for index in range(exit_step):
        t = torch.full((x_t.shape[0],), times[index], dtype=torch.float64, device=x_t.device)
        states.append(x_t)
        with torch.no_grad():
            x0 = cast.student(x_t, t, conditioning.cond)
            z = noise.normal(f"z{index + 1}", shape)
            x_t = renoise_between(cast.path, x0, x_t, t, torch.full_like(t, times[index + 1]), z, eta)  # type: ignore[arg-type]
    t = torch.full((x_t.shape[0],), times[exit_step], dtype=torch.float64, device=x_t.device)
    states.append(x_t)
    with torch.set_grad_enabled(grad):
        x = cast.student(x_t, t, conditioning.cond)
    return Trajectory(x, t, tuple(states))
