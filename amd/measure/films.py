"""Samples that are clips: a folder of films, one per sample, read when they are asked for.

{index:06d}.mp4 beside manifest.json, which knows each film's sha256; no prompt is part of a name. H.264 either way:
"lossless" keeps every pixel (RGB, nothing is thrown away); "h264" is torchvision's write_video (4:2:0, x264's own
quality), by which LongLive and Self-Forcing store what they evaluate. What it takes away moves scores, so it is part of
a sample's digest.
Shapes: clips uint8 (n, 3, F, H, W).
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import av
import numpy as np
import torch
from torch import Tensor

from amd.config.schema.assets import Clip
from amd.train.artifact import sha256, write_json

Stored = Literal["lossless", "h264"]
CODECS: dict[Stored, tuple[str, str, dict[str, str]]] = {
    "lossless": ("libx264rgb", "rgb24", {"qp": "0", "preset": "medium"}),
    "h264": ("libx264", "yuv420p", {"crf": "23", "preset": "medium"}),
}
"""How a film is stored -> FFmpeg's encoder, pixel format and options."""
ENCODING = "libx264, yuv420p, crf 23"  # "h264" in words, for records


def write_film(file: Path, clip: Tensor, fps: int, stored: Stored) -> None:
    """uint8 (3, F, H, W) -> `file`. ValueError as `Film.add`."""
    with Film(file, fps, stored) as film:
        film.add(clip)


