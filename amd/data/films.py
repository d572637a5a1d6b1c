"""Clips out of a folder of films, opened when they are asked for, so that any number of them will do.

A clip is the beginning of its film at the domain's frames per second: its frame k is the first one that is shown at
k / fps or later. Shapes: uint8 (b, 3, F, H, W), the largest middle part of the film's picture, resized (Lanczos).
"""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from amd.data.pictures import middle

SLACK_S = 1e-4  # of a time stamp


@dataclass(frozen=True)
class FilmFolder:
    """Film files, indexed by (b,) int64."""

    files: tuple[Path, ...]
    shape: tuple[int, int, int]  # (F, H, W)
    fps: float

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Tensor) -> Tensor:
        return torch.stack([opening(self.files[i], self.shape, self.fps) for i in index.tolist()])


def opening(file: Path, shape: tuple[int, int, int], fps: float) -> Tensor:
    """The clip that a film begins with, uint8 (3, F, H, W). ValueError for what is no film, and for one too short."""
    frames, height, width = shape
    found = list[np.ndarray]()
    begin: float | None = None
    try:
        with av.open(str(file)) as container:
            for frame in container.decode(video=0):
                if frame.time is None:
                    raise ValueError(f"{file}: its frames have no time")
                begin = frame.time if begin is None else begin
                shown, picture = frame.time - begin + SLACK_S, None
                while len(found) < frames and shown >= len(found) / fps:
                    picture = middle(frame.to_image(), height, width) if picture is None else picture
                    found.append(picture)
                if len(found) == frames:
                    return torch.from_numpy(np.stack(found, 1))
    except (av.error.FFmpegError, IndexError) as error:
        raise ValueError(f"{file}: no film: {error}") from None
    raise ValueError(f"{file}: too short for {frames} frames at {fps:g} a second, it has {len(found)}")
