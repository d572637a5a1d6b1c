"""Real images with labels, by name; every file is believed by its sha256, and one source never stands in for another.

Shapes: (N, C, H, W) float32 in [-1, 1] at the domain's own side; labels (N,) int64.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from amd.config.schema import Asset
from amd.data import digits, fashion

Greys = tuple[NDArray[np.uint8], NDArray[np.int64]]  # (N, H, W), (N,)

SOURCES: dict[str, Callable[[Sequence[Asset], str | Path | None], Greys]] = {
    "mnist5k": lambda assets, mirror: digits.load(),
    "fashion-mnist": lambda assets, mirror: fashion.load(mirror, assets),
}


def images(
    source: str,
    assets: Sequence[Asset] = (),
    mirror: str | Path | None = None,
    pixels: tuple[int, int] = (1, 16),
) -> tuple[Tensor, Tensor]:
    """All images of a source, fitted to `pixels` = (channels, side), and their labels.

    Raises ValueError for an unknown source or channels it does not have, MissingAsset where a file is nowhere.
    """
    if source not in SOURCES:
        raise ValueError(f"data.source {source!r} is no source; known: {', '.join(sorted(SOURCES))}")
    channels, side = pixels
    if channels != 1:
        raise ValueError(f"data.source {source!r} has 1 channel, the domain's pixels ask for {channels}")
    greys, labels = SOURCES[source](assets, mirror)
    return fit(torch.from_numpy(greys.copy())[:, None], side), torch.from_numpy(labels)


def fit(greys: Tensor, side: int) -> Tensor:
    """(N, 1, H, H) uint8 -> (N, 1, side, side) in [-1, 1]: padded with black to the next multiple of `side`, then
    averaged over whole blocks. 28 -> 16 is 28 -> 32 -> 16; no pixel is interpolated."""
    block = -(-greys.shape[-1] // side)
    before = (side * block - greys.shape[-1]) // 2
    after = side * block - greys.shape[-1] - before
    padded = F.pad(greys.float(), (before, after, before, after))
    return F.avg_pool2d(padded, block) / 127.5 - 1


def half(labels: Tensor, which: int) -> Tensor:
    """(N,) -> indices of one half: within every class, the images at even (0) or odd (1) places, in order."""
    place = torch.zeros_like(labels)
    for label in labels.unique():
        rows = labels == label
        place[rows] = torch.arange(int(rows.sum()), dtype=place.dtype)
    return (place % 2 == which).nonzero().flatten()
