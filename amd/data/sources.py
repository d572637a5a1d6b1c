"""Real images with labels, by name; every file is believed by its sha256, and one source never stands in for another.

Shapes: (N, C, H, W) float32 in [-1, 1] at the domain's own side; labels (N,) int64.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from amd.config.schema.assets import Asset
from amd.data import digits, fashion
from amd.data.assets import locate
from amd.data.imagenet import ImageNet


class Collection(Protocol):
    """Images that can be drawn from, in memory or not."""

    @property
    def label(self) -> Tensor:
        """(N,) int64."""
        ...

    def __len__(self) -> int:
        """N."""
        ...

    def take(self, index: Tensor) -> Tensor:
        """(b,) int64 -> (b, C, H, W) float32 in [-1, 1]."""
        ...


@dataclass(frozen=True)
class InMemory:
    """A collection that is small enough."""

    x: Tensor  # (N, C, H, W)
    label: Tensor  # (N,)

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Tensor) -> Tensor:
        """(b,) -> (b, C, H, W)."""
        return self.x[index]


def _greys(found: tuple[NDArray[np.uint8], NDArray[np.int64]], side: int) -> InMemory:
    greys, label = found
    return InMemory(fit(torch.from_numpy(greys.copy())[:, None], side), torch.from_numpy(label))


def _imagenet(assets: Sequence[Asset], mirror: str | Path | None, side: int) -> ImageNet:
    if len(assets) != 1:
        raise ValueError("data.source 'imagenet' needs one asset, ILSVRC2012_img_train.tar, in the domain's file")
    return ImageNet(locate(assets[0], mirror), side)


SOURCES: dict[str, tuple[int, Callable[[Sequence[Asset], str | Path | None, int], Collection]]] = {
    "mnist5k": (1, lambda assets, mirror, side: _greys(digits.load(), side)),
    "fashion-mnist": (1, lambda assets, mirror, side: _greys(fashion.load(mirror, assets), side)),
    "imagenet": (3, _imagenet),
}
"""Name in a domain's `data` -> number of channels, and (assets, mirror, side) -> collection."""


def collection(source: str, assets: Sequence[Asset], mirror: str | Path | None, pixels: tuple[int, int]) -> Collection:
    """A source fitted to `pixels` = (channels, side).

    Raises ValueError for an unknown source or channels it does not have, MissingAsset where a file is nowhere.
    """
    if source not in SOURCES:
        raise ValueError(f"data.source {source!r} is no source; known: {', '.join(sorted(SOURCES))}")
    channels, load = SOURCES[source]
    if channels != pixels[0]:
        raise ValueError(f"data.source {source!r} has {channels} channel(s), the domain's pixels ask for {pixels[0]}")
    return load(assets, mirror, pixels[1])


def images(
    source: str,
    assets: Sequence[Asset] = (),
    mirror: str | Path | None = None,
    pixels: tuple[int, int] = (1, 16),
) -> tuple[Tensor, Tensor]:
    """All images of a source that fits into memory, (N, C, side, side), and their labels; raises as `collection`."""
    found = collection(source, assets, mirror, pixels)
    if not isinstance(found, InMemory):
        raise ValueError(f"data.source {source!r} does not fit into memory: draw from it with `collection`")
    return found.x, found.label


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
