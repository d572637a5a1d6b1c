"""Sample grids: a row per class. The same place has the same noise in every system's grid."""

from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from amd.report.style import write

CELL = 40  # pixels that a small image is enlarged to, about
GAP = 2


def grid(samples: Path, out: Path, *, rows: int = 10, columns: int = 10) -> None:
    """`samples`/samples.npz -> one png: the first `columns` samples of each class, of `rows` classes evenly spaced.

    ValueError names the file where samples or labels are missing.
    """
    file = Path(samples) / "samples.npz"
    if not file.is_file():
        raise ValueError(f"{file}: not there; sample first")
    with np.load(file, allow_pickle=False) as content:
        if missing := {"arr_0", "labels"} - set(content.files):
            raise ValueError(f"{file}: holds no {', '.join(sorted(missing))}")
        images, labels = content["arr_0"], content["labels"]
    classes = np.unique(labels)
    shown = classes[np.linspace(0, len(classes) - 1, min(rows, len(classes))).round().astype(int)]
    picture = tile([[images[i] for i in np.flatnonzero(labels == label)[:columns]] for label in shown])
    about = PngInfo()
    about.add_text("Description", f"classes {', '.join(str(label) for label in shown)}, one per row; from {file}")
    write(Path(out), lambda part: picture.save(part, format="PNG", pnginfo=about))


def tile(lines: list[list[np.ndarray]]) -> Image.Image:
    """Rows of uint8 images (H, W, C) on white, small ones enlarged by a whole factor without smoothing."""
    side_h, side_w, channels = lines[0][0].shape
    factor, columns = max(1, round(CELL / side_h)), max(len(line) for line in lines)
    height, width = side_h * factor, side_w * factor
    canvas = np.full((len(lines) * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), 255, np.uint8)
    for r, line in enumerate(lines):
        for c, image in enumerate(line):
            y, x = r * (height + GAP), c * (width + GAP)
            canvas[y : y + height, x : x + width] = image.repeat(factor, 0).repeat(factor, 1)
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)
