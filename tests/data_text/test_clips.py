"""Clips: what a row asks for is there in every frame, moves as asked at constant velocity, and is where its box is."""

from collections import Counter

import numpy as np
import pytest

from amd.data.clips import EXTENT, GROWTH, TRAVEL, film, kernel
from amd.data.emoji import COLOURED, VOCABULARY
from amd.data.motion import DIRECTIONS, KINDS, MOVES, TRAINING, caption, draw_motion, moving
from amd.data.scenes import Scene

F, SIDE = 12, 32


def clips(kinds=TRAINING, count: int = 60, frames: int = F, height: int = SIDE, width: int = SIDE):
    for index in range(count):
        row = draw_motion(5, index, kinds)
        yield row, *film(row, index, frames, height, width)


def centres(boxes):
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def clause(name, colour=None):
    return {"class": name, "count": 1} | ({"color": colour} if colour else {})


def goes(direction, size="steady"):
    return {"direction": direction, "size": size}


# --- rows ------------------------------------------------------------------------------------------------------------


def test_captions_say_what_moves_how():
    assert caption([clause("heart", "red")], [goes("left", "growing")]) == "a red heart moving left, growing"
    assert caption([clause("cat", "black")], [goes("up")]) == "a black cat moving up"
    both = [clause("apple", "green"), clause("book", "orange")]
    assert (
        caption(both, [goes("right"), goes("still")]) == "a green apple moving right and an orange book standing still"
    )
    assert caption([clause("tree")], [goes("still", "shrinking")]) == "a tree standing still, shrinking"


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_of_their_kind(kind):
    for index in range(80):
        row = draw_motion(1, index, (kind,))
        include, motion = row["include"], row["motion"]
        assert row["tag"] == kind
        assert row["prompt"] == caption(include, motion)
        assert len(include) == len(motion) in {"two": (2,), "alike": (2,), "still": (1, 2)}.get(kind, (1,))
        for each in include:
            assert each["count"] == 1
            assert each.get("color") in COLOURED.get(each["class"], (None,))  # named where there are several
        assert (motion[0]["size"] != "steady") == (kind == "one-changing")
        still = [each["direction"] == "still" for each in motion]
        assert all(still) if kind == "still" else kind == "one-changing" or not all(still)
        same = len({each["class"] for each in include}) == 1
        assert same == (kind == "alike" or len(include) == 1)
        if kind == "alike":
            assert include[0]["color"] != include[1]["color"]
            assert motion[0] != motion[1]


def test_every_direction_is_drawn_about_as_often():
    found = Counter(draw_motion(2, index, ("one",))["motion"][0]["direction"] for index in range(400))
    assert set(found) == set(MOVES)
    assert min(found.values()) > 70


def test_rows_keep_to_the_names_they_are_given():
    for index in range(30):
        row = draw_motion(0, index, KINDS, ("cat", "frog"))
        assert {each["class"] for each in row["include"]} <= {"cat", "frog"}
    assert len(draw_motion(0, 0, ("still",), ("frog",))["include"]) == 1
    with pytest.raises(ValueError, match="2 different objects are wanted, and there are frog"):
        draw_motion(0, 0, ("two",), ("frog",))
    with pytest.raises(ValueError, match="an object of two colours is wanted, and there are frog"):
        draw_motion(0, 0, ("alike",), ("frog",))
    with pytest.raises(ValueError, match="no kind of motion is called 'three'; known: one, one-changing"):
        draw_motion(0, 0, ("three",))


# --- clips -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames", "height", "width"), [(F, SIDE, SIDE), (5, 32, 56), (9, 48, 40)])
def test_a_clip_holds_what_its_row_asks_for_inside_of_every_frame(frames, height, width):
    for row, clip, filmed in clips(count=40, frames=frames, height=height, width=width):
        assert clip.shape == (3, frames, height, width)
        assert clip.dtype == np.uint8
        for asked, it in zip(row["include"], filmed.objects, strict=True):
            assert it.name == asked["class"]
            assert it.colour == asked.get("color")
            assert it.boxes.shape == (frames, 4)
            assert it.boxes.min() >= min(height, width) / 32 - 1e-9
            assert (it.boxes[:, 2:] <= np.array([width, height]) - min(height, width) / 32 + 1e-9).all()


def test_objects_move_as_asked_at_constant_velocity():
    for row, _, filmed in clips(count=120):
        for asked, it in zip(row["motion"], filmed.objects, strict=True):
            assert np.abs(np.diff(it.boxes, 2, axis=0)).max() < 1e-9
            path = centres(it.boxes)
            way = path[-1] - path[0]
            towards = np.array(DIRECTIONS[asked["direction"]])
            length = way @ towards
            assert np.allclose(way, length * towards, atol=1e-9)
            moves = asked["direction"] != "still"
            assert TRAVEL[0] * SIDE <= length <= TRAVEL[1] * SIDE if moves else length == 0
            sides = it.boxes[:, 2:] - it.boxes[:, :2]
            ratio = {"growing": GROWTH, "shrinking": 1 / GROWTH, "steady": 1}[asked["size"]]
            assert np.allclose(sides[-1] / sides[0], ratio)
            if asked["size"] == "steady":
                least, most = EXTENT[len(filmed.objects)]
                assert 0.7 * least <= sides[0].max() <= most


