"""Prompts of video: VBench's, VBench-I2V's and VideoAlign's own files, whole, and their stand-ins."""

import csv
import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

from amd.config.schema.assets import Asset
from amd.data.clips import film
from amd.data.motion import KINDS
from amd.data.prompts import PROMPTS, prompts

STAND_INS = sorted(name for name in PROMPTS if name.startswith("motion-"))
SHA256 = {
    "vbench/VBench_full_info.json": "5dd2de80ee43cda750b2b72ea7023657c0b90d3702041c7e4608c65dbe50dccd",
    "vbench/self_forcing_all_dimension_extended.txt": (
        "c78f1ad32974503efaa8cc935347ace88f3a8b571adde6687bc8425bbf417cf3"
    ),
    "vbench/vbench2_i2v_full_info.json": "8cf4d34dc11779a336c216a1a71d482927cfa24a1bf736ab5c92425609f129f8",
    "videoalign/vbench.csv": "7fd7466b3ac4b84d1d016ee0e12ee075bfbc66ba40a55dda63bde8b3a968129c",
    "videoalign/videogen_eval.csv": "c791a00ccdbcfc734421876998a3bb47a1e92bbe9d85b32b080c2cd09f832f78",
    "videoalign/TA_hard.csv": "5d8974121b4535a94eb5857b60c473d889d75060c0006617b5316020d1840a84",
}


@pytest.fixture(autouse=True)
def _own(own_cache):
    """No asset of these tests is recorded in the user's cache."""


@pytest.fixture
def published(mirror):
    """names -> their assets, which `mirror` has; the test skips where it has not."""

    def find(*names: str) -> list[Asset]:
        if absent := [name for name in names if not (mirror / name).is_file()]:
            pytest.skip(f"{mirror} has no {absent[0]}")
        return [Asset(file=name, sha256=SHA256[name]) for name in names]

    return find


def assets(*files: str) -> list[Asset]:
    return [Asset(file=file) for file in files]


# --- the real files --------------------------------------------------------------------------------------------------


def test_vbench_has_946_prompts_of_16_dimensions(mirror, published):
    found = prompts("vbench", published("vbench/VBench_full_info.json"), mirror)
    assert len(found) == 946
    assert len(set(found.texts)) == 944
    assert found.texts == tuple(row["prompt_en"] for row in found.rows)
    dimensions = Counter(each for row in found.rows for each in row["dimension"])
    assert len(dimensions) == 16
    assert [dimensions[each] for each in ("subject_consistency", "scene", "color", "human_action")] == [72, 86, 85, 100]
    plain = mirror / "vbench" / "all_dimension.txt"
    assert not plain.is_file() or plain.read_text(encoding="utf-8").splitlines() == list(found.texts)


def test_still_scenes_come_five_times_behind_all_others(mirror, published):
    listing = published("vbench/VBench_full_info.json")
    once, found = prompts("vbench", listing, mirror), prompts("vbench-still", listing, mirror)
    assert len(found) == 946 + 4 * 75
    assert found.texts[:946] == once.texts
    assert Counter(
        row["prompt_en"] for row in found.rows if "temporal_flickering" in row["dimension"]
    ) == dict.fromkeys({row["prompt_en"] for row in once.rows if "temporal_flickering" in row["dimension"]}, 5)
    of = [row["dimension"] for row in found.rows[946:]]
    assert of == [["temporal_flickering"]] * 300  # so no other dimension sees more clips than before


def test_vbench_s_rows_keep_the_short_prompts_where_the_texts_are_extended(mirror, published):
    names = ("vbench/VBench_full_info.json", "vbench/self_forcing_all_dimension_extended.txt")
    short, long = prompts("vbench", published(names[0]), mirror), prompts("vbench", published(*names), mirror)
    assert len(long) == 946
    assert long.rows == short.rows
    assert sum(len(text) for text in long.texts) > 5 * sum(len(text) for text in short.texts)
    some = prompts("vbench", published(*names), mirror, 30, 1)
    place = [long.texts.index(text) for text in some.texts]
    assert place == sorted(place)
    assert some.rows == tuple(long.rows[i] for i in place)


