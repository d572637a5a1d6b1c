"""Tracks: with the truth for detections everything is right, and each thing that is wrong is found alone."""

import pytest

from amd.data.clips import film
from amd.data.emoji import COLOURED, VOCABULARY
from amd.data.motion import DIRECTIONS, KINDS, SIZES, draw_motion
from amd.measure.tracks import Judged, change, follow, heading, judge, kept
from amd.rewards.detection import Detection
from amd.rewards.motion_twins import swapped

F, SIDE = 12, 32


def truth(filmed) -> list[list[Detection]]:
    """What a detector without mistakes says."""
    return [
        [Detection(it.name, 0.9, tuple(it.boxes[frame].tolist()), it.colour) for it in filmed.objects]
        for frame in range(len(filmed.objects[0].boxes))
    ]


def clips(count: int, kinds=KINDS):
    for index in range(count):
        row = draw_motion(9, index, kinds)
        yield row, truth(film(row, index, F, SIDE, SIDE)[1])


def judged(row, frames) -> Judged:
    return judge(row, frames, SIDE, SIDE, COLOURED)


def test_true_clips_are_right_in_every_respect():
    for row, frames in clips(100):
        assert judged(row, frames) == Judged(1, 1, 1, 1)
        assert judged(row, frames).right


def test_a_twin_s_row_is_wrong_in_the_respect_that_differs():
    wrong = {"object": "objects", "colour": "objects", "direction": "direction", "size": "size", "roles": "direction"}
    for row, frames in clips(30):
        changes = swapped(row["include"], row["motion"], VOCABULARY, COLOURED, tuple(DIRECTIONS), SIZES)
        for kind, (include, motion) in changes:
            found = judged({"include": include, "motion": motion}, frames)
            assert getattr(found, wrong[kind]) < 1, (row["prompt"], kind)
            assert not found.right
            if kind not in ("object", "colour"):
                assert found.objects == 1


def test_an_object_that_is_missed_now_and_then_is_still_there():
    row, frames = next(clips(1, ("one-changing",)))
    gaps = [[] if time in (2, 7, 8) else objects for time, objects in enumerate(frames)]
    found = judged(row, gaps)
    assert (found.objects, found.direction, found.size) == (1, 1, 1)
    assert found.identity == pytest.approx(9 / 12)
    rare = [[] if time % 2 else objects for time, objects in enumerate(frames)]
    assert judged(row, rare) == Judged(0, 0, 0, 0.5)
    assert judged(row, [[] for _ in frames]) == Judged(0, 0, 0, 0)


def test_something_else_midway_is_another_identity():
    row, frames = next(clips(1, ("one",)))
    name = row["include"][0]["class"]
    other = next(each for each in VOCABULARY if each != name)
    changed = [[it._replace(class_name=other) for it in frame] if t >= 8 else frame for t, frame in enumerate(frames)]
    assert judged(row, changed).identity == pytest.approx(8 / 12)
    assert judged(row, changed).objects == 0


def test_the_colour_of_what_comes_in_one_means_nothing():
    frames = [[Detection("frog", 0.9, (0, 0, 4, 4), colour)] for colour in ("green", "red", None)]
    assert kept(frames, COLOURED) == 1
    assert kept(frames, {"frog"}) == pytest.approx(1 / 3)


def test_of_several_the_most_confident_is_followed():
    here, there = Detection("cat", 0.9, (0, 0, 8, 8), "black"), Detection("cat", 0.4, (20, 0, 28, 8), "black")
    frames = [[here, there], [there, here], [here]]
    assert follow(frames, "cat", "black", SIDE).direction == "still"
    assert follow(frames, "cat", "yellow", SIDE).present == 0


@pytest.mark.parametrize(
    ("x", "y", "where"),
    [
        (-0.3, 0.1, "left"),
        (0.3, -0.1, "right"),
        (0, -0.2, "up"),
        (0.05, 0.2, "down"),
        (0.09, -0.09, "still"),
        (0.2, 0.2, None),
    ],
)
def test_a_displacement_has_a_direction(x, y, where):
    assert heading(x, y) == where


def test_a_change_of_size_has_a_sign():
    assert [change(growth) for growth in (0.4, -0.4, 0.1, -0.1)] == ["growing", "shrinking", "steady", "steady"]


def test_one_frame_has_no_motion():
    row, frames = next(clips(1))
    with pytest.raises(ValueError, match="1 frames; motion is judged from 2 on"):
        judged(row, frames[:1])