def test_objects_keep_apart():
    for _, _, filmed in clips(("two", "alike"), 80):
        one, two = (it.boxes for it in filmed.objects)
        shared = np.minimum(one[:, 2:], two[:, 2:]) - np.maximum(one[:, :2], two[:, :2])
        assert not (shared > 0).all(1).any()


def test_an_object_is_where_its_box_is():
    """A box ends where the picture stops being the background; half a pixel's shade is beyond it or missing."""
    for _, clip, filmed in clips(("one", "one-changing"), 40):
        seen = clip.astype(np.float32).transpose(1, 2, 3, 0)
        for frame, (x0, y0, x1, y1) in zip(seen, filmed.objects[0].boxes, strict=True):
            border = np.concatenate((frame[0], frame[-1], frame[:, 0], frame[:, -1]))
            stands_out = np.abs(frame - np.median(border, 0)).max(-1) > 28
            rows, columns = np.flatnonzero(stands_out.any(1)), np.flatnonzero(stands_out.any(0))
            found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            assert np.abs(found - [x0, y0, x1, y1]).max() < 2.1


def test_an_object_looks_the_same_wherever_it_is():
    """Shifted by whole pixels it is the same picture: nothing jitters."""
    boxes = np.array([[3.3, 4.6, 12.1, 13.9], [8.3, 4.6, 17.1, 13.9]])
    weights = kernel(boxes[:, 0], boxes[:, 2], 72, SIDE)
    assert np.allclose(weights[0, :-5], weights[1, 5:], atol=1e-6)
    # the kernel shares a source pixel out over about as much as it covers, and mixes inside without darkening
    assert np.allclose(weights.sum(1), 8.8 / 72, rtol=0.1)
    assert np.allclose(weights[0, 6:10].sum(1), 1, atol=1e-3)


def test_brightness_does_not_flicker():
    """The sum over a clip's frames changes linearly, as the object covers more or less of a slope of brightness."""
    for _, clip, _ in clips(("one", "still", "two"), 40):
        mean = clip.astype(np.float64).mean((2, 3))  # (3, F)
        assert np.abs(np.diff(mean, 2, axis=1)).max() < 0.35  # of 255: rounding to 8 bits, and edges between pixels


def test_a_clip_is_a_function_of_row_and_seed():
    row = draw_motion(0, 0)
    one, again, other = film(row, 1, F, SIDE, SIDE), film(row, 1, F, SIDE, SIDE), film(row, 2, F, SIDE, SIDE)
    assert np.array_equal(one[0], again[0])
    assert np.array_equal(one[1].objects[0].boxes, again[1].objects[0].boxes)
    assert not np.array_equal(one[0], other[0])


def test_of_one_seed_another_object_takes_the_same_path():
    for seed in range(20):
        motion = [goes("left", "growing")]
        (red,), (frog,) = (
            film(moving([each], motion, "one-changing"), seed, F, SIDE, SIDE)[1].objects
            for each in (clause("heart", "red"), clause("circle", "blue"))
        )
        assert np.allclose(np.diff(centres(red.boxes), axis=0), np.diff(centres(frog.boxes), axis=0))
        assert np.abs(centres(red.boxes) - centres(frog.boxes)).max() < 1


def test_a_frame_is_a_scene():
    _, _, filmed = next(clips(("two",), 1))
    scene = filmed.scene(7)
    assert isinstance(scene, Scene)
    assert [it.name for it in scene.objects] == [it.name for it in filmed.objects]
    assert scene.objects[1].box == tuple(filmed.objects[1].boxes[7])


@pytest.mark.parametrize(
    ("include", "motion", "complaint"),
    [
        ([clause("toaster")], [goes("left")], "'a prompt': no sprite is called 'toaster'; known: heart, circle"),
        ([clause("apple", "blue")], [goes("left")], "no apple is blue; red, green"),
        ([clause("frog", "green")], [goes("left")], "no frog is green; it has one version"),
        ([clause("frog")], [goes("back")], r"'direction': 'back'.* is none; directions: left, right"),
        ([clause("frog")], [goes("left", "melting")], "is none; directions: .*; sizes: growing, shrinking"),
        ([clause("frog")], [], "1 objects with 0 motions; a clip has 1 or 2, with one each"),
        ([clause(name) for name in VOCABULARY[:3]], [goes("left")] * 3, "3 objects with 3 motions"),
    ],
)
def test_what_cannot_be_filmed_is_refused(include, motion, complaint):
    with pytest.raises(ValueError, match=complaint):
        film({"include": include, "motion": motion, "prompt": "a prompt"}, 0, F, SIDE, SIDE)


@pytest.mark.parametrize("shape", [(1, 32, 32), (12, 16, 32), (12, 32, 16)])
def test_a_clip_that_is_too_small_is_refused(shape):
    with pytest.raises(ValueError, match="at least 2 frames and sides of 24 pixels"):
        film(draw_motion(0, 0), 0, *shape)


def test_every_prompt_has_a_first_frame_though_its_first_draws_may_collide():
    """Two that move across each other's way: not every draw of sizes and places keeps them apart."""
    include = [{"class": "square", "count": 1, "color": colour} for colour in ("green", "red")]
    row = moving(include, [{"direction": way, "size": "steady"} for way in ("right", "down")], "alike")
    for seed in range(400):
        film(row, seed, 9, 24, 24)
