"""Sets of prompts: the benchmarks' own files, whole; and their stand-ins, the same on every machine."""

import hashlib
import json
from collections import Counter

import pytest

from amd.config.schema.assets import Asset
from amd.data.emoji import GROUPS, VOCABULARY
from amd.data.prompts import PROMPTS, prompts
from amd.data.rows import FORMS, TASKS
from amd.data.scenes import compose

STAND_INS = sorted(name for name in PROMPTS if name.startswith("emoji-"))


@pytest.fixture(autouse=True)
def _own(own_cache):
    """No asset of these tests is recorded in the user's cache."""


def assets(*files: str) -> list[Asset]:
    return [Asset(file=file) for file in files]


# --- the real files --------------------------------------------------------------------------------------------------


def test_geneval_has_553_prompts_of_six_tasks(mirror):
    found = prompts("geneval", assets("geneval/evaluation_metadata.jsonl"), mirror)
    assert len(found) == 553
    assert Counter(found.categories) == {
        "single_object": 80, "two_object": 99, "counting": 80, "colors": 94, "position": 100, "color_attr": 100
    }  # fmt: skip
    assert found.texts == tuple(row["prompt"] for row in found.rows)
    lines = (mirror / "geneval" / "generation_prompts.txt").read_text().splitlines()
    assert list(found.texts) == lines


def test_flow_grpos_copy_of_geneval_holds_the_same_prompts_four_times(mirror):
    lines = (mirror / "geneval" / "flow_grpo_test_metadata.jsonl").read_text().splitlines()
    theirs = Counter(json.dumps(json.loads(line), sort_keys=True) for line in lines)
    ours = prompts("geneval", assets("geneval/evaluation_metadata.jsonl"), mirror).rows
    assert theirs == {json.dumps(row, sort_keys=True): 4 for row in ours}


def test_coco_has_30000_captions(mirror):
    found = prompts("lines", assets("coco/captions_coco14_test.txt"), mirror)
    assert len(found) == 30_000
    assert len(set(found.texts)) == 29_436


def test_hpdv2_s_photographs_are_800_without_the_two_blank_lines(mirror, capsys):
    found = prompts("lines", assets("hpdv2/photo_750_alignprop.txt", "hpdv2/photo_50_alignprop.txt"), mirror)
    assert len(found) == 800
    assert "photo_750_alignprop.txt: 2 blank line(s) left out, 750 prompts" in capsys.readouterr().err


def test_drawbench_has_200_prompts_in_11_categories(mirror):
    found = prompts("drawbench", assets("drawbench/drawbench.txt", "drawbench/drawbench_categories.csv"), mirror)
    assert len(found) == 200
    assert list(Counter(found.categories).values()) == [25, 10, 19, 20, 20, 10, 10, 20, 7, 38, 21]


def test_a_smaller_count_keeps_order_and_what_belongs_to_a_prompt(mirror):
    whole = prompts("geneval", assets("geneval/evaluation_metadata.jsonl"), mirror)
    some = prompts("geneval", assets("geneval/evaluation_metadata.jsonl"), mirror, 100, 7)
    places = [whole.texts.index(text) for text in some.texts]
    assert places == sorted(places)
    assert len(some) == 100
    assert all(row["prompt"] == text for row, text in zip(some.rows, some.texts, strict=True))
    assert some.categories == tuple(row["tag"] for row in some.rows)
    assert some == prompts("geneval", assets("geneval/evaluation_metadata.jsonl"), mirror, 100, 7)
    assert some != prompts("geneval", assets("geneval/evaluation_metadata.jsonl"), mirror, 100, 8)


# --- files of the tests' own -----------------------------------------------------------------------------------------


def test_lists_in_json_have_their_stem_as_category(tmp_path):
    (tmp_path / "anime.json").write_text(json.dumps(["a girl", "a boy"]))
    (tmp_path / "concept-art.json").write_text(json.dumps(["a ship"]))
    found = prompts("json-lists", assets("anime.json", "concept-art.json"), tmp_path)
    assert found.texts == ("a girl", "a boy", "a ship")
    assert found.categories == ("anime", "anime", "concept-art")


@pytest.mark.parametrize("content", ['{"a": "girl"}', '["a girl", 3]', '["a girl", ""]'])
def test_json_that_is_no_list_of_prompts_is_refused(tmp_path, content):
    (tmp_path / "anime.json").write_text(content)
    with pytest.raises(ValueError, match=r"anime\.json: want a list of prompts"):
        prompts("json-lists", assets("anime.json"), tmp_path)


def test_categories_of_other_prompts_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("a red car\n\na blue car\n")
    (tmp_path / "a.csv").write_text("Prompts,Category\na red car,Colors\na green car,Colors\n")
    with pytest.raises(ValueError, match=r"a\.csv: its prompts are not those of a\.txt, from line 3 on"):
        prompts("drawbench", assets("a.txt", "a.csv"), tmp_path)
    (tmp_path / "b.csv").write_text("Prompts,Category\na red car,Colors\na blue car,Counting\n")
    assert prompts("drawbench", assets("a.txt", "b.csv"), tmp_path).categories == ("Colors", "Counting")


