"""F_t: at which times the teachers look at x, t = 1 clean. Each returns Levels for the student or the fake teacher."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from amd.distill.path import shifted
from amd.distill.slot import slot
from amd.distill.types import Noise


@dataclass(frozen=True)
class Levels:
    """Times of the DM term and of the CA term, (B,) float64 each."""

    t_dm: Tensor
    t_ca: Tensor
    split: Tensor | None = None  # (B,) bool: rows whose CA term has its own time and noise; None: no row has


@slot()
def uniform(
    noise: Noise,
    t_g: Tensor,
    group: int,
    progress: float,
    *,
    low: float = 0.02,
    high: float = 0.98,
    share: Literal["sample", "group"] = "sample",
    shift: float = 1.0,
) -> Levels:
    """t ~ U[low, high], one per sample, or one per group (Algorithm 1, line 8).

    U[0, 1] as printed holds alpha = 0 and sigma = 0; DMD2 keeps to [0.02, 0.98] (train_sd.py:634). With a shift t is
    U[0, 1], moved towards noise, and then clamped to the bounds (LongLive, model/dmd.py).
    """
    t = _between(noise.uniform("t", shared=group if share == "group" else 1), low, high, shift)
    return Levels(t, t)


def _between(u: Tensor, low: float, high: float, shift: float) -> Tensor:
    return low + (high - low) * u if shift == 1 else shifted(u, shift).clamp(low, high)


@slot()
def cleaner_ca(
    noise: Noise,
    t_g: Tensor,
    group: int,
    progress: float,
    *,
    low: float = 0.02,
    high: float = 0.98,
    shift: float = 1.0,
) -> Levels:
    """D-DMD: the CA term at times cleaner than the student's own, t_ca ~ U[t_g, 1]; the DM term everywhere.

    Decoupled DMD, arXiv 2511.22677 ("Decoupled-Hybrid"). AMD's Table 1 prints t_phi > t_G and C.2 argues for *noisier*
    levels, which is not what that paper does. With a one-step student (t_g = 0) both draws cover the whole range.
    With a shift both are uniform before it, and clamped after it.
    """
    t_dm = _between(noise.uniform("t"), low, high, shift)
    u = noise.uniform("t_ca")
    if shift == 1:
        floor = t_g.double().clamp(low, high)
        t_ca = floor + (high - floor) * u
    else:
        floor = shifted(t_g.double(), 1 / shift)  # where the student's time was before its own shift
        t_ca = shifted(floor + (1 - floor) * u, shift).clamp(low, high)
    return Levels(t_dm, t_ca, torch.ones_like(t_dm, dtype=torch.bool))


@slot()
def annealed_beta(
    noise: Noise,
    t_g: Tensor,
    group: int,
    progress: float,
    *,
    a: float = 1.5,
    b: float = 4.0,
    anneal: float = 0.5,
    shift: float = 1.0,
) -> Levels:
    """DMDR's DynaRS: Beta(a, b) -> Beta(1, 1) by a cosine over the first `anneal` of the run; early mass is noisy.
    The shift comes after it.

    vvvvvjdy/dmdr, train_cc/sit/utils.py, where t = 1 is noise and the same law reads Beta(4, 1.5).
    """
    left = 0.5 * (1 + math.cos(math.pi * progress / anneal)) if progress < anneal else 0.0
    u = noise.uniform("t")
    if left == 0:
        return Levels(t := shifted(u, shift), t)
    from scipy.special import betaincinv  # loaded where this renoising is used

    t = torch.from_numpy(betaincinv(1 + (a - 1) * left, 1 + (b - 1) * left, u.cpu().numpy())).to(u)
    t = shifted(t, shift)
    return Levels(t, t)
