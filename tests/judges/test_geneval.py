"""GenEval's logic: the reference's own verdicts, its aggregation, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amd.measure.geneval import TAGS, Rules, aggregate, errors, evaluate, read_detections, relations, write_detections
from amd.rewards.detection import Detection

DATA = Path(__file__).parents[1] / "data"
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
# Z-Image's report, djghosh13/geneval issue 142: correct and all images by tag
Z_IMAGE = dict(zip(TAGS, ((314, 320), (349, 396), (245, 320), (328, 376), (158, 400), (226, 400)), strict=True))


def recorded() -> list[tuple[dict[str, Any], list[Detection]]]:
    """Both files' cases; both were judged by the reference's functions, whose commit the files name."""
    cases = []
    for case in json.loads((DATA / "geneval_cases.json").read_text())["cases"]:
        found = [
            Detection(
                each["class"], each["score"], tuple(each["box"]), case["colors"][f"{each['class']}|{each['score']}"]
            )
            for each in case["detections"]
        ]
        cases.append((case, found))
    for case in json.loads((DATA / "geneval_drawn.json").read_text())["cases"]:
        cases.append((case, [Detection(name, score, tuple(box), c) for name, score, box, c in case["detections"]]))
    return cases


def words(reason: str) -> list[list[str]]:
    """The reference joins a set of relations, in no order that lasts."""
    return [sorted(line.split()) for line in reason.splitlines()]


def test_every_verdict_and_every_reason_is_the_references():
    cases = recorded()
    assert len(cases) == 360
    for case, found in cases:
        verdict = evaluate(case["metadata"], found)
        assert verdict.correct is case["correct"], case
        assert words(verdict.reason) == words(case["reason"]), case


def test_relations_are_the_references():
    golden = [
        pair
        for name in ("geneval_cases.json", "geneval_drawn.json")
        for pair in json.loads((DATA / name).read_text())["relative_position"]
    ]
    assert len(golden) == 65
    for pair in golden:
        assert sorted(relations(pair["a"], pair["b"])) == sorted(pair["relations"]), pair


@given(st.lists(st.floats(0, 500), min_size=8, max_size=8))
def test_relations_turn_around_with_the_boxes(sides):
    a, b = (sorted(sides[i : i + 4 : 2]) + sorted(sides[i + 1 : i + 4 : 2]) for i in (0, 4))
    a, b = ([box[0], box[2], box[1], box[3]] for box in (a, b))
    assert sorted(relations(b, a)) == sorted(OPPOSITE[each] for each in relations(a, b))


@given(st.sampled_from(recorded()), st.randoms(use_true_random=False))
def test_the_order_of_detections_does_not_matter(case_and_found, random):
    case, found = case_and_found
    shuffled = list(found)
    random.shuffle(shuffled)
    assert evaluate(case["metadata"], shuffled) == evaluate(case["metadata"], found)


def test_counting_asks_for_more_confidence_than_other_tasks():
    apple = Detection("apple", 0.8, (0, 0, 9, 9))
    row = {"tag": "single_object", "include": [{"class": "apple", "count": 1}]}
    assert evaluate(row, [apple]).correct
    assert not evaluate({**row, "tag": "counting"}, [apple]).correct
    assert evaluate({**row, "tag": "counting"}, [apple], Rules(counting_threshold=0.5)).correct


def test_the_threshold_itself_is_not_enough():
    row = {"tag": "single_object", "include": [{"class": "apple", "count": 1}]}
    assert not evaluate(row, [Detection("apple", 0.3, (0, 0, 9, 9))]).correct


def test_a_colour_that_nobody_looked_at_is_refused():
    row = {"tag": "colors", "include": [{"class": "apple", "count": 1, "color": "red"}]}
    with pytest.raises(ValueError, match="nobody looked at the colour of the apple"):
        evaluate(row, [Detection("apple", 0.9, (0, 0, 9, 9))])


def z_image() -> tuple[list[str], list[bool], list[int]]:
    """Four images per prompt, the correct ones first."""
    tags = [tag for tag, (_, n) in Z_IMAGE.items() for _ in range(n)]
    correct = [index < right for right, n in Z_IMAGE.values() for index in range(n)]
    return tags, correct, [index // 4 for index in range(len(tags))]


def test_the_aggregate_is_the_one_that_z_image_reports():
    numbers = aggregate(*z_image())
    assert numbers["overall"] == pytest.approx(0.74342, abs=5e-6)  # five digits are printed
    assert numbers["images"] == pytest.approx(0.7324, abs=5e-5)
    assert numbers["position"] == 158 / 400


def test_overall_weighs_tasks_alike_and_images_do_not():
    tags = [*TAGS, *["counting"] * 6]
    correct = [tag == "counting" for tag in tags]
    numbers = aggregate(tags, correct, list(range(len(tags))))
    assert numbers["overall"] == pytest.approx(1 / 6)
    assert numbers["images"] == pytest.approx(7 / 12)


def test_a_prompt_counts_as_correct_where_one_of_its_images_is():
    tags = [tag for tag in TAGS for _ in range(2)]
    correct = [index == 1 for index in range(12)]
    numbers = aggregate(tags, correct, [index // 2 for index in range(12)])
    assert numbers["prompts"] == pytest.approx(1 / 6)
    assert numbers["images"] == pytest.approx(1 / 12)


@pytest.mark.parametrize(("tags", "said"), [(TAGS[:-1], "no image of color_attr"), ((*TAGS, "texture"), "'texture'")])
def test_other_sets_of_tasks_are_refused(tags, said):
    with pytest.raises(ValueError, match=said):
        aggregate(tags, [True] * len(tags), list(range(len(tags))))


def test_standard_errors_of_single_images_are_binomial():
    tags, correct, _ = z_image()
    found, shares = errors(tags, correct, list(range(len(tags)))), aggregate(tags, correct, tags)
    for tag, (_, n) in Z_IMAGE.items():
        assert found[tag] == pytest.approx((shares[tag] * (1 - shares[tag]) / n) ** 0.5)
    assert 0.015 < found["color_attr"] < 0.028


def test_four_equal_images_of_a_prompt_are_worth_one():
    tags, correct = [tag for tag in TAGS for _ in range(20)], [index % 3 == 0 for index in range(120)]
    once = errors(tags, correct, list(range(120)))
    tags, correct, prompts = ([each for each in values for _ in range(4)] for values in (tags, correct, range(120)))
    assert errors(tags, correct, prompts) == pytest.approx(once)


def test_recorded_detections_survive_the_file(tmp_path):
    images = [(case["metadata"], found) for case, found in recorded()[:20]]
    write_detections(tmp_path / "detections.jsonl", images)
    again = read_detections(tmp_path / "detections.jsonl")
    assert [(row, list(found)) for row, found in again] == images


def test_a_broken_line_is_named(tmp_path):
    write_detections(tmp_path / "detections.jsonl", [({"tag": "counting"}, [])])
    with (tmp_path / "detections.jsonl").open("a") as file:
        file.write('{"row": {}, "detections": [["apple", 0.9, [0, 1, 2], null]]}\n')
    with pytest.raises(ValueError, match=r"detections\.jsonl:2"):
        read_detections(tmp_path / "detections.jsonl")
