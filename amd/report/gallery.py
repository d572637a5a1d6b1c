"""Sample grids: a row per class or prompt. The same place has the same noise in every system's grid."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from amd.report.style import write

LETTERS = 14  # height of a caption's letters in pixels
CELL = 40  # pixels that a small image is enlarged to, about
PROMPTED = 64  # the same where a prompt stands beside it
MOST = 256  # pixels of a large image with a prompt
GAP = 2
CAPTIONS, WIDTH = "captions", "tile width"  # what a grid with prompts says of itself


def grid(samples: Path, out: Path, *, rows: int = 10, columns: int = 10) -> None:
    """`samples`/samples.npz -> one png: the first `columns` samples of each class, of `rows` classes evenly spaced.

    A folder of films makes one that moves (amd.report.moving). Where the manifest beside it has prompts, which the
    labels then count, each row's is written beside it.
    ValueError names the file where samples or labels are missing.
    """
    said = _manifest(Path(samples) / "manifest.json")
    if "films" in said:
        from amd.report.moving import moving_grid  # FFmpeg is no business of images

        moving_grid(Path(samples), said, out, rows=rows)
        return
    file = Path(samples) / "samples.npz"
    if not file.is_file():
        raise ValueError(f"{file}: not there; sample first")
    with np.load(file, allow_pickle=False) as content:
        if missing := {"arr_0", "labels"} - set(content.files):
            raise ValueError(f"{file}: holds no {', '.join(sorted(missing))}")
        images, labels = content["arr_0"], content["labels"]
    classes = np.unique(labels)
    shown = classes[np.linspace(0, len(classes) - 1, min(rows, len(classes))).round().astype(int)]
    prompts: Sequence[str] | None = said.get("prompts")
    cell = CELL if prompts is None else PROMPTED
    picture = tile([[images[i] for i in np.flatnonzero(labels == label)[:columns]] for label in shown], cell)
    about = PngInfo()
    if prompts is not None:
        if picture.height > MOST * len(shown):
            factor = MOST * len(shown) / picture.height
            picture = picture.resize((round(picture.width * factor), MOST * len(shown)), Image.Resampling.LANCZOS)
        captions = [prompts[label] for label in shown]
        about.add_itxt(CAPTIONS, json.dumps(captions))
        about.add_text(WIDTH, str(picture.width))
        picture = captioned(picture.convert("RGB"), captions)
    asked = "classes" if prompts is None else "prompts"
    about.add_text("Description", f"{asked} {', '.join(str(label) for label in shown)}, one per row; from {file}")
    write(Path(out), lambda part: picture.save(part, format="PNG", pnginfo=about))


def _manifest(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text()) if file.is_file() else {}


def captioned(picture: Image.Image, captions: Sequence[str], width: int = 320, most: int = 140) -> Image.Image:
    """A picture of len(captions) equal rows -> the same with each row's text at its right, cut after `most` letters."""
    sheet = Image.new("RGB", (picture.width + width, picture.height), "white")
    sheet.paste(picture)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(LETTERS)
    for row, caption in enumerate(captions):
        lines = fill(caption if len(caption) <= most else f"{caption[:most]} ...", 46)
        place = (picture.width + 10, (row + 0.5) * picture.height / len(captions))
        pen.multiline_text(place, lines, fill="#333333", font=font, anchor="lm")
    return sheet


def tile(lines: list[list[np.ndarray]], cell: int = CELL) -> Image.Image:
    """Rows of uint8 images (H, W, C) on white, small ones enlarged by a whole factor without smoothing, to `cell`."""
    side_h, side_w, channels = lines[0][0].shape
    factor, columns = max(1, round(cell / side_h)), max(len(line) for line in lines)
    height, width = side_h * factor, side_w * factor
    canvas = np.full((len(lines) * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), 255, np.uint8)
    for r, line in enumerate(lines):
        for c, image in enumerate(line):
            y, x = r * (height + GAP), c * (width + GAP)
            canvas[y : y + height, x : x + width] = image.repeat(factor, 0).repeat(factor, 1)
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)


def beside(prompts: Sequence[str], columns: Mapping[str, np.ndarray], out: Path) -> None:
    """One png: the columns' images of each prompt side by side, titles on top, each prompt above its row.

    `columns`: title -> uint8 (prompts, images of each, H, W, 3), all of one shape.
    """
    strips = [tile([[image for images in columns.values() for image in images[i]]]) for i in range(len(prompts))]
    font, line = ImageFont.load_default(LETTERS), 2 * LETTERS
    width, height = strips[0].size
    share = (width + GAP) // len(columns)
    canvas = Image.new("RGB", (width, line + len(prompts) * (line + height)), "white")
    pen = ImageDraw.Draw(canvas)

    def write_at(x: int, y: int, words: str, room: int) -> None:
        while len(words) > 1 and pen.textlength(words, font) > room:
            words = words[:-2] + "…"
        pen.text((x, y + LETTERS // 2), words, "black", font)

    for i, title in enumerate(columns):
        write_at(i * share, 0, title, share - GAP)
    for i, (prompt, strip) in enumerate(zip(prompts, strips, strict=True)):
        write_at(0, line + i * (line + height), prompt, width)
        canvas.paste(strip, (0, 2 * line + i * (line + height)))
    about = PngInfo()
    about.add_text("Description", "; ".join(prompts))
    write(Path(out), lambda part: canvas.save(part, format="PNG", pnginfo=about))