class Film:
    """A file that is written frame by frame, of which no more is held than the encoder looks ahead."""

    def __init__(self, file: Path, fps: int, stored: Stored) -> None:
        """Nothing is opened before there is a frame."""
        self.file, self.fps, self.stored = file, fps, stored
        self._open: tuple[av.container.OutputContainer, av.VideoStream] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self._open is None:
            return
        container, stream = self._open
        with container:
            if error is None:  # else nobody reads it: its folder is not renamed
                container.mux(stream.encode())

    def add(self, clip: Tensor) -> None:
        """The next frames, uint8 (3, f, H, W). ValueError for what is no clip, and for odd sides under 4:2:0, which has
        one colour for 2 x 2 pixels."""
        if clip.dtype != torch.uint8 or clip.ndim != 4 or clip.shape[0] != 3:
            raise ValueError(f"{self.file.name}: a clip is uint8 (3, F, H, W), not {clip.dtype} {tuple(clip.shape)}")
        if self._open is None:
            self._open = self._opened(*clip.shape[2:])
        container, stream = self._open
        for frame in clip.permute(1, 2, 3, 0).contiguous().cpu().numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))

    def _opened(self, height: int, width: int) -> "tuple[av.container.OutputContainer, av.VideoStream]":
        encoder, pixel_format, options = CODECS[self.stored]
        if self.stored == "h264" and (height % 2 or width % 2):
            raise ValueError(
                f"{self.file.name}: {height} x {width} has an odd side; h264 is 4:2:0, choose stored: lossless"
            )
        container = av.open(str(self.file), "w", format="mp4")
        stream = container.add_stream(encoder, rate=self.fps, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = height, width, pixel_format
        stream.thread_count = 1  # the same bytes on every machine
        return container, stream


def read_film(file: Path) -> Tensor:
    """`file` -> uint8 (3, F, H, W). ValueError where it is no film."""
    try:
        with av.open(str(file)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    except (av.error.FFmpegError, IndexError) as error:
        raise ValueError(f"{file}: no film: {error}") from None
    if not frames:
        raise ValueError(f"{file}: a film without frames")
    return torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2).contiguous()


@dataclass(frozen=True)
class Films:
    """The clips of a folder; `take` reads those that are asked for. `begins`: places -> the pictures that clips were to
    begin with, uint8 (b, 3, H, W); None where they were asked for by words alone."""

    files: tuple[Path, ...]
    stored: Stored | None = None  # None: nobody said
    fps: int | None = None
    begins: Callable[[Sequence[int]], Tensor] | None = None

    def __len__(self) -> int:
        return len(self.files)

    def take(self, indices: Sequence[int]) -> Tensor:
        """-> uint8 (b, 3, F, H, W)."""
        return torch.stack([read_film(self.files[i]) for i in indices])

    def pictures(self, indices: Sequence[int]) -> Tensor | None:
        """uint8 (b, 3, H, W), or None."""
        return None if self.begins is None else self.begins(indices)

    def encoded(self, fps: int) -> Sequence[Path] | None:
        """These very files, where they are stored as `amd.measure.isolated_clips` would write them."""
        return self.files if (self.stored, self.fps) == ("h264", fps) else None


def write_films(
    out: Path, batches: Iterable[tuple[Tensor, Tensor]], first: int, clip: Clip, manifest: Mapping[str, object]
) -> None:
    """Batches of (clips uint8, labels (b,)) -> `out`.part, then renamed; `first` is the first sample's index."""
    write_parts(out, (((clips,), wanted) for clips, wanted in batches), first, clip, manifest)


def write_parts(
    out: Path,
    batches: Iterable[tuple[Iterable[Tensor], Tensor]],
    first: int,
    clip: Clip,
    manifest: Mapping[str, object],
) -> None:
    """As `write_films`, of clips that come part by part, uint8 (b, 3, f, H, W) each, in any number of them."""
    part, hashes, labels = _fresh(out), list[str](), list[int]()
    for pieces, wanted in batches:
        files = [part / _name(first + len(hashes) + place) for place in range(len(wanted))]
        with ExitStack() as stack:
            films = [stack.enter_context(Film(file, clip.fps, clip.stored)) for file in files]
            for clips in pieces:
                for film, frames in zip(films, clips, strict=True):
                    film.add(frames)
        hashes += map(sha256, files)
        labels += wanted.tolist()
    _finish(part, out, hashes, labels, {**manifest, "fps": clip.fps, "stored": clip.stored})


def read_films(folder: Path, manifest: Mapping[str, Any]) -> tuple[Films, Tensor]:
    """The films of a folder with this manifest, and their labels (n,) int64.

    ValueError names a film that is missing or altered.
    """
    start, _ = manifest["indices"]
    files = tuple(Path(folder) / _name(start + place) for place in range(manifest["n"]))
    for file, known in zip(files, manifest["films"], strict=True):
        if not file.is_file():
            raise ValueError(f"{file}: not there; sample again")
        if sha256(file) != known:
            raise ValueError(f"{file}: truncated or altered (sha256 differs from the manifest's); sample again")
    films = Films(files, manifest.get("stored"), manifest.get("fps"))
    return films, torch.tensor(manifest["labels_of"], dtype=torch.int64)


def gather_films(parts: Sequence[tuple[Path, Mapping[str, Any]]], out: Path, manifest: Mapping[str, object]) -> None:
    """Folders in the order of their indices -> one, whose films are links to theirs where the file system allows it."""
    whole, hashes, labels = _fresh(out), list[str](), list[int]()
    for folder, known in parts:
        films, wanted = read_films(folder, known)
        for file in films.files:
            _link(file, whole / file.name)
        hashes += known["films"]
        labels += wanted.tolist()
    _finish(whole, out, hashes, labels, manifest)


def _name(index: int) -> str:
    return f"{index:06d}.mp4"


def _link(file: Path, place: Path) -> None:
    try:
        os.link(file, place)
    except OSError:
        shutil.copyfile(file, place)


def _fresh(out: Path) -> Path:
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    return part


def _finish(
    part: Path, out: Path, hashes: Sequence[str], labels: Sequence[int], manifest: Mapping[str, object]
) -> None:
    """The manifest learns each film's sha256, and that of all of these as the samples' own."""
    whole = hashlib.sha256("".join(hashes).encode()).hexdigest()
    about = {"films": list(hashes), "labels_of": list(labels), "n": len(hashes), "sha256": whole}
    write_json(part / "manifest.json", {**manifest, **about})
    shutil.rmtree(out, ignore_errors=True)
    os.replace(part, out)
