"""Captions that are wrong of a picture in one respect: what a scorer has to tell from the right one.

Made from rows of metadata, never from words; a row's "include" is a list of {"class", "count", "color"?, "position"?}.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from amd.distill.noise import generator

KINDS = ("colour", "count", "object", "position", "binding")
"""A colour, a number, an object is another; the relation is the opposite; two objects' colours are exchanged."""
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}

Clause = Mapping[str, Any]
Include = Sequence[Clause]


@dataclass(frozen=True)
class Negatives:
    """What P pictures show, and wrong captions of each."""

    texts: tuple[str, ...]  # all captions, right and wrong, each once
    right: Tensor  # (P,) int64 into texts
    wrong: Tensor  # (P, kinds) int64 into texts, -1 where a kind does not apply


def negatives(
    rows: Sequence[Mapping[str, Any]],
    caption: Callable[[Include], str],
    names: Sequence[str],
    colours: Mapping[str, Sequence[str]],
    *,
    seed: int = 0,
) -> Negatives:
    """One wrong caption per row and kind, by chance; `names` and `colours` (by object) are what a row may ask for.

    One that another row has as its own is preferred: a caption is then no more often wrong than right, so that nothing
    but the picture tells which it is, and there are fewer texts to encode.
    """
    place: dict[str, int] = {}
    right = [place.setdefault(row["prompt"], len(place)) for row in rows]
    own = len(place)
    most = max(sum(clause["count"] for clause in row["include"]) for row in rows)
    wrong = torch.full((len(rows), len(KINDS)), -1, dtype=torch.int64)
    spoken: dict[str, dict[str, list[str]]] = {}  # the same caption has the same wrong ones
    kept: dict[tuple[str, str], str] = {}
    for i, row in enumerate(rows):
        text = row["prompt"]
        if text not in spoken:
            spoken[text] = {}
            for kind, include in swapped(row["include"], names, colours, most):
                spoken[text].setdefault(kind, []).append(caption(include))
        draw = torch.rand(len(KINDS), generator=generator(seed, i, "negatives"), dtype=torch.float64).tolist()
        for j, kind in enumerate(KINDS):
            found = [each for each in spoken[text].get(kind, []) if each != text]
            if not found:
                continue
            familiar = [each for each in found if place.get(each, own) < own]
            if familiar:
                chosen = familiar[int(draw[j] * len(familiar))]
            else:
                chosen = kept.setdefault((text, kind), found[int(draw[j] * len(found))])
            wrong[i, j] = place.setdefault(chosen, len(place))
    return Negatives(tuple(place), torch.tensor(right, dtype=torch.int64), wrong)


def swapped(
    include: Include, names: Sequence[str], colours: Mapping[str, Sequence[str]], most: int
) -> Iterator[tuple[str, list[Clause]]]:
    """(kind, what is asked for instead), every single change that leaves a row that could have been drawn."""

    def put(place: int, **change: object) -> list[Clause]:
        return [{**clause, **change} if i == place else clause for i, clause in enumerate(include)]

    total, taken = sum(clause["count"] for clause in include), {clause["class"] for clause in include}
    for place, clause in enumerate(include):
        name, colour = clause["class"], clause.get("color")
        yield from (
            ("colour", put(place, color=other)) for other in colours.get(name, ()) if colour not in (None, other)
        )
        numbers = range(1, most - total + clause["count"] + 1)
        yield from (("count", put(place, count=number)) for number in numbers if number != clause["count"])
        for other in names:
            if other not in taken and (colour is None or colour in colours.get(other, ())):
                yield "object", put(place, **{"class": other})
        if "position" in clause:
            relation, anchor = clause["position"]
            yield "position", put(place, position=[OPPOSITE[relation], anchor])
    for i, one in enumerate(include):
        for j, two in enumerate(include[:i]):
            first, second = one.get("color"), two.get("color")
            if None in (first, second) or first == second:
                continue
            if second in colours.get(one["class"], ()) and first in colours.get(two["class"], ()):
                mixed = put(i, color=second)
                mixed[j] = {**two, "color": first}
                yield "binding", mixed
