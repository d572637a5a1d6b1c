"""How the student makes x: backward simulation with S steps, of which one step is the case S = 1.

The student predicts x0 at t_0 = 0 < t_1 < ... < t_{S-1}; between two predictions x0 is taken back to the next level by
    x_{t'} = alpha' x0 + sigma' (cos(eta pi/2) eps_hat + sin(eta pi/2) z),
so eta = 1 is fresh noise (DMD2, sd_unified_model.py:128), eta = 0 the ODE, and between them CPS (RTDMD).

A student that streams is rolled chunk by chunk in the same way, and each chunk reads the clean ones before it without
gradient: self-forcing (arXiv 2506.08009; LongLive, pipeline/self_forcing_training.py:296).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from amd.distill.path import Discrete, Linear, eps_of, rows, shifted
from amd.distill.slot import slot
from amd.distill.types import Cast, Condition, Conditioning, Noise, Stream, Trajectory


def grid(steps: int, shift: float = 1.0) -> list[float]:
    """The student's times: 0, 1/S, ..., (S - 1)/S, moved towards noise by `shift`.

    S = 4 is DMD2's [999, 749, 499, 249]; with shift 5 it is LongLive's [1000, 937.5, 833.3, 625].
    """
    return [float(shifted(torch.tensor(index / steps, dtype=torch.float64), shift)) for index in range(steps)]


def times_of(steps: int = 1, first: float = 0.0, shift: float = 1.0) -> list[float]:
    """`grid`, whose first time, that of pure noise, is `first`."""
    return [first, *grid(steps, shift)[1:]]


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


def denoised(
    ask: Callable[[Tensor, Tensor], Tensor],
    path: Linear | Discrete,
    times: Sequence[float],
    normal: Callable[[int], Tensor],
    eta: float,
    grad: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Predictions at `times`, of which the last is returned, with its graph where `grad` is on; and all inputs.

    `ask`: x_t, t (B,) -> x0_hat. `normal(k)`: (B, *S), what step k begins from (0) or is noised anew with.
    """
    x_t = normal(0)
    states = []
    for index, time in enumerate(times[:-1]):
        t = torch.full((x_t.shape[0],), time, dtype=torch.float64, device=x_t.device)
        states.append(x_t)
        with torch.no_grad():
            x0 = ask(x_t, t)
            x_t = renoise_between(path, x0, x_t, t, torch.full_like(t, times[index + 1]), normal(index + 1), eta)
    states.append(x_t)
    with torch.set_grad_enabled(grad):
        return ask(x_t, torch.full((x_t.shape[0],), times[-1], dtype=torch.float64, device=x_t.device)), states


def chunks(
    stream: Stream,
    path: Linear | Discrete,
    cond: Condition,
    shape: tuple[int, ...],
    noise: Noise,
    times: Sequence[float],
    *,
    eta: float = 1.0,
    grad: bool = False,
) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """A clip without end in bounded memory: each chunk (B, C, c, H, W) denoised at `times`, and the student's inputs.

    `shape` is that of a clip, whose number of frames is not read. Chunk j has draws of its own, so that every clip is
    the beginning of a longer one, and the first chunk's are those of a student that does not stream.
    """
    channels, _, *sides = shape
    context, index = stream.empty(next(iter(cond.values())).shape[0]), 0
    while True:

        def normal(step: int, index: int = index) -> Tensor:
            name = f"z{step}" if step else "z"
            return noise.normal(f"{name}/{index}" if index else name, (channels, stream.chunk, *sides))

        def ask(x_t: Tensor, t: Tensor, context: object = context) -> Tensor:
            return stream.predict(x_t, t, cond, context)

        x0, states = denoised(ask, path, times, normal, eta, grad)
        yield x0, states
        context, index = stream.remember(x0.detach(), cond, context), index + 1


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
    shift: float = 1.0,
) -> Trajectory:
    """Roll the student to an exit step; the prediction there is x, with its graph where `grad` is on.

    The exit is drawn once for all rows, chunks and ranks, so that a group's advantage measures quality and not the
    exit. `full` runs to the last step instead (sampling). `first` is the time at which the student is asked for pure
    noise, as it is: an eps-predicting network divides by alpha there, so DMD2's one-step SDXL is asked at 0.6 (index
    399). `shift` moves the other times. A student that streams asks for a whole number of chunks (ValueError).
    """
    exit_step = steps - 1 if full else (noise.integer("exit", steps) if steps > 1 else 0)
    times = times_of(steps, first, shift)[: exit_step + 1]
    path, cond = cast.path, conditioning.cond
    if cast.stream is None:

        def normal(step: int) -> Tensor:
            return noise.normal(f"z{step}" if step else "z", shape)

        x, states = denoised(lambda x_t, t: cast.student(x_t, t, cond), path, times, normal, eta, grad)  # type: ignore[arg-type]
    else:
        if shape[1] % cast.stream.chunk:
            raise ValueError(f"a clip of {shape[1]} latent frames is not made in chunks of {cast.stream.chunk}")
        made = chunks(cast.stream, path, cond, shape, noise, times, eta=eta, grad=grad)  # type: ignore[arg-type]
        rolled = list(islice(made, shape[1] // cast.stream.chunk))
        x = torch.cat([x0 for x0, _ in rolled], 2)
        states = [torch.cat(inputs, 2) for inputs in zip(*(inputs for _, inputs in rolled), strict=True)]
    t_g = torch.full((x.shape[0],), times[-1], dtype=torch.float64, device=x.device)
    return Trajectory(x, t_g, tuple(states))
