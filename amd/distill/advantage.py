"""Who is broken: the group-relative advantage (Eq. 12) and the fake teacher's weights W(a) (Eq. 14)."""

from typing import Literal

import torch
from torch import Tensor

from amd.distill.slot import slot


def group_statistics(reward: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation of each row's group of K consecutive rows: (B,) -> (B,), (B,)."""
    if reward.shape[0] % group:
        raise ValueError(f"{reward.shape[0]} rewards do not split into groups of {group}")
    table = reward.double().reshape(-1, group)
    mean = table.mean(1, keepdim=True)
    sigma = table.var(1, correction=0, keepdim=True).sqrt()  # the paper leaves population or sample open
    return mean.expand_as(table).reshape(-1), sigma.expand_as(table).reshape(-1)


@slot("advantage")
def group_relative(reward: Tensor, group: int, *, clip: float = 1.0, floor: float = 1e-6) -> tuple[Tensor, Tensor]:
    """a = clip((r - mu_g) / sigma_g, -clip, clip) (Eq. 12), float64 (B,), and sigma_g (B,).

    Where sigma_g is below `floor` the group says nothing and a = 0: the paper's epsilon would amplify rounding there.
    """
    mean, sigma = group_statistics(reward, group)
    a = ((reward.double() - mean) / sigma.clamp_min(floor)).clamp(-clip, clip)
    return torch.where(sigma < floor, torch.zeros_like(a), a), sigma


@slot()
def ones(advantage: Tensor, group: int) -> Tensor:
    """W = 1: the fake teacher models the student as it is."""
    return torch.ones_like(advantage)


@slot("advantage")
def sharpened(
    advantage: Tensor, group: int, *, k: float = 1.0, normalise: Literal["batch", "group", "none"] = "batch"
) -> Tensor:
    """W = exp(-k a) (Eq. 14; k = 1 is the paper's example), over the global batch (B,) -> (B,).

    `normalise` divides by the mean over the batch or over each group, so that k does not change the fake teacher's
    step length (E[exp(-a)] is about 1.3 for Gaussian rewards); "none" is the paper's.
    """
    weights = torch.exp(-k * advantage)
    if normalise == "batch":
        return weights / weights.mean()
    if normalise == "group":
        return (weights.reshape(-1, group) / weights.reshape(-1, group).mean(1, keepdim=True)).reshape(-1)
    return weights
