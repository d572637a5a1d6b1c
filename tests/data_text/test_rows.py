"""Random rows of metadata: they have GenEval's form, and their captions say what they hold."""

import json
import re
from collections import Counter

import pytest

from amd.data.emoji import COLOURED, GROUPS, VOCABULARY
from amd.data.rows import FORMS, MOST, NUMBERS, TASKS, TRAINING, caption, draw_metadata, phrase

EVERYTHING = (*TASKS, *FORMS)
NOUN = re.compile(
    r"\b(an?|two|three|four) (?:([a-z]+) )?([a-z]+?)s?\b(?= and|,| left| right| above| below|$)"
)  # count, colour, object


def rows(kind: str, count: int = 300):
    return [draw_metadata(5, index, (kind,)) for index in range(count)]


@pytest.mark.parametrize(
    ("include", "said"),
    [
        ([{"class": "apple", "count": 1}], "an apple"),
        ([{"class": "apple", "count": 1, "color": "red"}], "a red apple"),
        ([{"class": "book", "count": 1, "color": "orange"}], "an orange book"),
        ([{"class": "fish", "count": 3}], "three fish"),
        ([{"class": "cat", "count": 1}, {"class": "umbrella", "count": 1}], "a cat and an umbrella"),
        (
            [
                {"class": "book", "count": 1, "color": "green"},
                {"class": "apple", "count": 2, "color": "red", "position": ["left of", 0]},
            ],
            "two red apples left of a green book",
        ),
        (
            [{"class": "cat", "count": 1}, {"class": "frog", "count": 2}, {"class": "tree", "count": 1}],
            "a cat, two frogs and a tree",
        ),
    ],
)
def test_a_caption_has_its_articles_and_plurals(include, said):
    assert caption(include) == said


@pytest.mark.parametrize("kind", EVERYTHING)
def test_a_caption_tells_the_whole_row(kind):
    """Read back word by word: every count, colour and object, and the relation from the first named to the second."""
    for row in rows(kind):
        nouns = NOUN.findall(row["prompt"])
        told = Counter(
            (name if name in VOCABULARY else name + "s", 1 if count in ("a", "an") else NUMBERS.index(count), colour)
            for count, colour, name in nouns
        )
        held = Counter((c["class"], c["count"], c.get("color", "")) for c in row["include"])
        assert told == held, row
        if "position" in row["include"][-1]:
            words, target = row["include"][-1]["position"]
            assert row["prompt"] == f"{phrase(row['include'][-1])} {words} {phrase(row['include'][target])}"


@pytest.mark.parametrize("kind", EVERYTHING)
def test_a_row_holds_one_to_four_objects_of_different_classes(kind):
    for row in rows(kind):
        names = [clause["class"] for clause in row["include"]]
        assert len(set(names)) == len(names)
        assert 1 <= sum(clause["count"] for clause in row["include"]) <= MOST


def test_tasks_have_geneval_s_form(mirror):
    """The same keys and the same number of clauses as the benchmark's own rows of the task."""

    def form(row):
        return row["tag"], tuple(tuple(sorted(clause)) for clause in row["include"]), "exclude" in row

    lines = (mirror / "geneval" / "evaluation_metadata.jsonl").read_text().splitlines()
    theirs = {form(json.loads(line)) for line in lines}
    ours = {form(row) for task in TASKS for row in rows(task)}
    counted = {("counting", (("class", "count"),), True)}
    assert ours | counted == ours
    assert ours == theirs


def test_an_exact_number_excludes_one_more():
    row = next(row for row in rows("counting"))
    clause = row["include"][0]
    assert row["exclude"] == [{"class": clause["class"], "count": clause["count"] + 1}]
    assert all("exclude" not in row for row in rows("two_object"))


def test_colours_are_asked_only_of_what_has_them():
    for kind in EVERYTHING:
        for clause in (clause for row in rows(kind) for clause in row["include"] if "color" in clause):
            assert clause["color"] in COLOURED[clause["class"]]
    assert all(len({clause["color"] for clause in row["include"]}) == 2 for row in rows("color_attr"))


def test_every_object_colour_number_and_relation_comes():
    counting = {(row["include"][0]["class"], row["include"][0]["count"]) for row in rows("counting", 1500)}
    assert counting == {(name, count) for name in VOCABULARY for count in (2, 3, 4)}
    colours = {(row["include"][0]["class"], row["include"][0]["color"]) for row in rows("colors", 2000)}
    assert colours == {(name, colour) for name, family in COLOURED.items() for colour in family}
    assert {row["include"][1]["position"][0] for row in rows("position")} == {"left of", "right of", "above", "below"}


def test_a_row_is_a_function_of_seed_and_index():
    assert [draw_metadata(1, i) for i in range(20)] == [draw_metadata(1, i) for i in range(20)]
    assert [draw_metadata(1, i) for i in range(20)] != [draw_metadata(2, i) for i in range(20)]
    # in any process, on any machine
    assert [draw_metadata(0, i)["prompt"] for i in range(3)] == ["a black cat", "a tree and a bear", "a cat"]


def test_tasks_come_equally_often_and_training_has_mixed_rows():
    tags = Counter(draw_metadata(3, i)["tag"] for i in range(1200))
    assert set(tags) == set(TASKS)
    # 200 expected of each, binomial: standard deviation 13
    assert min(tags.values()) > 150
    assert Counter(draw_metadata(3, i, TRAINING)["tag"] for i in range(1200))["mixed"] > 220


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="no kind of row is called 'colours'; known: single_object"):
        draw_metadata(0, 0, ("colours",))
    with pytest.raises(ValueError, match="2 different objects are wanted, and there are apple"):
        draw_metadata(0, 0, ("color_attr",), GROUPS["food"])
