"""Rows that say what moves how, drawn at random over objects that small clips can show, with their captions.

A row is {"tag", "include": [{"class", "count": 1, "color"?}], "motion": [{"direction", "size"}], "prompt"}: clauses as
GenEval writes them (`amd.data.rows`), one object each, and beside each how it moves. Colours are named where an object
comes in several. How fast is not asked: a caption says nothing of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from amd.data.emoji import COLOURED
from amd.data.rows import generator, phrase

Motion = Mapping[str, str]
"""{"direction": one of DIRECTIONS, "size": one of SIZES}."""

DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}
"""Where the centre goes, x and y, y downwards as in pictures."""
SIZES = ("growing", "shrinking", "steady")
MOVES = tuple(name for name in DIRECTIONS if name != "still")
KINDS = ("one", "one-changing", "two", "alike", "still")
"""One object that moves; one that changes its size, perhaps moving; two objects, at least one moving; two of a class in
two colours, which move differently; one or two that stand still."""
TRAINING = ("one", "one", "one", "one-changing", "one-changing", "two", "alike", "still")
OBJECTS = ("heart", "circle", "square", "star", "apple", "mushroom", "car", "tree")
"""What clips show: of the sprites, eight (36 with their colours) that ten pixels tell apart."""


def draw_motion(
    seed: int, index: int, kinds: Sequence[str] = TRAINING, names: Sequence[str] = OBJECTS
) -> dict[str, Any]:
    """Row `index` of the stream `seed`, of one of `kinds` (KINDS), over the objects `names`.

    ValueError for an unknown kind, and where `names` are too few for one.
    """
    random = generator("motion", seed, index)
    kind = _one(random, kinds)
    if kind not in KINDS:
        raise ValueError(f"no kind of motion is called {kind!r}; known: {', '.join(KINDS)}")
    number = 2 if kind in ("two", "alike") or (kind == "still" and len(names) > 1 and random.random() < 0.5) else 1
    include = _alike(random, names) if kind == "alike" else _different(random, names, number)
    motion = [{"direction": direction, "size": "steady"} for direction in _directions(random, kind, number)]
    if kind == "one-changing":
        motion[0]["size"] = _one(random, ("growing", "shrinking"))
    return moving(include, motion, kind)


def moving(include: Sequence[Mapping[str, Any]], motion: Sequence[Motion], tag: str) -> dict[str, Any]:
    """A row with its caption."""
    return {"tag": tag, "include": list(include), "motion": list(motion), "prompt": caption(include, motion)}


def caption(include: Sequence[Mapping[str, Any]], motion: Sequence[Motion]) -> str:
    """ "a red heart moving left, growing", "a green apple moving right and a blue book standing still"."""
    return " and ".join(f"{phrase(clause)} {said(each)}" for clause, each in zip(include, motion, strict=True))


def said(motion: Motion) -> str:
    """{"direction": "left", "size": "growing"} -> "moving left, growing"."""
    moves = "standing still" if motion["direction"] == "still" else f"moving {motion['direction']}"
    return moves if motion["size"] == "steady" else f"{moves}, {motion['size']}"


def _one(random: np.random.Generator, values: Sequence[str]) -> str:
    return values[int(random.integers(len(values)))]


def _different(random: np.random.Generator, names: Sequence[str], number: int) -> list[dict[str, Any]]:
    if len(names) < number:
        raise ValueError(f"{number} different objects are wanted, and there are {', '.join(names) or 'none'}")
    chosen = [names[i] for i in random.permutation(len(names))[:number]]
    return [_clause(name, _one(random, COLOURED[name]) if name in COLOURED else None) for name in chosen]


def _alike(random: np.random.Generator, names: Sequence[str]) -> list[dict[str, Any]]:
    """Two of one class, in different colours."""
    several = [name for name in names if name in COLOURED]
    if not several:
        raise ValueError(f"an object of two colours is wanted, and there are {', '.join(names) or 'none'}")
    name = _one(random, several)
    return [_clause(name, COLOURED[name][i]) for i in random.permutation(len(COLOURED[name]))[:2]]


def _directions(random: np.random.Generator, kind: str, number: int) -> list[str]:
    """One per object: any that moves, of a lone object that keeps its size; else standing still is one of five."""
    if kind == "still":
        return ["still"] * number
    if kind == "one":
        return [_one(random, MOVES)]
    first = _one(random, tuple(DIRECTIONS))
    others = tuple(each for each in DIRECTIONS if each != first) if kind == "alike" else tuple(DIRECTIONS)
    if kind == "two" and first == "still":
        others = MOVES
    return [first, *(_one(random, others) for _ in range(number - 1))]


def _clause(name: str, colour: str | None) -> dict[str, Any]:
    return {"class": name, "count": 1} | ({"color": colour} if colour else {})
