"""Clips as measures read them: lazily, a batch at a time, since those of a benchmark do not fit into memory."""

from collections.abc import Iterator
from typing import Protocol

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


def batches(clips: Clips, size: int) -> Iterator[tuple[range, Tensor]]:
    """Places and clips uint8 (b, 3, F, H, W), `size` at a time."""
    for start in range(0, len(clips), size):
        places = range(start, min(start + size, len(clips)))
        yield places, clips.take(places)


def frames(clips: Tensor) -> Tensor:
    """(b, 3, F, H, W) -> pictures (b F, 3, H, W), clip after clip."""
    return clips.transpose(1, 2).flatten(0, 1)
