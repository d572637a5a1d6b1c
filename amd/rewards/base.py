"""R(x, cond) -> (B,), higher is better: what a reward is, and which there are.

Shapes: x (B, C, H, H) pixels in [-1, 1], decoded already; cond {"label": (B,) int64}. Whoever builds one brings its
weights along (`Material`): this package opens no checkpoint folder and fetches nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor

from amd.distill.types import Condition

REWARDS: dict[str, str] = {
    "classifier": "amd.rewards.classifier:trained",
    "dinov2": "amd.rewards.dinov2:published",
}
"""Name in a domain's `reward` -> module:function (Material -> Reward), imported when it is asked for."""


@runtime_checkable
class Reward(Protocol):
    """A torch module whose own weights are fixed."""

    @property
    def differentiable(self) -> bool:
        """Whether a gradient reaches x: DMDR's force needs it, AMD's advantage does not."""
        ...

    def __call__(self, x: Tensor, cond: Condition) -> Tensor:
        """(B,) float32."""
        ...


@dataclass(frozen=True)
class Material:
    """What a reward may be made of; each takes what it needs and says what is missing."""

    classes: int
    channels: int  # of the pixels
    architecture: str | None = None  # of a classifier trained here
    weights: Mapping[str, Tensor] | None = None  # its state dict
    files: Sequence[Path] = ()  # published files, in the order of the domain's assets


def reward(name: str, material: Material) -> Reward:
    """The reward called `name`, in eval mode on the CPU; it is a torch module, so `.to(device)` moves it."""
    if name not in REWARDS:
        raise ValueError(f"unknown reward {name!r}; known: {', '.join(sorted(REWARDS))}")
    module, attribute = REWARDS[name].split(":")
    return getattr(import_module(module), attribute)(material)
