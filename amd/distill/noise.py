"""Every random number is a function of (seed, iteration, phase, purpose), drawn for the global batch, sliced by rank.

So a run needs no random state in its checkpoints, a resumed run repeats an uninterrupted one bit for bit, and the world
size never changes what is drawn.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b

import torch
from torch import Tensor


def generator(*key: object) -> torch.Generator:
    """A CPU generator seeded by a hash of `key`: equal keys, equal draws, for one build of torch."""
    digest = blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") % 2**63)


@dataclass(frozen=True)
class Noise:
    """The draws of one iteration of one run.

    The global batch of `batch` rows is cut first into equal consecutive parts (micro-batches), and each part into equal
    consecutive slices, one per rank: a part holds whole groups even where a group spans ranks. The cut decides which
    rows are returned, never what they hold.
    """

    seed: int
    iteration: int
    batch: int
    rank: int = 0
    world: int = 1
    phase: str = "student"
    part: tuple[int, int] = (0, 1)  # (index, of how many)
    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        if self.batch % (self.part[1] * self.world):
            raise ValueError(
                f"a global batch of {self.batch} rows does not split into {self.part[1]} micro-batches "
                f"on {self.world} ranks"
            )

    def at(self, phase: str, part: tuple[int, int] = (0, 1)) -> "Noise":
        """The draws of another phase of the same iteration, cut to one micro-batch."""
        return replace(self, phase=phase, part=part)

    @property
    def rows(self) -> slice:
        """This rank's rows of this part, within the global batch."""
        size = self.batch // self.part[1] // self.world
        start = self.part[0] * size * self.world + self.rank * size
        return slice(start, start + size)

    def own(self, values: Tensor) -> Tensor:
        """(rows of the part over all ranks,) -> (b,): this rank's."""
        size = self.batch // self.part[1] // self.world
        return values[self.rank * size : (self.rank + 1) * size]

    def _generator(self, purpose: str) -> torch.Generator:
        return generator(self.seed, self.iteration, self.phase, purpose)

    def _shared(self, draw: Callable[[int], Tensor], shared: int) -> Tensor:
        if self.batch % shared:
            raise ValueError(f"a batch of {self.batch} rows does not split into groups of {shared}")
        return draw(self.batch // shared).repeat_interleave(shared)[self.rows].to(self.device)

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """(b, *shape) standard normal."""
        draw = torch.randn(self.batch, *shape, generator=self._generator(purpose), dtype=self.dtype)
        return draw[self.rows].to(self.device)

    def uniform(self, purpose: str, *, shared: int = 1) -> Tensor:
        """(b,) uniform on [0, 1) in float64, one value per `shared` consecutive rows of the global batch."""
        source = self._generator(purpose)
        return self._shared(lambda n: torch.rand(n, generator=source, dtype=torch.float64), shared)

    def integers(self, purpose: str, high: int, *, shared: int = 1) -> Tensor:
        """(b,) int64 in [0, high), one value per `shared` consecutive rows (labels, indices)."""
        source = self._generator(purpose)
        return self._shared(lambda n: torch.randint(high, (n,), generator=source), shared)

    def integer(self, purpose: str, high: int) -> int:
        """One integer in [0, high), the same on every rank and in every part."""
        return int(torch.randint(high, (1,), generator=self._generator(purpose)))
