"""Pictures that move: grids of clips as animated PNG, which browsers play and everything else shows the first frame of.

A clip is shown by `FRAMES` of its frames at most, at its own speed; a frame of a grid is the same moment in all of it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from amd.report.gallery import CAPTIONS, LETTERS, MOST, PROMPTED, WIDTH, captioned, tile
from amd.report.style import write

FRAMES = 24  # of a clip that are shown, evenly spaced
PAUSE = 6  # times the last frame is shown, so that an end is seen as one


def moving_grid(folder: Path, manifest: Mapping[str, Any], out: Path, *, rows: int = 10, columns: int = 6) -> None:
    """A folder of films -> one animated png: a row per prompt, `rows` of them evenly spaced, its first `columns` films.

    ValueError names a film that is not there.
    """
    labels = np.asarray(manifest["labels_of"])
    asked = np.unique(labels)
    shown = asked[np.linspace(0, len(asked) - 1, min(rows, len(asked))).round().astype(int)]
    chosen = [[_film(folder, manifest, i) for i in np.flatnonzero(labels == label)[:columns]] for label in shown]
    count = min(len(film) for row in chosen for film in row)
    places = np.linspace(0, count - 1, min(FRAMES, count)).round().astype(int)
    captions = [manifest["prompts"][label] for label in shown]
    pictures, width = [], 0
    for place in places:
        picture = tile([[_small(film[place]) for film in row] for row in chosen], PROMPTED)
        width = picture.width
        pictures.append(captioned(picture.convert("RGB"), captions))
    about = PngInfo()
    about.add_itxt(CAPTIONS, json.dumps(captions))
    about.add_text(WIDTH, str(width))
    about.add_text("Description", f"prompts {', '.join(str(label) for label in shown)}, one per row; from {folder}")
    save_moving(pictures, out, seconds=count / manifest["fps"], about=about)


def side_by_side(grids: Mapping[str, Image.Image], out: Path) -> None:
    """Title -> animated grid of the same prompts -> one animated png: prompts at the left, a column per title."""
    first = next(iter(grids.values()))
    captions = json.loads(first.info[CAPTIONS])
    count = min(grid.n_frames for grid in grids.values())  # type: ignore[attr-defined]
    pictures = [_moment(grids, captions, place) for place in range(count)]
    about = PngInfo()
    about.add_text("Description", "; ".join(captions))
    # the first frame's own duration is not the last one's, which pauses
    save_moving(pictures, out, seconds=count * float(first.info.get("duration", 100)) / 1000, about=about)


def save_moving(pictures: Sequence[Image.Image], out: Path, seconds: float, about: PngInfo) -> None:
    """Frames that together last `seconds`, the last one longer; for ever. Atomic."""
    each = max(20, round(1000 * seconds / len(pictures)))
    durations = [each] * (len(pictures) - 1) + [PAUSE * each]
    first, *rest = pictures
    write(
        Path(out),
        lambda part: first.save(
            part, format="PNG", save_all=True, append_images=rest, duration=durations, loop=0, pnginfo=about
        ),
    )


def _moment(grids: Mapping[str, Image.Image], captions: Sequence[str], place: int) -> Image.Image:
    tiles, line, left = list[Image.Image](), 3 * LETTERS, 300
    for grid in grids.values():
        grid.seek(place)
        tiles.append(grid.convert("RGB").crop((0, 0, int(grid.info[WIDTH]), grid.height)))
    gap, height = 6, tiles[0].height
    canvas = Image.new("RGB", (left + sum(t.width + gap for t in tiles), line + height), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(LETTERS)
    for row, caption in enumerate(captions):
        middle = line + (row + 0.5) * height / len(captions)
        pen.multiline_text((left - 10, middle), fill(caption[:140], 38), "#333333", font, anchor="rm", align="right")
    x = left
    for title, picture in zip(grids, tiles, strict=True):
        words = fill(title, max(6, picture.width // 8), break_long_words=False)
        pen.multiline_text((x + picture.width / 2, line / 2), words, "black", font, anchor="mm", align="center")
        canvas.paste(picture, (x, line))
        x += picture.width + gap
    return canvas


def _film(folder: Path, manifest: Mapping[str, Any], place: int) -> np.ndarray:
    """uint8 (F, H, W, 3)."""
    file = folder / f"{manifest['indices'][0] + place:06d}.mp4"
    if not file.is_file():
        raise ValueError(f"{file}: not there; sample first")
    with av.open(str(file)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def _small(frame: np.ndarray) -> np.ndarray:
    """A frame, not higher than MOST pixels."""
    if frame.shape[0] <= MOST:
        return frame
    width = round(frame.shape[1] * MOST / frame.shape[0])
    return np.asarray(Image.fromarray(frame).resize((width, MOST), Image.Resampling.LANCZOS))