def test_vbench_i2v_has_1118_prompts_of_355_images(mirror, published):
    found = prompts("vbench-i2v", published("vbench/vbench2_i2v_full_info.json"), mirror)
    assert len(found) == 1118
    assert len({row["image_name"] for row in found.rows}) == 355
    assert sum("camera_motion" in row["dimension"] for row in found.rows) == 763


@pytest.mark.parametrize(
    ("file", "count", "columns"),
    [
        ("videoalign/vbench.csv", 946, ("prompt", "prompt_shorter", "prompt_zh")),
        ("videoalign/videogen_eval.csv", 400, ("prompt", "prompt_shorter", "prompt_zh")),
        ("videoalign/TA_hard.csv", 72, ("prompt", "prompt_zh")),
    ],
)
def test_videoalign_s_sets_are_whole_in_each_column(mirror, published, file, count, columns):
    for column in columns:
        source = f"videoalign-csv{column.removeprefix('prompt').replace('_', '-')}"
        found = prompts(source, published(file), mirror)
        assert len(found) == count
        assert found.texts == tuple(row[column] for row in found.rows)
        assert set(found.rows[0]) == set(columns)


def test_the_short_variant_is_vbench_s_own_text_and_the_extended_one_is_another(mirror, published):
    own = prompts("vbench", published("vbench/VBench_full_info.json"), mirror).texts
    table = published("videoalign/vbench.csv")
    assert prompts("videoalign-csv-shorter", table, mirror).texts == own
    rewritten = prompts("videoalign-csv", table, mirror).texts
    assert all(long != short for long, short in zip(rewritten, own, strict=True))
    assert sum(map(len, rewritten)) > 10 * sum(map(len, own))


# --- files of the tests' own -----------------------------------------------------------------------------------------

ENTRIES = [
    {"prompt_en": "a cat", "dimension": ["object_class"], "image_name": "a cat.jpg"},
    {"prompt_en": "a dog", "dimension": ["scene"], "image_name": "a dog.jpg"},
    {"prompt_en": "a dog, zoom in", "dimension": ["camera_motion"], "image_name": "a dog.jpg"},
]


def written(folder: Path, name: str, content: object) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_extended_prompts_of_another_number_are_refused(tmp_path):
    written(tmp_path, "a.json", ENTRIES)
    written(tmp_path, "a.txt", "one\n\ntwo\n")
    with pytest.raises(ValueError, match=r"a\.txt: 2 prompts for the 3 entries of a\.json"):
        prompts("vbench", assets("a.json", "a.txt"), tmp_path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[", "not JSON"),
        ({"a": 1}, "want a list of entries, not dict"),
        ([*ENTRIES, {"prompt_en": "a", "dimension": "scene"}], "entry 4 has no dimension that is a list"),
        ([7], "entry 1 has no prompt_en that is a str"),
    ],
)
def test_entries_that_are_none_are_named(tmp_path, content, complaint):
    written(tmp_path, "a.json", content)
    with pytest.raises(ValueError, match=rf"a\.json: {complaint}"):
        prompts("vbench", assets("a.json"), tmp_path)


def test_first_frames_are_found_beside_their_sums(tmp_path):
    written(tmp_path, "a.json", ENTRIES)
    lines = []
    for name, content in (("a cat.jpg", b"cat"), ("a dog.jpg", b"dog"), ("another.jpg", b"?")):
        (tmp_path / name).write_bytes(content)
        lines.append(f"{hashlib.sha256(content).hexdigest()}  {name}")
    written(tmp_path, "SHA256SUMS", "\n".join(lines) + "\n")
    found = prompts("vbench-i2v", assets("a.json", "SHA256SUMS"), tmp_path)
    assert [Path(row["image"]).read_bytes() for row in found.rows] == [b"cat", b"dog", b"dog"]
    assert found.texts == ("a cat", "a dog", "a dog, zoom in")
    assert "image" not in prompts("vbench-i2v", assets("a.json"), tmp_path).rows[0]


