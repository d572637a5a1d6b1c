"""Clips of what a row of `amd.data.motion` asks for, made of emoji sprites: ground truth of class, colour and motion.

Centres and extents change linearly in time: constant velocity, at fractions of a pixel, without a jump. Each frame is
resampled from the sprite itself (bicubic, antialiased), so that a moving sprite is as sharp in every frame. Shapes: F
frames of H x W pixels; boxes (x0, y0, x1, y1) in pixels, y downwards, pixel i between i and i + 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amd.data.emoji import COLOURED, VOCABULARY, sprites
from amd.data.motion import DIRECTIONS, SIZES
from amd.data.rows import generator
from amd.data.scenes import SMALLEST_SIDE, Placed, Scene, background

MOST = 2  # objects of a clip
EXTENT = {1: (15.0, 18.0), 2: (11.0, 13.0)}
"""Objects in the clip -> least and largest of their longer sides halfway, in 32nds of the clip's shorter side."""
CHANGING = (13.5, 15.0)  # of an object that changes its size
GROWTH = 1.7  # last over first extent of what grows
TRAVEL = (0.25, 0.36)  # of the shorter side, over the clip
MARGIN = 1 / 32  # of the shorter side, between objects and the border
CANDIDATES = 64  # arrangements tried at once
SHRINK = (1.0, 0.85, 0.7)
DRAWS = 16  # of sizes, ways and places, until objects are apart: of what moves towards each other most are not
Drawn = NDArray[np.float32]  # (..., 4): colours in [0, 255] times alpha, and alpha in [0, 1]


@dataclass(frozen=True, eq=False)
class Moving:
    """An object of a clip."""

    name: str
    colour: str | None  # None: it comes in one version
    boxes: NDArray[np.float64]  # (F, 4)


@dataclass(frozen=True, eq=False)
class Filmed:
    """What is in a clip, in the order of the row's clauses."""

    objects: tuple[Moving, ...]

    def scene(self, frame: int) -> Scene:
        """What is where in one frame."""
        return Scene(tuple(Placed(it.name, it.colour, tuple(it.boxes[frame].tolist())) for it in self.objects))


def film(row: Mapping[str, Any], seed: int, frames: int, height: int, width: int) -> tuple[NDArray[np.uint8], Filmed]:
    """A row -> its clip (3, F, H, W) and what is where in each frame; the same seed, the same clip.

    Clips of one seed are alike: a row that asks for another object gets it on the same path. ValueError, naming the
    prompt, for objects, colours and motions outside the vocabulary and more than two objects; for fewer than 2 frames
    and sides under 24 pixels.
    """
    side = min(height, width)
    if frames < 2 or side < SMALLEST_SIDE:
        raise ValueError(
            f"a clip has at least 2 frames and sides of {SMALLEST_SIDE} pixels, not {frames} of {height} x {width}"
        )
    random = generator("clip", seed)
    try:
        objects = _objects(row, random)
        boxes = _arrange(objects, row["motion"], random, frames, height, width)
    except ValueError as error:
        raise ValueError(f"clip of {row.get('prompt')!r}: {error}") from None
    # as in a scene; a clip of another shape is the middle of a square
    ground = background(objects, max(height, width), generator("clip", seed, "background"))
    top, left = (max(height, width) - height) // 2, (max(height, width) - width) // 2
    clip = np.repeat(ground[None, top : top + height, left : left + width], frames, 0)  # (F, H, W, 3)
    for it, where in zip(objects, boxes, strict=True):
        drawn = resampled(it, where, height, width)
        clip = clip * (1 - drawn[..., 3:]) + drawn[..., :3]
    filmed = Filmed(tuple(Moving(*it, where) for it, where in zip(objects, boxes, strict=True)))
    return np.ascontiguousarray(clip.round().clip(0, 255).astype(np.uint8).transpose(3, 0, 1, 2)), filmed


def resampled(sprite: tuple[str, str | None], boxes: NDArray[np.float64], height: int, width: int) -> Drawn:
    """A sprite that fills boxes (F, 4) -> (F, H, W, 4): colours in [0, 255] times alpha, and alpha in [0, 1]."""
    planes = _planes(*sprite)  # (h, w, 4)
    rows = kernel(boxes[:, 1], boxes[:, 3], planes.shape[0], height)  # (F, H, h)
    columns = kernel(boxes[:, 0], boxes[:, 2], planes.shape[1], width)  # (F, W, w)
    lines = (rows.reshape(-1, rows.shape[2]) @ planes.reshape(planes.shape[0], -1)).reshape(
        *rows.shape[:2], *planes.shape[1:]
    )
    drawn = columns[:, None] @ lines  # (F, H, W, 4)
    cover = drawn[..., 3:].clip(0, 1)
    return np.concatenate((drawn[..., :3].clip(0, 255 * cover), cover), axis=-1)


