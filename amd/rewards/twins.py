"""Rows of metadata in twins that differ in one respect, so that nothing but the picture tells whose caption is whose.

A scorer that is shown wrong captions of real pictures only learns which captions are usually wrong: "a cat left of a
dog", where the pictures at hand have it on the right. So the wrong caption gets a picture of its own. Made from rows,
never from words; a row's "include" is a list of {"class", "count", "color"?, "position"?}.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from amd.distill.noise import generator

KINDS = {"colour": 1.0, "count": 1.0, "object": 1.0, "position": 10.0, "binding": 10.0}
"""What differs -> how often it is chosen where others could be: a colour, a number, an object is another; the relation
is the opposite; two objects' colours are exchanged. The last two apply to few rows."""
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}

Clause = Mapping[str, Any]
Include = Sequence[Clause]


def twin(
    include: Include,
    names: Sequence[str],
    colours: Mapping[str, Sequence[str]],
    most: int,
    *key: object,
) -> tuple[str, list[Clause]]:
    """(kind, include) of a row's twin, chosen by the hash of `key`.

    `names`, `colours` (by object) and at most `most` objects, one less where there is a relation to leave room for, are
    what a row may ask for. ValueError for a row that nothing can be changed of.
    """
    most -= any("position" in clause for clause in include)
    changes: dict[str, list[list[Clause]]] = {}
    for kind, changed in swapped(include, names, colours, most):
        changes.setdefault(kind, []).append(changed)
    if not changes:
        raise ValueError(f"nothing of {list(include)} can be changed within {len(names)} objects and {most} at once")
    kinds = [kind for kind in KINDS if kind in changes]
    draw = generator("twin", *key)
    kind = kinds[int(torch.multinomial(torch.tensor([KINDS[each] for each in kinds]), 1, generator=draw))]
    return kind, changes[kind][int(torch.randint(len(changes[kind]), (1,), generator=draw))]


def swapped(
    include: Include, names: Sequence[str], colours: Mapping[str, Sequence[str]], most: int
) -> Iterator[tuple[str, list[Clause]]]:
    """Every (kind, include) that differs from `include` in one respect and asks for at most `most` objects."""

    def put(place: int, **change: object) -> list[Clause]:
        return [{**clause, **change} if i == place else clause for i, clause in enumerate(include)]

    present, total = {clause["class"] for clause in include}, sum(clause["count"] for clause in include)
    for i, clause in enumerate(include):
        name, colour, count = clause["class"], clause.get("color"), clause["count"]
        if colour:
            yield from (("colour", put(i, color=other)) for other in colours[name] if other != colour)
        for number in range(1, most - total + count + 1):
            if number != count:
                yield "count", put(i, count=number)
        for other in names:
            if other not in present and (not colour or colour in colours.get(other, ())):
                yield "object", put(i, **{"class": other})
        if "position" in clause:
            words, target = clause["position"]
            yield "position", put(i, position=[OPPOSITE[words], target])
    coloured = [i for i, clause in enumerate(include) if "color" in clause]
    for i in coloured:
        for j in coloured:
            one, two = include[i], include[j]
            fits = two["color"] in colours[one["class"]] and one["color"] in colours[two["class"]]
            if i < j and fits and one["color"] != two["color"]:
                hues = {i: two["color"], j: one["color"]}
                yield "binding", [{**each, "color": hues[k]} if k in hues else each for k, each in enumerate(include)]