@pytest.mark.parametrize(
    ("sums", "complaint"),
    [
        ("{cat}  a cat.jpg\n", "no line for 'a dog.jpg'; run `sha256sum"),
        ("{cat}  a cat.jpg\n{cat}  a dog.jpg\n", r"a dog\.jpg: sha256 is .*, SHA256SUMS says"),
        ("{cat}  a cat.jpg\n{cat}  ../a dog.jpg\n", "SHA256SUMS:2: want a sha256, two blanks and the name"),
        ("a cat.jpg\n", "SHA256SUMS:1: want a sha256"),
    ],
)
def test_pictures_that_are_others_are_refused(tmp_path, sums, complaint):
    written(tmp_path, "a.json", ENTRIES)
    for name in ("cat", "dog"):
        (tmp_path / f"a {name}.jpg").write_text(name)
    written(tmp_path, "SHA256SUMS", sums.format(cat=hashlib.sha256(b"cat").hexdigest()))
    with pytest.raises(ValueError, match=complaint):
        prompts("vbench-i2v", assets("a.json", "SHA256SUMS"), tmp_path)


def test_a_picture_that_is_not_there_is_named(tmp_path):
    written(tmp_path, "a.json", ENTRIES[:1])
    written(tmp_path, "SHA256SUMS", f"{'0' * 64}  a cat.jpg\n")
    with pytest.raises(ValueError, match=r"a cat\.jpg: no such file, and SHA256SUMS lists it"):
        prompts("vbench-i2v", assets("a.json", "SHA256SUMS"), tmp_path)


def test_a_table_without_the_column_or_with_nothing_in_it_is_refused(tmp_path):
    with (tmp_path / "a.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["prompt", "prompt_zh"], ["a cat, a dog", "x"], ["", "y"]])
    assert prompts("videoalign-csv-zh", assets("a.csv"), tmp_path).texts == ("x", "y")
    with pytest.raises(ValueError, match=r"a\.csv: row 2 has nothing in column 'prompt'"):
        prompts("videoalign-csv", assets("a.csv"), tmp_path)
    with pytest.raises(ValueError, match=r"a\.csv: no column 'prompt_shorter'; it has prompt, prompt_zh"):
        prompts("videoalign-csv-shorter", assets("a.csv"), tmp_path)


@pytest.mark.parametrize(
    ("source", "files", "complaint"),
    [
        ("vbench", (), "reads VBench_full_info.json, and perhaps a .txt .* its assets are none"),
        ("vbench", ("a.json", "b.json"), "its assets are a.json, b.json"),
        ("vbench-i2v", ("a.json", "b.txt"), "reads vbench2_i2v_full_info.json, and perhaps the SHA256SUMS"),
        ("videoalign-csv", ("a.txt",), "reads one .csv file"),
        ("motion-mixed", ("a.txt",), "is drawn and has no assets, not 'a.txt'"),
    ],
)
def test_other_files_than_a_source_reads_are_refused(source, files, complaint):
    with pytest.raises(ValueError, match=complaint):
        prompts(source, assets(*files), None, 12)


# --- stand-ins -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STAND_INS)
def test_a_stand_in_has_as_many_as_asked_with_rows_that_can_be_filmed(name):
    found = prompts(name, count=40, seed=3)
    assert len(found) == len(found.rows) == len(found.categories) == len(set(found.texts)) == 40
    assert found.texts == tuple(row["prompt"] for row in found.rows)
    for row in found.rows:
        film(row, 0, 3, 24, 24)
    assert found == prompts(name, count=40, seed=3)
    assert found != prompts(name, count=40, seed=4)


def test_the_same_texts_on_every_machine():
    """A change here changes every number of the video tracks."""
    text = "\n".join(text for name in STAND_INS for text in prompts(name, count=48).texts)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "fb16533a36451c18"


def test_categories_say_what_moves_how():
    mixed, hard = prompts("motion-mixed", count=50), prompts("motion-hard", count=20)
    assert Counter(mixed.categories) == dict.fromkeys(KINDS, 10)
    assert all(row["tag"] == category for row, category in zip(mixed.rows, mixed.categories, strict=True))
    assert all(len(row["include"]) == 2 for row in hard.rows)


def test_more_training_prompts_begin_with_the_fewer():
    assert prompts("motion-train", count=80).texts[:30] == prompts("motion-train", count=30).texts


def test_every_text_is_short_enough_for_sixteen_tokens():
    """Words, commas, and the two marks around a text: no word of theirs is split."""
    texts = [text for name in STAND_INS for text in prompts(name, count=300).texts]
    assert max(len(text.replace(",", " ,").split()) for text in texts) + 2 <= 16
