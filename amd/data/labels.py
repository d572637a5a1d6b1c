"""Labels of a batch: one draw per group of K consecutive rows, uniform over the classes (as DMDR's, ungrouped)."""

from torch import Tensor

from amd.distill.types import Noise


def labels(noise: Noise, classes: int, group: int) -> Tensor:
    """(b,) int64, this rank's rows; the same label in each group of the global batch."""
    return noise.integers("labels", classes, shared=group)
