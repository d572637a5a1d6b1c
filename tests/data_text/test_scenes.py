"""Scenes: what a row asks for is there, once, where it should be, and can be seen."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from amd.data.emoji import shrunk, sprites
from amd.data.layout import ASKED_FROM, DIRECTIONS, TRUE_FROM, relative_position
from amd.data.rows import FORMS, TASKS, TRAINING
from amd.data.scenes import COLOURED, EXTENT, compose, draw_metadata

SIDES = (24, 32, 48)


def scenes(side: int, count: int = 250, kinds=TRAINING):
    for index in range(count):
        row = draw_metadata(11, index, kinds)
        yield row, *compose(row, index, side)


@pytest.mark.parametrize("side", SIDES)
def test_a_scene_holds_what_its_row_includes_and_nothing_else(side):
    for row, picture, scene in scenes(side):
        assert picture.shape == (3, side, side)
        assert picture.dtype == np.uint8
        asked = Counter({clause["class"]: clause["count"] for clause in row["include"]})
        assert Counter(it.name for it in scene.objects) == asked
        for clause in row["include"]:
            for it in (it for it in scene.objects if it.name == clause["class"]):
                assert it.colour == clause.get("color", it.colour)
                assert (it.colour in COLOURED[it.name]) if it.name in COLOURED else it.colour is None


@pytest.mark.parametrize("side", SIDES)
def test_relations_hold_in_geneval_s_sense_with_a_margin(side):
    for row, _, scene in scenes(side, kinds=("position", "related counts")):
        clause = row["include"][1]
        words, target = clause["position"]
        axis, sign = DIRECTIONS[words]
        for it in (it for it in scene.objects if it.name == clause["class"]):
            for other in (it for it in scene.objects if it.name == row["include"][target]["class"]):
                assert relative_position(np.array(it.box), np.array(other.box))[axis] * sign > ASKED_FROM


def test_single_pairs_stand_in_one_relation_only():
    """ "left of" is not also "above": the picture of a position prompt has one description."""
    blurred = 0
    for row, _, scene in scenes(32, 500, ("position",)):
        other = 1 - DIRECTIONS[row["include"][1]["position"][0]][0]
        subject, target = np.array(scene.objects[1].box), np.array(scene.objects[0].box)
        blurred += abs(relative_position(subject, target)[other]) > TRUE_FROM
    assert blurred == 0


def test_relative_position_is_geneval_s():
    """Against the reference's own function on recorded boxes."""
    file = Path(__file__).parents[1] / "data" / "geneval_cases.json"
    for case in json.loads(file.read_text())["relative_position"]:
        relative = relative_position(np.array(case["a"], float), np.array(case["b"], float))
        found = {words for words, (axis, sign) in DIRECTIONS.items() if relative[axis] * sign > TRUE_FROM}
        assert found == set(case["relations"]), case


@pytest.mark.parametrize("side", SIDES)
def test_objects_are_inside_of_their_size_and_hardly_overlap(side):
    shares = []
    for _, _, scene in scenes(side):
        boxes = np.array([it.box for it in scene.objects])
        longer = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
        least, most = EXTENT[len(boxes)]
        assert boxes.min() >= 0
        assert boxes.max() <= side
        assert (longer >= 0.7 * least * side / 32 - 0.5).all()
        assert (longer <= most * side / 32 + 0.5).all()
        for i in range(len(boxes)):
            for j in range(i):
                shared = np.minimum(boxes[i, 2:], boxes[j, 2:]) - np.maximum(boxes[i, :2], boxes[j, :2])
                shares.append(np.maximum(shared, 0).prod() / (boxes[i, 2:] - boxes[i, :2]).prod())
    assert np.mean(np.array(shares) > 0) < 0.02
    assert max(shares) < 0.15


