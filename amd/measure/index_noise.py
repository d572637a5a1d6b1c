"""Draws that belong to single samples, so that neither a batch nor a shard changes one."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from amd.distill.noise import generator


@dataclass(frozen=True)
class IndexNoise:
    """Draws that belong to single samples (`amd.distill.types.Noise`): row j is a function of (seed, indices[j])."""

    seed: int
    indices: tuple[int, ...]
    phase: str = "sample"
    device: torch.device | str = "cpu"

    def at(self, phase: str, part: tuple[int, int] = (0, 1)) -> "IndexNoise":
        """The draws of another phase; there are no parts, a batch of samples is whatever is asked for."""
        return replace(self, phase=phase)

    def own(self, values: Tensor) -> Tensor:
        """All of them: no rank shares samples with another."""
        return values

    def _each(self, purpose: str, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
        return torch.stack([draw(generator(self.seed, index, self.phase, purpose)) for index in self.indices]).to(
            self.device
        )

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """(b, *shape) standard normal, float32."""
        return self._each(purpose, lambda source: torch.randn(shape, generator=source))

    def uniform(self, purpose: str, *, shared: int = 1) -> Tensor:
        """(b,) uniform on [0, 1) in float64; samples share nothing."""
        assert shared == 1
        return self._each(purpose, lambda source: torch.rand((), generator=source, dtype=torch.float64))

    def integers(self, purpose: str, high: int, *, shared: int = 1) -> Tensor:
        """(b,) int64 in [0, high); samples share nothing."""
        assert shared == 1
        return self._each(purpose, lambda source: torch.randint(high, (), generator=source))

    def integer(self, purpose: str, high: int) -> int:
        """One for all samples."""
        return int(torch.randint(high, (), generator=generator(self.seed, self.phase, purpose)))
