"""Clips as measures read them: lazily, a batch at a time, since those of a benchmark do not fit into memory."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Clips(Protocol):
    """The clips of a job, in the order of their prompts."""

    def __len__(self) -> int: ...

    def take(self, indices: range) -> Tensor:
        """uint8 (b, 3, F, H, W)."""
        ...

    def pictures(self, indices: range) -> Tensor | None:
        """uint8 (b, 3, H, W) that the clips were to begin with; None where they were asked for by words alone."""
        ...

    def encoded(self, fps: int) -> Sequence[Path] | None:
        """A film per clip, "h264" as `amd.measure.films` stores it, at `fps`; None where nobody has written them."""
        ...


class Rendered:
    """Clips that are made when they are looked at: `makes[i]()` is clip i, uint8 (3, F, H, W), and its truth."""

    def __init__(self, makes: Sequence[Callable[[], tuple[NDArray[np.uint8], object]]]) -> None:
        self.makes = makes

    def __len__(self) -> int:
        return len(self.makes)

    def take(self, indices: range) -> Tensor:
        """uint8 (b, 3, F, H, W)."""
        return torch.stack([torch.from_numpy(self.makes[i]()[0]) for i in indices])

    def pictures(self, indices: range) -> Tensor | None:
        """What they begin with."""
        return self.take(indices)[:, :, 0]

    def encoded(self, fps: int) -> Sequence[Path] | None:
        """Nobody has."""
        return None


def batches(clips: Clips, size: int) -> Iterator[tuple[range, Tensor]]:
    """Places and clips uint8 (b, 3, F, H, W), `size` at a time."""
    for start in range(0, len(clips), size):
        places = range(start, min(start + size, len(clips)))
        yield places, clips.take(places)


def frames(clips: Tensor) -> Tensor:
    """(b, 3, F, H, W) -> pictures (b F, 3, H, W), clip after clip."""
    return clips.transpose(1, 2).flatten(0, 1)