@pytest.mark.parametrize(("side", "least"), [(24, 0.99), (32, 0.995), (48, 0.995)])
def test_every_object_can_be_recognised(side, least):
    """The nearest of all 55 sprites, drawn at the box's size on the background beside it, is the right one, colour and
    all; what is drawn where the scene says it is."""
    right = total = 0
    for _, picture, scene in scenes(side, 120):
        seen = picture.astype(np.float32).transpose(1, 2, 0)
        ground = background(seen, scene)
        for it in scene.objects:
            x0, y0, x1, y1 = map(int, it.box)
            distance = {}
            for key in sprites():
                colours, alpha = shrunk(*key, max(x1 - x0, y1 - y0))
                if abs(alpha.shape[0] - (y1 - y0)) + abs(alpha.shape[1] - (x1 - x0)) <= 1:
                    h, w = min(alpha.shape[0], y1 - y0), min(alpha.shape[1], x1 - x0)
                    drawn = ground * (1 - alpha[:h, :w]) + colours[:h, :w]
                    distance[key] = np.abs(drawn - seen[y0 : y0 + h, x0 : x0 + w]).mean()
            right += min(distance, key=distance.__getitem__) == (it.name, it.colour)
            total += 1
    assert right / total >= least


def background(seen, scene) -> np.ndarray:
    """(3,) the median colour outside of all boxes."""
    free = np.ones(seen.shape[:2], bool)
    for it in scene.objects:
        x0, y0, x1, y1 = map(int, it.box)
        free[y0:y1, x0:x1] = False
    return np.median(seen[free], axis=0)


def test_the_background_is_a_pastel_unlike_every_object():
    for _, picture, scene in scenes(32, 300):
        seen = picture.astype(np.float32).transpose(1, 2, 0)
        ground = background(seen, scene)
        assert ground.min() > 140
        for it in scene.objects:
            x0, y0, x1, y1 = map(int, it.box)
            inside = np.linalg.norm(seen[y0:y1, x0:x1] - ground, axis=-1)
            assert np.mean(inside > 30) > 0.3, it  # of the box's pixels stand out


def test_a_picture_is_a_function_of_row_seed_and_side():
    row = draw_metadata(0, 0, ("three objects",))
    one, again, other = compose(row, 1, 32), compose(row, 1, 32), compose(row, 2, 32)
    assert np.array_equal(one[0], again[0])
    assert one[1] == again[1]
    assert not np.array_equal(one[0], other[0])


@pytest.mark.parametrize("kind", [*TASKS, *FORMS])
def test_every_row_can_be_composed_at_the_smallest_side(kind):
    for row, _, scene in scenes(24, 150, (kind,)):
        assert len(scene.objects) == sum(clause["count"] for clause in row["include"])


CHAIN = ("circle", "square", "heart", "star")  # as wide as long: four of them do not fit in a line


def clause(name, count=1, **more):
    return {"class": name, "count": count, **more}


@pytest.mark.parametrize(
    ("include", "complaint"),
    [
        ([clause("toaster")], "'a prompt': no sprite is called 'toaster'; known: heart, circle"),
        ([clause("apple", color="blue")], "no apple is blue; red, green"),
        ([clause("frog", color="green")], "no frog is green; it has one version"),
        ([clause("frog", 5)], "5 objects; a scene has 1 to 4"),
        ([], "0 objects; a scene has 1 to 4"),
        ([clause("frog"), clause("cat", position=["near", 0])], r"position \['near', 0\] is none; words: left of"),
        ([clause("frog"), clause("cat", position=["above", 1])], r"position \['above', 1\] is none"),
        (
            [clause(name, **({"position": ["left of", i - 1]} if i else {})) for i, name in enumerate(CHAIN)],
            "no arrangement of its 4 objects has all relations true at side 32",
        ),
    ],
)
def test_what_cannot_be_composed_is_refused(include, complaint):
    with pytest.raises(ValueError, match=complaint):
        compose({"include": include, "prompt": "a prompt"}, 0, 32)


def test_a_side_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="at least 24 pixels, not 16"):
        compose(draw_metadata(0, 0), 0, 16)
