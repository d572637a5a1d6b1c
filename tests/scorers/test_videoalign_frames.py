"""VideoAlign: which frames it sees, at what size, and what its numbers are measured by."""

import json
from pathlib import Path

import pytest

from amd.rewards.videoalign_frames import PUBLISHED, frame_count, frame_indices, normalised, resized, scales, total

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "videoalign_preprocess.json").read_text())
CONFIG = {
    "inference_config": {
        f"{part}_{what}": value for part, each in GOLDEN["normalisation"].items() for what, value in each.items()
    }
}


@pytest.mark.parametrize("case", GOLDEN["preprocess"])
def test_frames_and_their_size_are_the_originals(case):
    assert frame_count(case["total_frames"], case["video_fps"]) == case["nframes"]
    assert frame_indices(case["total_frames"], case["video_fps"]) == case["indices"]
    assert resized(case["height"], case["width"]) == (case["resized_h"], case["resized_w"])


def test_frames_are_even_in_number_and_from_the_first_to_the_last():
    for frames in range(2, 400, 7):
        for fps in (8, 16, 24, 29.97):
            found = frame_indices(frames, fps)
            assert len(found) % 2 == 0
            assert found[0] == 0
            assert found[-1] == frames - 1
            assert found == sorted(set(found))
    with pytest.raises(ValueError, match="of 1 it would be 0"):
        frame_count(1, 16)


def test_sizes_are_multiples_of_28_within_bounds_and_keep_the_shape():
    for height, width in ((32, 32), (480, 832), (1080, 1920), (100, 1000)):
        found = resized(height, width)
        assert all(side % 28 == 0 for side in found)
        assert 128 * 28 * 28 <= found[0] * found[1] <= 448 * 448
        assert found[1] / found[0] == pytest.approx(width / height, rel=0.15)
    with pytest.raises(ValueError, match="longer than 200 to 1"):
        resized(2, 500)


def test_the_published_scales_make_the_originals_numbers():
    assert scales(CONFIG) == PUBLISHED
    example = GOLDEN["example"]
    found = normalised({name.lower(): value for name, value in example["raw"].items()}, scales(CONFIG))
    for name, value in example["normalised"].items():
        assert found[name.lower()] == pytest.approx(value, abs=1e-9)
    assert total(found) == pytest.approx(example["overall_sum"], abs=1e-9)


def test_a_configuration_without_scales_is_refused_where_the_original_returns_raw_values():
    with pytest.raises(ValueError, match=r"inference_config\.VQ_mean is missing; without it the outputs are raw"):
        scales({"data_config": {}})
    some = {"inference_config": {name: 1.0 for name in CONFIG["inference_config"] if name != "TA_std"}}
    with pytest.raises(ValueError, match=r"inference_config\.TA_std is missing"):
        scales(some)