def kernel(low: NDArray[np.float64], high: NDArray[np.float64], source: int, target: int) -> NDArray[np.float32]:
    """(F, target, source): the weights of `source` pixels, spread from low (F,) to high (F,), in `target` pixels.

    Keys' cubic (a = -1/2), widened where pixels are many, as PIL's BICUBIC; outside of the source there is nothing.
    """
    per = (source / (high - low))[:, None, None]  # source pixels in a target pixel
    centre = (np.arange(target)[None, :, None] + 0.5 - low[:, None, None]) * per
    wide = np.maximum(per, 1)
    x = np.abs(centre - np.arange(source) - 0.5) / wide
    inner, outer = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return (np.where(x < 1, inner, np.where(x < 2, outer, 0)) / wide).astype(np.float32)


@cache
def _planes(name: str, colour: str | None) -> Drawn:
    """(h, w, 4): a sprite's colours times alpha, and alpha."""
    sprite = sprites()[name, colour].astype(np.float32)
    alpha = sprite[..., 3:] / 255
    return np.concatenate((sprite[..., :3] * alpha, alpha), axis=-1)


def _objects(row: Mapping[str, Any], random: np.random.Generator) -> list[tuple[str, str | None]]:
    include, motion = row["include"], row["motion"]
    if not 1 <= len(include) <= MOST or len(include) != len(motion):
        raise ValueError(f"{len(include)} objects with {len(motion)} motions; a clip has 1 or {MOST}, with one each")
    chosen = random.random(MOST)  # of a colour that is not asked for
    objects = list[tuple[str, str | None]]()
    for clause, moves, draw in zip(include, motion, chosen.tolist(), strict=False):
        name, family = clause["class"], COLOURED.get(clause["class"], ())
        colour = clause.get("color") or (family[int(draw * len(family))] if family else None)
        if name not in VOCABULARY:
            raise ValueError(f"no sprite is called {name!r}; known: {', '.join(VOCABULARY)}")
        if clause.get("color") and colour not in family:
            raise ValueError(f"no {name} is {colour}; {', '.join(family) or 'it has one version'}")
        if moves["direction"] not in DIRECTIONS or moves["size"] not in SIZES:
            raise ValueError(
                f"motion {dict(moves)!r} is none; directions: {', '.join(DIRECTIONS)}; sizes: {', '.join(SIZES)}"
            )
        objects.append((name, colour))
    return objects


def _arrange(
    objects: list[tuple[str, str | None]],
    motion: list[Mapping[str, str]],
    random: np.random.Generator,
    frames: int,
    height: int,
    width: int,
) -> NDArray[np.float64]:
    """(n, F, 4): inside the frame and apart from each other, in every frame. What is drawn does not depend on what is
    asked for, so that rows that differ in one respect give clips that do."""
    side, n = min(height, width), len(objects)
    time = np.linspace(-0.5, 0.5, frames)
    changes = np.array([{"growing": 1, "shrinking": -1, "steady": 0}[each["size"]] for each in motion])
    slope = 2 * (GROWTH - 1) / (GROWTH + 1) * changes
    scale = 1 + slope[:, None] * time  # (n, F)
    directions = np.array([DIRECTIONS[each["direction"]] for each in motion])
    shape = np.array([sprites()[it].shape[1::-1] for it in objects])  # (n, 2) width, height
    bounds = np.array([CHANGING if changed else EXTENT[n] for changed in changes])
    frame, margin = np.array([width, height]), MARGIN * side
    for _ in range(DRAWS):
        share, travel = random.random(MOST)[:n], side * random.uniform(*TRAVEL, MOST)[:n]
        place = random.random((CANDIDATES, MOST, 2))[:, :n]
        offset = (travel[:, None] * directions)[:, None] * time[:, None]  # (n, F, 2)
        extent = side / 32 * (bounds[:, 0] + share * (bounds[:, 1] - bounds[:, 0]))
        for shrink in SHRINK:
            half = (shrink * extent / shape.max(1))[:, None] * shape / 2  # (n, 2)
            reach = scale[..., None] * half[:, None]  # (n, F, 2)
            low, high = margin - (offset - reach).min(1), frame - margin - (offset + reach).max(1)  # (n, 2), middles
            if (low > high).any():
                continue
            centre = (low + place * (high - low))[:, :, None] + offset  # (CANDIDATES, n, F, 2)
            boxes = np.concatenate((centre - reach, centre + reach), axis=-1)
            apart = np.flatnonzero(_apart(boxes, margin))
            if len(apart):
                return boxes[apart[0]]
    raise ValueError(f"no arrangement of its {n} objects keeps them apart in {frames} frames of {height} x {width}")


def _apart(boxes: NDArray[np.float64], air: float) -> NDArray[np.bool_]:
    """(K, n, F, 4) -> (K,): whether no two objects come nearer to each other than `air`."""
    if boxes.shape[1] == 1:
        return np.ones(len(boxes), bool)
    one, two = boxes[:, 0], boxes[:, 1]
    shared = np.minimum(one[..., 2:], two[..., 2:]) - np.maximum(one[..., :2], two[..., :2]) + air  # (K, F, 2)
    near: NDArray[np.bool_] = np.all(shared > 0, axis=-1).any(-1)
    return ~near
