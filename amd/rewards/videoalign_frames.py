"""VideoAlign (Liu et al. 2025): visual quality, motion quality and text alignment by a reward model; what it looks at.

Source: KwaiVGI/VideoAlign@219ab9d, vision_process.py (smart_nframes, smart_resize) and inference.py (_norm, reward);
patches are those of transformers' Qwen2VLImageProcessor, on tensors, so that a gradient passes. Raw outputs are
normalised by means and deviations that stand in the checkpoint's model_config.json; where they do not, the original
says nothing and returns the raw values, some 3.7 instead of 0.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from amd.rewards import resize

Number = TypeVar("Number", float, Tensor)

PARTS = ("vq", "mq", "ta")
PATCH, MERGE = 14, 2  # pixels, and patches, of a token's side
SIDE = PATCH * MERGE  # pixels: sides are multiples of it
LEAST_PIXELS = 128 * SIDE * SIDE  # of a frame
MOST_PIXELS = 448 * 448  # max_frame_pixels of the checkpoint's configuration
LONGEST = 200  # most of the longer side over the shorter
RATE = 2.0  # frames per second
EVEN = 2  # frames of a patch; their number is a multiple of it
LEAST_FRAMES, MOST_FRAMES = 4, 768


class Scale(NamedTuple):
    """Of one part's raw outputs."""

    mean: float
    std: float


PUBLISHED = {"vq": Scale(3.6757, 2.2476), "mq": Scale(1.1646, 1.3811), "ta": Scale(2.8105, 2.5121)}
"""As in model_config.json of KwaiVGI/VideoReward (quoted in VideoAlign's issue 24)."""


def frame_count(frames: int, fps: float, rate: float = RATE) -> int:
    """How many of a clip's frames are looked at. ValueError where it has fewer than two."""
    most = MOST_FRAMES if frames > MOST_FRAMES else frames // EVEN * EVEN
    wanted = min(max(frames / fps * rate, LEAST_FRAMES), most)
    count = min(round(wanted / EVEN) * EVEN, frames)
    if count < EVEN:
        raise ValueError(f"VideoAlign looks at {EVEN} frames or more; of {frames} it would be {count}")
    return count


def frame_indices(frames: int, fps: float, rate: float = RATE) -> list[int]:
    """Which: from the first to the last, evenly (sample_type uniform)."""
    count = frame_count(frames, fps, rate)
    return [int(place) for place in torch.linspace(0, frames - 1, count).round()]  # in float32, as there


def resized(height: int, width: int, *, least: int = LEAST_PIXELS, most: int = MOST_PIXELS) -> tuple[int, int]:
    """(height, width) that frames are resized to: multiples of 28, `least` to `most` pixels, about the same shape.

    ValueError for sides of a ratio above 200.
    """
    if max(height, width) / min(height, width) > LONGEST:
        raise ValueError(f"frames of {width} x {height} pixels are longer than {LONGEST} to 1")
    near = [max(SIDE, round(side / SIDE) * SIDE) for side in (height, width)]
    pixels = near[0] * near[1]
    if pixels > most:
        shrink = math.sqrt(height * width / most)
        near = [math.floor(side / shrink / SIDE) * SIDE for side in (height, width)]
    elif pixels < least:
        grow = math.sqrt(least / (height * width))
        near = [math.ceil(side * grow / SIDE) * SIDE for side in (height, width)]
    return near[0], near[1]


def chosen(pixels: Tensor, fps: float, rate: float = RATE, most: int = MOST_PIXELS) -> Tensor:
    """(B, 3, F, H, W) in [-1, 1] at `fps` -> the frames that are looked at, (B, F', 3, H', W') in [0, 1].

    Resized as PIL would, but not rounded to 8 bits. ValueError for clips and frames of impossible shapes.
    """
    places = torch.tensor(frame_indices(pixels.shape[2], fps, rate), device=pixels.device)
    size = resized(pixels.shape[3], pixels.shape[4], most=most)
    frames = resize.unit(pixels.index_select(2, places).transpose(1, 2))
    if size != frames.shape[3:]:
        flat = F.interpolate(frames.flatten(0, 1), size=size, mode="bicubic", antialias=True)
        frames = flat.clamp(0, 1).unflatten(0, frames.shape[:2])
    return frames


def patches(frames: Tensor) -> Tensor:
    """(B, F, 3, H, W) in [0, 1] -> (B F/2 H/14 W/14, 3 x 2 x 14 x 14), normalised.

    Pairs of frames one after the other; in each, the four patches of a token stand together.
    """
    clips, count, colours, height, width = frames.shape
    flat = resize.normalise(frames.flatten(0, 1))
    grid = (height // SIDE, MERGE, PATCH, width // SIDE, MERGE, PATCH)
    split = flat.reshape(clips * count // EVEN, EVEN, colours, *grid)
    return split.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(-1, colours * EVEN * PATCH**2)


def scales(config: Mapping[str, Any]) -> dict[str, Scale]:
    """From a checkpoint's model_config.json. ValueError where it does not say by what its outputs are normalised."""
    said = config.get("inference_config") or {}
    keys = [f"{part.upper()}_{what}" for part in PARTS for what in ("mean", "std")]
    if missing := [key for key in keys if key not in said]:
        raise ValueError(
            f"model_config.json: inference_config.{missing[0]} is missing; without it the outputs are raw, "
            f"and no table's. The published one has {PUBLISHED}"
        )
    return {part: Scale(float(said[f"{part.upper()}_mean"]), float(said[f"{part.upper()}_std"])) for part in PARTS}


def normalised(raw: Mapping[str, Number], by: Mapping[str, Scale]) -> dict[str, Number]:
    """Raw vq, mq, ta -> standard deviations above the mean."""
    return {part: (raw[part] - by[part].mean) / by[part].std for part in PARTS}


def total(parts: Mapping[str, Number]) -> Number:
    """VQ + MQ + TA, which tables call Total and the original Overall; tables print it, as its parts, times 100."""
    vq, mq, ta = (parts[part] for part in PARTS)
    return vq + mq + ta
