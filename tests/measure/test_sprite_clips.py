"""Real clips of sprites under their own judges: whoever sees what is there gives every mark."""

import numpy as np
import pytest
import torch
from torch import Tensor

from amd.data.clips import film
from amd.data.motion import KINDS, draw_motion
from amd.measure.block_matching import flow
from amd.measure.sprite_clips import DIMENSIONS, semantics, still, way
from amd.measure.sprite_vbench import dynamic, smoothness
from amd.measure.vbench_clips import steadiness
from amd.rewards.detection import Detection

torch.set_num_threads(1)
SHAPE = (12, 32, 32)


def filmed(kind: str, index: int) -> tuple[dict[str, object], Tensor, list[list[Detection]]]:
    """A row of this kind, its clip, and its truth as a detector would say it."""
    row = draw_motion(3, index, [kind])
    clip, known = film(row, index, *SHAPE)
    frames = [[Detection(it.name, 0.9, tuple(it.boxes[t]), it.colour) for it in known.objects] for t in range(SHAPE[0])]
    return row, torch.from_numpy(clip), frames


@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_of_a_clip_has_every_mark_that_is_asked(kind):
    for index in range(20):
        row, _, frames = filmed(kind, index)
        found = semantics(row, frames, *SHAPE[1:])
        assert set(found) == set(DIMENSIONS)
        assert {value for value in found.values() if value is not None} == {1.0}
        assert (found["multiple_objects"] is None) == (len({each["class"] for each in row["include"]}) == 1)


def test_backwards_goes_the_other_way_and_a_frozen_clip_goes_nowhere():
    for index in range(10):
        row, _, frames = filmed("one", index)
        assert semantics(row, frames[::-1], *SHAPE[1:])["human_action"] == 0
        assert semantics(row, frames[:1] * 12, *SHAPE[1:])["human_action"] == 0


def test_a_clip_in_which_something_moves_is_dynamic_and_smooth_and_its_first_picture_is_neither():
    for index in range(4):
        _, clip, _ = filmed("one", index)
        assert dynamic(clip, 8)
        assert not dynamic(clip[:, :1].expand(*clip.shape).contiguous(), 8)
        order = np.random.default_rng(index).permutation(12).tolist()
        assert smoothness(clip) > max(0.99, smoothness(clip[:, order]) + 0.005)


def test_a_clip_too_large_for_block_matching_is_refused():
    with pytest.raises(ValueError, match=r"moves from 11\.25 pixels a frame on, and block matching looks 8 far"):
        dynamic(torch.zeros(3, 4, 480, 832, dtype=torch.uint8), 16)


def test_a_still_clip_is_steady():
    row, clip, _ = filmed("still", 0)
    assert still(row)
    assert steadiness(clip[None]).item() == 1


def test_block_matching_sees_a_sprite_go_where_it_goes():
    """The mean vector inside of the box, against the box's own way; each frame is drawn anew from the sprite."""
    for index in range(4):
        row, clip, frames = filmed("one", index)
        pictures = clip.transpose(0, 1)
        found = flow(pictures[:-1], pictures[1:])
        x0, y0, x1, y1 = (round(side) for side in frames[0][0].box)
        seen = found[0, :, y0 + 1 : y1 - 1, x0 + 1 : x1 - 1].mean((1, 2))
        asked = torch.tensor(way(row["include"][0], frames)) / (SHAPE[0] - 1)
        assert (seen - asked).abs().max() < 0.35
