"""Rows of motion in twins that differ in one respect, as `amd.rewards.twins` makes them of pictures' rows.

A row is "include", a list of {"class", "count": 1, "color"?}, beside "motion", a list of {"direction", "size"}.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from amd.distill.noise import generator

KINDS = {"object": 1.0, "colour": 1.0, "direction": 2.0, "size": 1.0, "roles": 2.0}
"""What differs -> how often it is chosen where others could be: an object, a colour, a direction, a change of size is
another; two objects that move differently exchange their motions."""

Clause = Mapping[str, Any]
Asked = tuple[list[Clause], list[Mapping[str, str]]]
"""(include, motion)."""


def twin(
    include: Sequence[Clause],
    motion: Sequence[Mapping[str, str]],
    names: Sequence[str],
    colours: Mapping[str, Sequence[str]],
    directions: Sequence[str],
    sizes: Sequence[str],
    *key: object,
) -> tuple[str, Asked]:
    """(kind, what the twin asks for), chosen by the hash of `key`.

    `names`, `colours` (by object), `directions` and `sizes` are what a row may ask for. Sizes change of lone objects
    only. ValueError for a row that nothing can be changed of.
    """
    changes: dict[str, list[Asked]] = {}
    for kind, changed in swapped(include, motion, names, colours, directions, sizes):
        changes.setdefault(kind, []).append(changed)
    if not changes:
        raise ValueError(f"nothing of {list(include)} with {list(motion)} can be changed within what a row may ask for")
    kinds = [kind for kind in KINDS if kind in changes]
    draw = generator("motion twin", *key)
    kind = kinds[int(torch.multinomial(torch.tensor([KINDS[each] for each in kinds]), 1, generator=draw))]
    return kind, changes[kind][int(torch.randint(len(changes[kind]), (1,), generator=draw))]


def swapped(
    include: Sequence[Clause],
    motion: Sequence[Mapping[str, str]],
    names: Sequence[str],
    colours: Mapping[str, Sequence[str]],
    directions: Sequence[str],
    sizes: Sequence[str],
) -> Iterator[tuple[str, Asked]]:
    """Every (kind, (include, motion)) that differs in one respect."""

    def put(place: int, clause: Clause | None = None, **change: str) -> Asked:
        objects, moves = list(include), list(motion)
        objects[place], moves[place] = clause or objects[place], {**moves[place], **change}
        return objects, moves

    there = {(clause["class"], clause.get("color")) for clause in include}
    present = {clause["class"] for clause in include}
    for i, (clause, moves) in enumerate(zip(include, motion, strict=True)):
        name, colour = clause["class"], clause.get("color")
        for other in names:
            hues = colours.get(other)  # where it comes in several, one is named, as rows do; the same if there is one
            if other in present or (colour and hues and colour not in hues):
                continue
            named: Sequence[str | None] = [colour] if colour and hues else hues or [None]
            for hue in named:
                changed = {key: value for key, value in clause.items() if key != "color"} | {"class": other}
                yield "object", put(i, changed | ({"color": hue} if hue else {}))
        if colour:
            for hue in colours[name]:
                if (name, hue) not in there:
                    yield "colour", put(i, {**clause, "color": hue})
        for direction in directions:
            if direction != moves["direction"]:
                yield "direction", put(i, direction=direction)
        if len(include) == 1:
            for size in sizes:
                if size != moves["size"]:
                    yield "size", put(i, size=size)
    if len(motion) == 2 and motion[0] != motion[1]:
        yield "roles", (list(include), [motion[1], motion[0]])
