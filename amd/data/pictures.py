"""Picture files -> arrays of a wanted shape: the largest middle part that has it, resized (Lanczos), uint8."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def square(file: Path, side: int) -> NDArray[np.uint8]:
    """A picture's middle square at `side`, (3, side, side)."""
    return fitted(file, side, side)


def fitted(file: Path, height: int, width: int) -> NDArray[np.uint8]:
    """The middle of a picture file, (3, height, width)."""
    with Image.open(file) as opened:
        return middle(opened.convert("RGB"), height, width)


def middle(picture: Image.Image, height: int, width: int) -> NDArray[np.uint8]:
    """The same of an RGB picture in memory."""
    scale = min(picture.width / width, picture.height / height)
    w, h = round(scale * width), round(scale * height)
    x, y = (picture.width - w) // 2, (picture.height - h) // 2
    part = picture.crop((x, y, x + w, y + h)).resize((width, height), Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(part).transpose(2, 0, 1))