def test_a_line_ends_at_a_newline_alone(tmp_path):
    (tmp_path / "a.txt").write_bytes("a cat\u2028on a mat \r\n\n a dog".encode())
    assert prompts("lines", assets("a.txt"), tmp_path).texts == ("a cat\u2028on a mat ", " a dog")


def test_a_row_without_what_geneval_reads_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"tag": "colors", "include": [], "prompt": "a"}\n{"prompt": "b"}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl:2: a row of GenEval's metadata has no tag, include"):
        prompts("geneval", assets("a.jsonl"), tmp_path)
    (tmp_path / "b.jsonl").write_text("a photo of a bench\n")
    with pytest.raises(ValueError, match=r"b\.jsonl:1: not JSON"):
        prompts("geneval", assets("b.jsonl"), tmp_path)


@pytest.mark.parametrize(
    ("source", "files", "complaint"),
    [
        ("lines", (), "'lines' reads one or several .txt files; its assets are none"),
        ("lines", ("a.json",), "its assets are a.json"),
        ("geneval", ("a.jsonl", "b.jsonl"), "reads one .jsonl file"),
        ("drawbench", ("a.csv", "a.txt"), "reads a .txt of prompts, then a .csv"),
        ("emoji-tasks", ("a.txt",), "is drawn and has no assets, not 'a.txt'"),
        ("coco", (), "'coco' is none; known: drawbench, emoji-captions"),
    ],
)
def test_other_files_than_a_source_reads_are_refused(source, files, complaint):
    with pytest.raises(ValueError, match=complaint):
        prompts(source, assets(*files), None, 12)


def test_more_prompts_than_a_file_has_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    with pytest.raises(ValueError, match=r"'lines' \(a\.txt\): 3 are asked for, and it has 2"):
        prompts("lines", assets("a.txt"), tmp_path, 3)


# --- stand-ins -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STAND_INS)
def test_a_stand_in_has_as_many_as_asked_with_rows_that_can_be_composed(name):
    found = prompts(name, count=50, seed=3)
    assert len(found) == len(found.rows) == len(found.categories) == 50
    assert found.texts == tuple(row["prompt"] for row in found.rows)
    for row in found.rows:
        _, scene = compose(row, 0, 32)
        assert {it.name for it in scene.objects} <= set(VOCABULARY)


@pytest.mark.parametrize("name", STAND_INS)
def test_a_stand_in_is_a_function_of_count_and_seed(name):
    assert prompts(name, count=30, seed=1) == prompts(name, count=30, seed=1)
    assert prompts(name, count=30, seed=1) != prompts(name, count=30, seed=2)


def test_the_same_texts_on_every_machine():
    """A change here changes every number of the text track."""
    text = "\n".join(text for name in STAND_INS for text in prompts(name, count=48).texts)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "299bf55d768331d5"


def test_stand_ins_are_different_draws():
    lists = {name: prompts(name, count=40).texts for name in STAND_INS}
    assert len(set(lists.values())) == len(STAND_INS)
    one, other = prompts("emoji-captions", count=40, seed=0), prompts("emoji-captions", count=40, seed=1)
    assert len(set(one.texts) & set(other.texts)) < 20


def test_texts_differ_as_long_as_there_are_new_ones():
    for name in ("emoji-train", "emoji-captions", "emoji-mixed"):
        assert len(set(prompts(name, count=400).texts)) == 400
    tasks = prompts("emoji-tasks", count=6 * 50)
    by_task = {task: [t for t, c in zip(tasks.texts, tasks.categories, strict=True) if c == task] for task in TASKS}
    assert all(len(texts) == 50 for texts in by_task.values())
    # there are 20 single objects: all of them twice before one comes a third time
    assert sorted(Counter(by_task["single_object"]).values()) == [2] * 10 + [3] * 10
    assert len(set(by_task["position"])) == 50


def test_a_count_is_split_evenly():
    tasks = prompts("emoji-tasks", count=50)
    assert list(Counter(tasks.categories).items()) == list(zip(TASKS, [9, 9, 8, 8, 8, 8], strict=True))
    assert all(row["tag"] == category for row, category in zip(tasks.rows, tasks.categories, strict=True))
    assert Counter(prompts("emoji-mixed", count=40).categories) == dict.fromkeys(FORMS, 10)


def test_a_group_s_prompts_name_its_objects_only():
    found = prompts("emoji-groups", count=80)
    assert Counter(found.categories) == dict.fromkeys(GROUPS, 20)
    for row, group in zip(found.rows, found.categories, strict=True):
        assert {clause["class"] for clause in row["include"]} <= set(GROUPS[group])


def test_more_training_prompts_begin_with_the_fewer():
    assert prompts("emoji-train", count=80).texts[:30] == prompts("emoji-train", count=30).texts


def test_a_stand_in_must_be_told_how_many():
    with pytest.raises(ValueError, match=r"'emoji-tasks' has no end: say how many \(count\), at least 6"):
        prompts("emoji-tasks", count=5)
    with pytest.raises(ValueError, match="'emoji-train' has no end"):
        prompts("emoji-train")
