"""What the plane likes: rewards on 2-D points with means (M, 2) of the modes; higher is better, all differentiable.

The reward landscapes of Figures 7 and 8; the paper prints pictures of them and no formulas.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from amd.distill.types import Condition

Reward = Callable[[Tensor, Condition], Tensor]

LENGTH = 0.3  # how far from a mode it is still liked or disliked


def nearness(x: Tensor, means: Tensor) -> Tensor:
    """exp(-d^2 / 2 LENGTH^2) to the nearest of the means: (B, 2) -> (B,), in (0, 1]."""
    means = means.to(x)
    distance = x.square().sum(1, keepdim=True) - 2 * x @ means.T + means.square().sum(1)  # (B, M), squared
    return torch.exp(-distance.amin(1).clamp_min(0) / (2 * LENGTH**2))


def selective(means: Tensor, good: Sequence[int]) -> Reward:
    """+1 at a good mode, -1 at a suppressed one, 0 far from all (Figure 7, top)."""
    liked = torch.zeros(means.shape[0], dtype=torch.bool)
    liked[list(good)] = True
    if liked.all() or not liked.any():
        raise ValueError(f"a selective reward needs modes that it likes and modes that it does not; good: {list(good)}")
    return lambda x, cond: nearness(x, means[liked]) - nearness(x, means[~liked])


def global_(means: Tensor, good: Sequence[int]) -> Reward:
    """+1 at every mode, 0 far from all (Figure 7, bottom)."""
    return lambda x, cond: nearness(x, means)


def lower_left(means: Tensor, good: Sequence[int]) -> Reward:
    """-(x + y): the lower left of the plane, on the modes and off them (Figure 8)."""
    return lambda x, cond: -x.sum(1)


PLANE_REWARDS = {"selective": selective, "global": global_, "lower-left": lower_left}


def plane_reward(name: str, means: Tensor, good: Sequence[int]) -> Reward:
    """The reward called `name` over modes at `means` (M, 2); it is called with x (B, 2), cond and returns (B,)."""
    if name not in PLANE_REWARDS:
        raise ValueError(f"unknown plane reward {name!r}; known: {', '.join(PLANE_REWARDS)}")
    return PLANE_REWARDS[name](means, good)
