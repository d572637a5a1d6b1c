"""VBench and VBench-I2V: the leaderboard's totals from its rows, and every rule as the original answers it."""

import json
from pathlib import Path

import pytest
import torch

from amd.measure import vbench_clips, vbench_frames, vbench_i2v
from amd.measure.vbench import DIMENSIONS, totals
from amd.measure.vbench_i2v import i2v_totals

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "vbench_units.json").read_text())
WHOLE = GOLDEN["aggregation"]
# VBench's leaderboard, percent: total, quality, semantic; the dimensions in the order of DIMENSIONS
ROWS = {
    "LaVie": (
        (77.08, 78.78, 70.31),
        "91.41 97.47 98.30 96.38 49.72 54.94 61.90 91.82 33.32 96.80 86.39 34.09 52.69 23.56 25.93 26.41",
    ),
    "ModelScope": (
        (75.75, 78.05, 66.54),
        "89.87 95.29 98.28 95.79 66.39 52.06 58.57 82.25 38.98 92.40 81.72 33.68 39.26 23.39 25.37 25.67",
    ),
    "Show-1": (
        (78.93, 80.42, 72.98),
        "95.53 98.02 99.12 98.24 44.44 57.35 58.66 93.07 45.47 95.60 86.35 53.50 47.03 23.06 25.28 27.46",
    ),
}


def three(values: dict[str, float]) -> list[float]:
    found = totals(values)
    return [found.groups["quality"], found.groups["semantic"], found.total]


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_the_leaderboard_gives_its_totals(name):
    (total, quality, semantic), row = ROWS[name]
    values = dict(zip(DIMENSIONS, (float(each) / 100 for each in row.split()), strict=True))
    assert [100 * each for each in three(values)] == pytest.approx([quality, semantic, total], abs=0.02)


def test_totals_are_the_scripts():
    whole = {name: each.most for name, each in DIMENSIONS.items()}
    assert three(whole) == pytest.approx(WHOLE["all_max"], abs=1e-9)
    assert three(dict.fromkeys(DIMENSIONS, 0.0)) == pytest.approx(WHOLE["all_zero"], abs=1e-9)
    assert three(dict.fromkeys(DIMENSIONS, 0.5)) == pytest.approx(WHOLE["all_half"], abs=1e-9)
    del whole["scene"]
    assert three(whole) == pytest.approx(WHOLE["max_minus_scene"], abs=1e-9)
    assert totals(whole).missing == ("scene",)


def test_a_dimension_left_out_changes_no_total_of_the_others():
    """Where all there are have the same stretched value, so has their mean; a zero would pull it down."""
    few = {name: DIMENSIONS[name].most for name in ("temporal_flickering", "dynamic_degree", "color")}
    found = totals(few, absent="left out")
    assert found.groups == {"quality": 1.0, "semantic": 1.0}
    assert found.total == 1.0
    assert len(found.missing) == 13
    assert totals(few).total < 0.2
    assert totals(dict.fromkeys(DIMENSIONS, 0.3), absent="left out") == totals(dict.fromkeys(DIMENSIONS, 0.3))


def test_a_total_of_a_group_that_nobody_measured_is_refused():
    with pytest.raises(ValueError, match="no dimension of semantic was measured"):
        totals({"dynamic_degree": 0.5}, absent="left out")
    with pytest.raises(ValueError, match="no dimension 'colour'; there are subject_consistency, "):
        totals({"colour": 0.5})


def test_i2v_totals_are_the_scripts_and_the_leaderboards():
    half = i2v_totals(dict.fromkeys(vbench_i2v.DIMENSIONS, 0.5))
    assert [half.groups["quality"], half.groups["i2v"], half.total] == pytest.approx(
        WHOLE["i2v_all_half_quality_i2v_total"], abs=1e-9
    )
    row = (49.22, 97.85, 98.63, 96.02, 97.06, 99.24, 48.78, 62.29, 70.44)  # Step-Video-TI2V
    found = i2v_totals(dict(zip(vbench_i2v.DIMENSIONS, (each / 100 for each in row), strict=True)))
    numbers = [100 * each for each in (found.groups["i2v"], found.groups["quality"], found.total)]
    assert numbers == pytest.approx([95.50, 81.22, 88.36], abs=0.01)


def test_flickering_enters_no_score_of_i2v():
    with pytest.raises(ValueError, match="no dimension 'temporal_flickering'"):
        i2v_totals({"temporal_flickering": 0.9})


@pytest.mark.parametrize("case", GOLDEN["spatial_relationship.get_position_score"])
def test_a_position_scores_as_the_original_says(case):
    found = vbench_frames.position_score(case["locality"], case["obj1"], case["obj2"])
    assert found == pytest.approx(case["score"], abs=1e-12)
    assert found == vbench_frames.position_score(case["locality"], case["obj2"], case["obj1"])


