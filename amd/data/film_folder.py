"""Film files as clips: any number of them, of any size and speed, opened when they are asked for.

A clip is the beginning of its film: frame k is the film's frame nearest to k / fps seconds after its first one, of
which the largest middle part of the clip's shape is taken, resized (Lanczos). What FFmpeg reads will do: mp4, webm.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from amd.config.schema.assets import Clip
from amd.data.pictures import middle


@dataclass(frozen=True)
class FilmFolder:
    """Indexed by (b,) int64 it gives clips (b, 3, F, H, W) uint8. ValueError names a film that is shorter, or none."""

    files: tuple[Path, ...]
    clip: Clip
    height: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Tensor) -> Tensor:
        return torch.stack([self._read(self.files[i]) for i in index.tolist()])

    def _read(self, file: Path) -> Tensor:
        found = beginning(file, self.clip.frames, self.clip.fps)
        return torch.from_numpy(np.stack([middle(frame, self.height, self.clip.width) for frame in found], 1))


def beginning(file: Path, frames: int, fps: int) -> list[Image.Image]:
    """The first `frames` frames at `fps`; the rest of the film is not decoded.

    ValueError for what is no film, and for one that is shorter.
    """
    try:
        with av.open(str(file)) as container:
            if not container.streams.video:
                raise ValueError(f"{file}: no film: it has no pictures")
            stream = container.streams.video[0]
            found = list(_nearest(container.decode(stream), stream.average_rate, frames, fps))
    except av.error.FFmpegError as error:
        raise ValueError(f"{file}: no film: {error}") from None
    if len(found) < frames:
        wanted, there = (f"{count} frames ({count / fps:.2f} s)" for count in (frames, len(found)))
        raise ValueError(
            f"{file}: too short: a clip is {wanted} at {fps} a second, and it has {there}; leave it out of the "
            "captions, or lower clip.frames"
        )
    return [frame.to_image() for frame in found]


def _nearest(decoded: Iterator[av.VideoFrame], rate: Fraction | None, frames: int, fps: int) -> Iterator[av.VideoFrame]:
    """For k = 0, 1, ... the frame that is nearest to k / fps, until there are `frames` or the film ends.

    Of two that are as near, the earlier. The last one is shown for 1 / rate.
    """
    taken, last, start, shown = 0, Fraction(), None, None
    for frame in decoded:
        if frame.pts is None:
            continue
        time = frame.pts * frame.time_base
        start = time if start is None else start
        time -= start
        while shown is not None and taken < frames and Fraction(taken, fps) <= (last + time) / 2:
            yield shown
            taken += 1
        if taken == frames:
            return
        last, shown = time, frame
    while shown is not None and taken < frames and Fraction(taken, fps) < last + 1 / (rate or Fraction(fps)):
        yield shown
        taken += 1
