"""Real clips of sprites under their own judges: whoever sees what is there gives every mark."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from amd.config.load import load
from amd.data.clips import film
from amd.data.motion import KINDS, draw_motion, moving
from amd.measure import efflite
from amd.measure.block_matching import flow
from amd.measure.sprite_clips import DIMENSIONS, semantics, still, way
from amd.measure.sprite_vbench import dynamic, smoothness
from amd.measure.vbench_clips import consistency, steadiness
from amd.rewards.detection import Detection

torch.set_num_threads(1)
CLIPS = load(Path(__file__).parents[2] / "config").domains["clips"]
assert CLIPS.clip is not None
OWN = (CLIPS.clip.frames, CLIPS.pixels[1], CLIPS.clip.width), CLIPS.clip.fps  # those that are judged
SHAPES = [((12, 32, 32), 8), OWN]
Shape = tuple[int, int, int]
sizes = pytest.mark.parametrize(("shape", "fps"), SHAPES, ids=lambda it: str(it))


def filmed(kind: str, index: int, shape: Shape) -> tuple[dict[str, object], Tensor, list[list[Detection]]]:
    """A row of this kind, its clip, and its truth as a detector would say it."""
    row = draw_motion(3, index, [kind])
    clip, known = film(row, index, *shape)
    frames = [[Detection(it.name, 0.9, tuple(it.boxes[t]), it.colour) for it in known.objects] for t in range(shape[0])]
    return row, torch.from_numpy(clip), frames


@sizes
@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_of_a_clip_has_every_mark_that_is_asked(kind, shape, fps):
    for index in range(20):
        row, _, frames = filmed(kind, index, shape)
        found = semantics(row, frames, *shape[1:])
        assert set(found) == set(DIMENSIONS)
        assert {value for value in found.values() if value is not None} == {1.0}
        assert (found["multiple_objects"] is None) == (len({each["class"] for each in row["include"]}) == 1)


@sizes
def test_backwards_goes_the_other_way_and_a_frozen_clip_goes_nowhere(shape, fps):
    for index in range(10):
        row, _, frames = filmed("one", index, shape)
        assert semantics(row, frames[::-1], *shape[1:])["human_action"] == 0
        assert semantics(row, frames[:1] * shape[0], *shape[1:])["human_action"] == 0


@sizes
def test_a_clip_in_which_something_moves_is_dynamic_and_smooth_and_its_first_picture_is_neither(shape, fps):
    for index in range(4):
        _, clip, _ = filmed("one", index, shape)
        assert dynamic(clip, fps)
        assert not dynamic(clip[:, :1].expand(*clip.shape).contiguous(), fps)
        order = np.random.default_rng(index).permutation(shape[0]).tolist()
        assert smoothness(clip) > max(0.99, smoothness(clip[:, order]) + 0.005)


@sizes
def test_the_subject_is_less_consistent_where_a_sprite_is_swapped_midway(shape, fps):
    """Two rows that differ in an object go the same way; half of one and half of the other is like neither."""
    network, half = efflite.published().fold(), shape[0] // 2
    for index in range(4):
        row = draw_motion(3, index, ["one"], ["apple", "heart"])
        (thing,) = row["include"]
        other = {"class": "tree", "count": 1}
        one, two = (
            torch.from_numpy(film(each, index, *shape)[0]) for each in (row, moving([other], row["motion"], row["tag"]))
        )
        assert thing["class"] != other["class"]
        mixed = torch.cat((one[:, :half], two[:, half:]), 1)
        seen = torch.stack([efflite.features(network, clip.transpose(0, 1).contiguous()) for clip in (one, two, mixed)])
        whole, swapped, found = consistency(seen).tolist()
        assert found < min(whole, swapped) - 0.02, (index, whole, swapped, found)


def test_a_clip_too_large_for_block_matching_is_refused():
    with pytest.raises(ValueError, match=r"moves from 11\.25 pixels a frame on, and block matching looks 8 far"):
        dynamic(torch.zeros(3, 4, 480, 832, dtype=torch.uint8), 16)


@sizes
def test_a_still_clip_is_steady(shape, fps):
    row, clip, _ = filmed("still", 0, shape)
    assert still(row)
    assert steadiness(clip[None]).item() == 1


@sizes
def test_block_matching_sees_a_sprite_go_where_it_goes(shape, fps):
    """The mean vector inside of the box, against the box's own way; each frame is drawn anew from the sprite."""
    for index in range(4):
        row, clip, frames = filmed("one", index, shape)
        pictures = clip.transpose(0, 1)
        found = flow(pictures[:-1], pictures[1:])
        x0, y0, x1, y1 = (round(side) for side in frames[0][0].box)
        seen = found[0, :, y0 + 1 : y1 - 1, x0 + 1 : x1 - 1].mean((1, 2))
        asked = torch.tensor(way(row["include"][0], frames)) / (shape[0] - 1)
        assert (seen - asked).abs().max() < 0.35
