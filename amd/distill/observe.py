"""What tells something about a DMD run: its losses do not. Everything here is a reduction, never a forward."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from amd.distill.operator import guided
from amd.distill.types import Diagnosis, Displacements

if TYPE_CHECKING:
    from amd.distill.methods import Method

BINS = 4  # of t, for the fake teacher's loss
EDGES = (1.0, 1.5, 2.0, 3.0, 5.0, 10.0)  # of the histogram of w_eff


def effective_guidance(advantage: Tensor, s: float, cfg_weight: float) -> Tensor:
    """w_eff = 1 + (w - 1)(1 + s a)/(1 - s a): Eq. 10 is DMD with this guidance and a step of beta."""
    return 1 + (cfg_weight - 1) * (1 + s * advantage) / (1 - s * advantage)


def _rms(d: Tensor) -> Tensor:
    return d.float().square().mean().sqrt()


@torch.no_grad()
def observe_student(
    x: Tensor, d: Displacements, g: Tensor, diagnosis: Diagnosis | None, method: "Method", cfg_weight: float
) -> dict[str, Tensor]:
    """Sizes of the displacements, their cosine, the latent's statistics, and what the reward said."""
    real = guided(d.real_dm, d.uncond_dm, cfg_weight) if d.uncond_dm is not None else d.real_dm
    flat_real, flat_fake = real.float().flatten(1), d.fake_dm.float().flatten(1)
    seen = {
        "g": _rms(g),
        "d_real": _rms(real),
        "d_fake": _rms(d.fake_dm),
        "cosine": torch.cosine_similarity(flat_real, flat_fake, dim=1).mean(),
        "x_mean": x.float().mean(),
        "x_std": x.float().std(),
    }
    if diagnosis is not None:
        a = diagnosis.advantage
        bound = dict(method.advantage.numbers).get("clip", 1.0)  # a stack's runs may differ: 1 is the paper's
        seen["reward"] = diagnosis.reward.float().mean()
        seen["reward_sigma"] = diagnosis.sigma.mean()
        seen["clipped"] = (a.abs() >= bound).double().mean()
        if "s" in dict(method.operator.numbers):
            w = effective_guidance(a, method.operator["s"], cfg_weight)
            seen["w_eff"] = w.mean()
            for low, high in zip(EDGES, (*EDGES[1:], float("inf")), strict=True):
                seen[f"w_eff>={low}"] = ((w >= low) & (w < high)).double().mean()
    return seen


@torch.no_grad()
def observe_fake(each: Tensor, t: Tensor, critics: list[Tensor]) -> dict[str, Tensor]:
    """The fake teacher's loss, in all and by quarter of t; the critics' losses."""
    seen = {"fake_loss": each.mean()}
    for index in range(BINS):
        inside = (t >= index / BINS) & (t < (index + 1) / BINS)
        if inside.any():
            seen[f"fake_loss_t{index}"] = each[inside.to(each.device)].mean()
    for index, loss in enumerate(critics):
        seen[f"critic_loss{index}"] = loss.detach()
    return seen
