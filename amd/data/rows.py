"""Rows of metadata as GenEval writes them, drawn at random over the emoji vocabulary, with their captions.

A row is {"tag", "include": [{"class", "count", "color"?, "position"?: [words, index]}], "exclude"?, "prompt"}
(djghosh13/geneval prompts/evaluation_metadata.jsonl). To GenEval's six tasks comes "mixed": counts, colours and
positions at once, in four forms; what a generator has to learn before any task is easy.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from amd.data.emoji import COLOURED, VOCABULARY
from amd.data.layout import DIRECTIONS

Row = Mapping[str, Any]

TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
TRAINING = (*TASKS, "mixed", "mixed")
FORMS = ("coloured count", "two counts", "related counts", "three objects")
"""The forms of a mixed row."""
NUMBERS = ("no", "a", "two", "three", "four")
MOST = len(NUMBERS) - 1  # objects in a picture
IRREGULAR = {"fish": "fish"}


def generator(*key: object) -> np.random.Generator:
    """Random numbers as a function of `key`: equal keys, equal draws, in any process."""
    digest = blake2b("/".join(map(str, key)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "big")))


def draw_metadata(
    seed: int, index: int, kinds: Sequence[str] = TASKS, names: Sequence[str] = VOCABULARY
) -> dict[str, Any]:
    """Row `index` of the stream `seed`, of one of `kinds` (TASKS, "mixed", or one of FORMS), over the objects `names`.

    ValueError for an unknown kind, and where `names` are too few for one.
    """
    random = generator("row", seed, index)
    kind = kinds[int(random.integers(len(kinds)))]
    if kind == "mixed":
        kind = FORMS[int(random.integers(len(FORMS)))]
    if kind not in _DRAWS:
        raise ValueError(f"no kind of row is called {kind!r}; known: {', '.join([*TASKS, 'mixed', *FORMS])}")
    return _DRAWS[kind](random, names)


def caption(include: Sequence[Mapping[str, Any]]) -> str:
    """["include"] -> "two red apples left of a green book"; unrelated objects are listed: "a cat, a dog and a fish"."""
    phrases = [phrase(clause) for clause in include]
    related = [i for i, clause in enumerate(include) if "position" in clause]
    for i in related:
        words, target = include[i]["position"]
        phrases[i] = f"{phrases[i]} {words} {phrase(include[target])}"
    spoken = {include[i]["position"][1] for i in related}
    said = [text for i, text in enumerate(phrases) if i not in spoken]
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"


def phrase(clause: Mapping[str, Any]) -> str:
    """{"class": "apple", "count": 2, "color": "red"} -> "two red apples"; one has its article: "an orange book"."""
    count, words = clause["count"], [clause["class"]]
    if count > 1:
        words = [plural(clause["class"])]
    if "color" in clause:
        words = [clause["color"], *words]
    article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join([article if count == 1 else NUMBERS[count], *words])


def plural(name: str) -> str:
    """'apple' -> 'apples'."""
    return IRREGULAR.get(name, f"{name}s")


def _clause(name: str, count: int = 1, colour: str | None = None) -> dict[str, Any]:
    return {"class": name, "count": count} | ({"color": colour} if colour else {})


def _row(tag: str, include: list[dict[str, Any]]) -> dict[str, Any]:
    """With its caption. A number means exactly that many: one more is excluded, as in GenEval's counting rows."""
    exclude = [{"class": clause["class"], "count": clause["count"] + 1} for clause in include if clause["count"] > 1]
    return {"tag": tag, "include": include} | ({"exclude": exclude} if exclude else {}) | {"prompt": caption(include)}


def _some(random: np.random.Generator, names: Sequence[str], number: int) -> list[str]:
    """Different names, in random order."""
    if len(names) < number:
        raise ValueError(f"{number} different objects are wanted, and there are {', '.join(names) or 'none'}")
    return [names[i] for i in random.permutation(len(names))[:number]]


def _coloured(names: Sequence[str]) -> list[str]:
    return [name for name in names if name in COLOURED]


def _one(random: np.random.Generator, values: Sequence[str]) -> str:
    return values[int(random.integers(len(values)))]


def _perhaps(random: np.random.Generator, name: str) -> str | None:
    """A colour, every second time that the object has several."""
    asked = random.random() < 0.5
    return _one(random, COLOURED[name]) if name in COLOURED and asked else None


def _single_object(random: np.random.Generator, names: Sequence[str]) -> dict[str, Any]:
    return _row("single_object", [_clause(_some(random, names, 1)[0])])


def _two_object(random: np.random.Generator, names: Sequence[str]) -> dict[str, Any]:
    return _row("two_object", [_clause(name) for name in _some(random, names, 2)])


def _counting(random: np.random.Generator, names: Sequence[str]) -> dict[str, Any]:
    return _row("counting", [_clause(_some(random, names, 1)[0], int(random.integers(2, MOST + 1)))])


def _colors(random: np.random.Generator, names: Sequence[str]) -> dict[str, Any]:
    (name,) = _some(random, _coloured(names), 1)
    return _row("colors", [_clause(name, colour=_one(random, COLOURED[name]))])


def _position(random: np.random.Generator, names: Sequence[str]) -> dict[str, Any]:
    target, subject = _some(random, names, 2)
    related = _clause(subject) | {"position": [_one(random, tuple(DIRECTIONS)), 0]}
    return _row("position", [_clause(target), related])


def _color_attr(random: np.random.Generator, names: Sequence[str]) -> dict[str, Any]:
    first, second = _some(random, _coloured(names), 2)
    colour = _one(random, COLOURED[first])
    other = _one(random, [other for other in COLOURED[second] if other != colour])
    return _row("color_attr", [_clause(first, colour=colour), _clause(second, colour=other)])


def _coloured_count(random: np.random.Generator, names: Sequence[str]) -> dict[str, Any]:
    (name,) = _some(random, _coloured(names), 1)
    return _row("mixed", [_clause(name, int(random.integers(2, MOST + 1)), _one(random, COLOURED[name]))])


def _two_counts(random: np.random.Generator, names: Sequence[str], most: int = MOST) -> dict[str, Any]:
    first, second = _some(random, names, 2)
    count = int(random.integers(1, most))
    other = int(random.integers(1, most - count + 1))
    colours = [_perhaps(random, name) for name in (first, second)]
    return _row("mixed", [_clause(first, count, colours[0]), _clause(second, other, colours[1])])


def _related_counts(random: np.random.Generator, names: Sequence[str]) -> dict[str, Any]:
    row = _two_counts(random, names, MOST - 1)  # three left of one would leave no room
    related = row["include"][1] | {"position": [_one(random, tuple(DIRECTIONS)), 0]}
    return _row("mixed", [row["include"][0], related])


def _three_objects(random: np.random.Generator, names: Sequence[str]) -> dict[str, Any]:
    chosen = _some(random, names, 3)
    doubled = int(random.integers(-1, 3))  # -1: none
    counts = [2 if i == doubled else 1 for i in range(3)]
    return _row(
        "mixed", [_clause(name, count, _perhaps(random, name)) for name, count in zip(chosen, counts, strict=True)]
    )


_DRAWS = {
    "single_object": _single_object,
    "two_object": _two_object,
    "counting": _counting,
    "colors": _colors,
    "position": _position,
    "color_attr": _color_attr,
    "coloured count": _coloured_count,
    "two counts": _two_counts,
    "related counts": _related_counts,
    "three objects": _three_objects,
}
