"""The resizes of published scorers, on tensors, so that a gradient passes. antialias is pinned: defaults have changed.

Bicubic with antialias weighs pixels as PIL does (a = -1/2, support stretched when shrinking); PIL rounds to 8 bits
after each of its two passes and these do not. Shapes: pixels (B, 3, H, W) in [-1, 1], unit (B, 3, H, W) in [0, 1].
"""

from typing import Literal

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's training images
STD = (0.26862954, 0.26130258, 0.27577711)


def unit(pixels: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1], clamped, float32."""
    return ((pixels.float() + 1) / 2).clamp(0, 1)


def normalise(unit: Tensor) -> Tensor:
    """[0, 1] -> CLIP's mean and standard deviation."""
    mean, std = (unit.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (unit - mean) / std


def shorter_side(unit: Tensor, side: int) -> Tensor:
    """The shorter side becomes `side`, the longer int(side x longer / shorter). Clamped to [0, 1] as 8 bits are.

    torchvision's Resize(side) and transformers' CLIP processor share this rule.
    """
    height, width = unit.shape[2:]
    short = min(height, width)
    if short == side:
        return unit
    size = (side, int(side * width / height)) if short == height else (int(side * height / width), side)
    return F.interpolate(unit, size=size, mode="bicubic", antialias=True).clamp(0, 1)


def centre_crop(unit: Tensor, side: int, margin: Literal["round", "floor"]) -> Tensor:
    """The middle `side` x `side`. Half a pixel of margin: rounded to even by torchvision, floored by transformers."""
    tops = [(round if margin == "round" else int)((length - side) / 2) for length in unit.shape[2:]]
    return unit[:, :, tops[0] : tops[0] + side, tops[1] : tops[1] + side]


def longer_side_padded(unit: Tensor, side: int) -> Tensor:
    """The longer side becomes `side`, the rest is black; nothing is clamped. HPSv2 1.2.0, transform.py ResizeMaxSize.

    An image whose longer side has that length already is padded too (the reference leaves it alone and then fails).
    """
    height, width = unit.shape[2:]
    scale = side / max(height, width)
    if scale != 1:
        size = (round(height * scale), round(width * scale))
        unit = F.interpolate(unit, size=size, mode="bicubic", antialias=True)
    down, right = side - unit.shape[2], side - unit.shape[3]
    return F.pad(unit, (right // 2, right - right // 2, down // 2, down - down // 2))


def crop_lanczos(image: np.ndarray, side: int) -> np.ndarray:
    """uint8 (H, W, 3) -> uint8 (side, side, 3): the middle square of the shorter side, PIL's LANCZOS.

    What DMD2's evaluation does to COCO's images and its own before any metric (main/coco_eval/coco_evaluator.py);
    the margin is rounded as torchvision's centre crop does.
    """
    height, width = image.shape[:2]
    short = min(height, width)
    top, left = round((height - short) / 2), round((width - short) / 2)
    square = Image.fromarray(image[top : top + short, left : left + short])
    return np.asarray(square.resize((side, side), Image.Resampling.LANCZOS))
