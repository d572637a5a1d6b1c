"""Pictures of what a GenEval-style row of metadata asks for, made of emoji sprites: ground truth for all its tasks.

A scene holds what the row includes and nothing else, on a pastel background whose colour is none of the objects'.
"""

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amd.data.emoji import COLOURED, GROUPS, VOCABULARY, mean_colour, shrunk
from amd.data.layout import DIRECTIONS, Relation, lay_out
from amd.data.rows import MOST, TASKS, TRAINING, draw_metadata, generator

__all__ = ["COLOURED", "GROUPS", "TASKS", "TRAINING", "VOCABULARY", "Placed", "Scene", "compose", "draw_metadata"]

SMALLEST_SIDE = 24
EXTENT = {1: (11, 14), 2: (10, 14), 3: (9, 12), 4: (9, 11)}
"""Objects in the picture -> least and largest of their longer sides, in 32nds of the picture's."""
SHRINK = (1.0, 0.85, 0.7)
PASTELS = 6  # backgrounds tried
FAR = 64.0  # from the mean colour of every object, in RGB of [0, 255]


@dataclass(frozen=True)
class Placed:
    """An object in a picture."""

    name: str
    colour: str | None  # None: it comes in one version
    box: tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels


@dataclass(frozen=True)
class Scene:
    """What is in a picture, in the order of the row's clauses."""

    objects: tuple[Placed, ...]


def compose(metadata: Mapping[str, Any], seed: int, side: int) -> tuple[NDArray[np.uint8], Scene]:
    """A row -> its picture (3, side, side) and what is where; the same seed, the same picture.

    ValueError, naming the prompt, for objects and colours outside the vocabulary, more than four objects, relations
    that it has no room for, and a side under 24.
    """
    if side < SMALLEST_SIDE:
        raise ValueError(f"a scene's side is at least {SMALLEST_SIDE} pixels, not {side}: objects would be smudges")
    random = generator("scene", seed)
    try:
        clauses, relations = _expand(metadata["include"])
        objects = [(name, colour or _any_colour(name, random)) for name, colour in clauses]
        boxes, drawn = _arrange(objects, relations, side, random)
    except ValueError as error:
        raise ValueError(f"scene of {metadata.get('prompt')!r}: {error}") from None
    picture = background(objects, side, random)
    for (x0, y0, x1, y1), (colours, alpha) in zip(boxes, drawn, strict=True):
        picture[y0:y1, x0:x1] = picture[y0:y1, x0:x1] * (1 - alpha) + colours
    placed = tuple(
        Placed(name, colour, (float(box[0]), float(box[1]), float(box[2]), float(box[3])))
        for (name, colour), box in zip(objects, boxes, strict=True)
    )
    return np.ascontiguousarray(picture.round().astype(np.uint8).transpose(2, 0, 1)), Scene(placed)


Drawn = tuple[NDArray[np.float32], NDArray[np.float32]]


def _arrange(
    objects: list[tuple[str, str | None]], relations: list[Relation], side: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], list[Drawn]]:
    """Boxes (n, 4) and sprites of their sizes; where a row is too crowded for the usual sizes, they shrink."""
    least, most = EXTENT[len(objects)]
    extents = side / 32 * random.uniform(least, most, len(objects))
    for shrink in SHRINK:
        drawn = [shrunk(*it, round(extent * shrink)) for it, extent in zip(objects, extents.tolist(), strict=True)]
        sizes = np.array([alpha.shape[1::-1] for _, alpha in drawn])  # (n, 2) as width, height
        if (boxes := lay_out(sizes, relations, side, random)) is not None:
            return boxes, drawn
    raise ValueError(f"no arrangement of its {len(objects)} objects has all relations true at side {side}")


def _expand(include: list[Mapping[str, Any]]) -> tuple[list[tuple[str, str | None]], list[Relation]]:
    """Clauses -> one (object, colour or None) for each object, and the relations between them."""
    objects: list[tuple[str, str | None]] = []
    places: list[range] = []
    relations: list[Relation] = []
    for clause in include:
        name, colour = clause["class"], clause.get("color")
        if name not in VOCABULARY:
            raise ValueError(f"no sprite is called {name!r}; known: {', '.join(VOCABULARY)}")
        if colour and colour not in COLOURED.get(name, ()):
            raise ValueError(f"no {name} is {colour}; {', '.join(COLOURED.get(name, ())) or 'it has one version'}")
        places.append(range(len(objects), len(objects) + clause["count"]))
        objects += [(name, colour)] * clause["count"]
        if "position" in clause:
            words, target = clause["position"]
            if words not in DIRECTIONS or target not in range(len(places) - 1):
                raise ValueError(
                    f"position {clause['position']!r} is none; words: {', '.join(DIRECTIONS)}, then an earlier clause"
                )
            relations += [Relation(i, words, j) for i in places[-1] for j in places[target]]
    if not 1 <= len(objects) <= MOST:
        raise ValueError(f"{len(objects)} objects; a scene has 1 to {MOST}")
    return objects, relations


def _any_colour(name: str, random: np.random.Generator) -> str | None:
    family = COLOURED.get(name)
    return family[int(random.integers(len(family)))] if family else None


def background(objects: list[tuple[str, str | None]], side: int, random: np.random.Generator) -> NDArray[np.float32]:
    """(side, side, 3) in [0, 255]: a pastel with a slight slope of brightness, unlike every object."""
    hsv = random.uniform((0, 0.08, 0.86), (1, 0.26, 1), (PASTELS, 3))
    pastels = 255 * np.array([colorsys.hsv_to_rgb(*it) for it in hsv.tolist()])
    seen = np.stack([mean_colour(name, colour) for name, colour in objects])
    distance = np.linalg.norm(pastels[:, None] - seen, axis=-1).min(1)
    far = np.flatnonzero(distance >= FAR)
    pastel = pastels[far[0] if len(far) else int(distance.argmax())]
    ramp = np.linspace(-1, 1, side)
    slope = random.uniform(-0.04, 0.04, 2)
    brightness = 1 + slope[0] * ramp[:, None, None] + slope[1] * ramp[None, :, None]
    return np.minimum(pastel * brightness, 255).astype(np.float32)