def test_what_is_seen_in_frames_counts_as_in_the_original():
    spatial = GOLDEN["spatial_relationship.check_generate"]
    key = spatial["key"]
    frames = [[(name, box) for name, box in frame] for frame in spatial["predictions"]]
    scores = vbench_frames.spatial_scores(key["object_a"], key["object_b"], key["relationship"], frames)
    assert scores == spatial["frame_scores"]
    for dimension in ("multiple_objects", "object_class"):
        case = GOLDEN[dimension]
        assert vbench_frames.frames_with(case["key"], case["predictions"]) == case["count"]
    case = GOLDEN["scene.check_generate"]
    assert vbench_frames.scene_frames(case["key"], case["captions"]) == case["count"]
    case = GOLDEN["color.check_generate"]
    found = vbench_frames.coloured_frames(case["color"], case["object"], case["predictions"])
    assert list(found) == case["object_frames_and_color_frames"]
    for case in GOLDEN["color.object_from_prompt"]:
        assert vbench_frames.coloured_object(case["prompt"], case["color"]) == case["object"]


@pytest.mark.parametrize("case", GOLDEN["get_frame_indices_middle"])
def test_frames_are_the_middles_of_equal_stretches(case):
    assert vbench_frames.frame_indices(case["vlen"], case["num_frames"]) == case["indices"]


def test_a_short_video_repeats_its_last_frame():
    assert vbench_frames.frame_indices(3, 5) == [0, 1, 2, 2, 2]


@pytest.mark.parametrize("case", GOLDEN["dynamic_degree.params"])
def test_motion_is_looked_for_at_eight_frames_a_second(case):
    rule = vbench_clips.dynamic_rule(case["h"], case["w"], case["frames"], case["fps"])
    assert rule == (case["interval"], case["used_frames"], case["thres"], case["count_num"])


def test_a_video_moves_or_stands_still_as_in_the_original():
    for case in GOLDEN["dynamic_degree.check_move"]:
        rule = vbench_clips.Rule(1, len(case["scores"]) + 1, case["thres"], case["count_num"])
        assert vbench_clips.moves(case["scores"], rule) is case["moves"]
    for case in GOLDEN["static_filter.check_static"]:
        rule = vbench_clips.Rule(1, len(case["scores"]) - 1, case["thres"], case["count_num"])
        assert vbench_clips.is_static(case["scores"], rule) is case["static"]
    said = GOLDEN["static_filter.params_480x832_81"]
    assert vbench_clips.static_rule(480, 832, 81)[2:] == (said["thres"], said["count_num"])


@pytest.mark.parametrize("case", GOLDEN["camera_motion.transform_class"])
def test_a_point_goes_where_the_original_says(case):
    assert vbench_i2v.directions(tuple(case["vector"]), case["min_reso"]) == case["classes"]


def test_the_camera_goes_against_the_content():
    left, right, up, down, static = (["left"], ["right"], ["up"], ["down"], ["static"])
    assert vbench_i2v.camera(left, left, left, left) == {"pan_right"}
    assert vbench_i2v.camera(down, down, down, down) == {"tilt_up"}
    assert vbench_i2v.camera(up, down, left, right) == {"zoom_in"}
    assert vbench_i2v.camera(down, up, right, left) == {"zoom_out"}
    assert vbench_i2v.camera(static, static, static, static) == {"static"}
    assert vbench_i2v.camera(["left", "up"], ["left", "up"], static, static) == {"pan_right", "tilt_down"}
    assert vbench_i2v.camera(left, right, up, down) == {"None"}
    assert vbench_i2v.asked_camera("a cat, camera zooms out") == "zoom_out"
    with pytest.raises(ValueError, match="asks for no motion of the camera"):
        vbench_i2v.asked_camera("a cat")


def test_likeness_of_frames_is_the_originals():
    case = GOLDEN["subject_consistency_formula"]
    features = [torch.tensor(each) for each in case["features"]]
    found = [float(vbench_clips.consistency(each[None])) for each in features]
    assert found == pytest.approx(case["per_video"], abs=1e-6)  # the original works in float32
    frames = [len(each) for each in features]
    assert vbench_clips.over_frames(found, frames) == pytest.approx(case["single_process_micro"], abs=1e-6)
    assert sum(found) / 2 == pytest.approx(case["multi_process_macro"], abs=1e-6)


def test_a_clip_that_stays_its_picture_is_wholly_faithful_and_one_that_leaves_it_is_less():
    picture = torch.tensor([[1.0, 2.0, 0.5]])
    assert vbench_i2v.faithfulness(picture[:, None].expand(1, 6, 3), picture).item() == pytest.approx(1)
    frames = torch.tensor([[[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 1.0]]])
    half = 2**-0.5
    wanted = 0.4 * 1 + 0.3 * (2 * half + 1) / 3 + 0.3 * half
    assert vbench_i2v.faithfulness(frames, torch.tensor([[2.0, 0.0]])).item() == pytest.approx(wanted)
