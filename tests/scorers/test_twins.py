"""Twins: one respect differs, and each caption is false of the other's picture."""

from collections import Counter

import pytest

from amd.data.emoji import COLOURED, VOCABULARY
from amd.data.rows import MOST, TRAINING, caption, draw_metadata
from amd.data.scenes import Scene, compose
from amd.measure.geneval import Rules, evaluate
from amd.rewards.detection import Detection
from amd.rewards.twins import KINDS, swapped, twin

ROWS = [draw_metadata(3, index, TRAINING) for index in range(240)]
TWINS = [twin(row["include"], VOCABULARY, COLOURED, MOST, index) for index, row in enumerate(ROWS)]


def exactly(include) -> dict:
    """A row that wants these objects and no more of them."""
    exclude = [{"class": clause["class"], "count": clause["count"] + 1} for clause in include]
    return {"tag": "mixed", "include": list(include), "exclude": exclude, "prompt": caption(include)}


def true_of(include, scene: Scene) -> bool:
    """By GenEval's rules, of what is known to be there."""
    found = [Detection(it.name, 1.0, it.box, it.colour) for it in scene.objects]
    return evaluate(exactly(include), found, Rules()).correct


def test_each_caption_is_true_of_its_own_picture_and_false_of_the_twins():
    for index, (row, (kind, other)) in enumerate(zip(ROWS, TWINS, strict=True)):
        mine, theirs = compose(row, index, 32)[1], compose(exactly(other), 10_000 + index, 32)[1]
        assert true_of(row["include"], mine), row["prompt"]
        assert true_of(other, theirs), caption(other)
        assert not true_of(other, mine), (kind, row["prompt"], caption(other))
        assert not true_of(row["include"], theirs), (kind, row["prompt"], caption(other))


def test_one_respect_differs():
    said = {"colour": "color", "count": "count", "object": "class", "position": "position", "binding": "color"}
    for row in ROWS[:60]:
        for kind, other in swapped(row["include"], VOCABULARY, COLOURED, MOST):
            changed = [
                key
                for one, two in zip(row["include"], other, strict=True)
                for key in one.keys() | two.keys()
                if one.get(key) != two.get(key)
            ]
            assert changed == [said[kind]] * (2 if kind == "binding" else 1)


def test_swapping_back_is_among_the_swaps():
    for row, (kind, other) in zip(ROWS, TWINS, strict=True):
        assert (kind, list(row["include"])) in list(swapped(other, VOCABULARY, COLOURED, MOST))


def test_every_kind_occurs_and_relations_are_turned_around_where_there_are_some():
    kinds = Counter(kind for kind, _ in TWINS)
    assert kinds.keys() == KINDS.keys()
    related = [any("position" in clause for clause in row["include"]) for row in ROWS]
    assert kinds["position"] > sum(related) / 2


def test_the_same_key_gives_the_same_twin():
    again = [twin(row["include"], VOCABULARY, COLOURED, MOST, index) for index, row in enumerate(ROWS)]
    assert again == TWINS


def test_a_row_that_cannot_be_changed_is_refused():
    with pytest.raises(ValueError, match=r"nothing of .* can be changed within 1 objects and 1 at once"):
        twin([{"class": "star", "count": 1}], ["star"], {}, 1)
