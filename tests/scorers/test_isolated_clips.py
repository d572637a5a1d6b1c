"""Judges of clips in environments of their own: the way to them, and what their runners do before any network."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from manifests import WILD, Kept, samples
from PIL import Image

from amd.config import plan
from amd.config.load import load
from amd.config.schema.assets import Clip, Prompts, Scorer
from amd.data.prompts import PromptSet
from amd.measure import films, isolated, isolated_clips, vbench
from amd.measure.films import read_films, write_film, write_films
from amd.measure.isolated import Environment, recipe
from amd.measure.isolated_clips import PackageVBench, PackageVideoAlign, checked, record
from amd.measure.panel import Asked
from amd.measure.sample import read_manifest
from amd.measure.video_panel import Bench, build_video_panel, words
from amd.rewards import videoalign_frames

CONFIG = Path(__file__).parents[2] / "config"
runner = isolated_clips.scorer_of
DIMENSIONS = ("scene", "color", "human_action")
SCORER = """
def needs(dimension):
    return ["weights.pt"]
def score(asked):
    values = []
    for sample in asked["samples"]:
        with open(sample["video"], "rb") as file:
            size = len(file.read())
        length = float(eval(sample["prompt"][1:]) if sample["prompt"][:1] == "=" else len(sample["prompt"]))
        if asked["dimension"]:
            values.append({asked["dimension"]: None if length > 100 else length})
        else:
            values.append({"vq": float(size > 0), "mq": float(sample["index"]), "ta": length})
    return values, "fake"
"""


@pytest.fixture
def fake(tmp_path, monkeypatch) -> tuple[Environment, dict[str, Path]]:
    """An environment that is this very Python, whose scorer measures prompts; and a file it reads."""
    folder = tmp_path / "envs"
    (folder / "fake").mkdir(parents=True)
    for name in ("clips.py", "build.txt"):
        shutil.copyfile(isolated.RECIPES / name, folder / name)
    (folder / "fake" / "requirements.txt").write_text("")
    (folder / "fake" / "scorer.py").write_text(SCORER)
    (tmp_path / "weights.pt").write_bytes(b"some")
    monkeypatch.setattr(isolated, "RECIPES", folder)
    environment = Environment("fake", Path(sys.executable), recipe("fake"), {})
    return environment, {"weights.pt": tmp_path / "weights.pt"}


def test_a_record_per_clip_in_order_and_no_word_on_a_command_line(fake, tmp_path, monkeypatch):
    environment, files = fake
    commands, run = [], isolated.run
    monkeypatch.setattr(isolated, "run", lambda command: (commands.append(command), run(command))[1])
    hashes = isolated_clips.hashes(files)
    found = record(environment, files, hashes, "scene", samples(tmp_path, "one", WILD, "x" * 101))
    assert found == [{"scene": 3.0}, {"scene": float(len(WILD))}, {"scene": None}]
    assert not any("cat" in word for command in commands for word in command)


def test_what_a_runner_says_is_believed_only_of_the_files_that_were_meant(fake, tmp_path):
    environment, files = fake
    with pytest.raises(ValueError, match=r"read weights\.pt of sha256 \w+, meant was other"):
        record(environment, files, {"weights.pt": "other"}, "scene", samples(tmp_path, "one"))
    with pytest.raises(RuntimeError, match=r"clips\.py.*failed[\s\S]*fake scene needs the file weights\.pt"):
        record(environment, {}, {}, "scene", samples(tmp_path, "one"))
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        record(environment, files, isolated_clips.hashes(files), "scene", samples(tmp_path, "=1 / 0"))
    with pytest.raises(ValueError, match="clip 0: scene is nan"):
        record(environment, files, isolated_clips.hashes(files), "scene", samples(tmp_path, "=float('nan')"))
    with pytest.raises(ValueError, match="scored 1 clips, asked were 2"):
        checked([{"index": 0, "values": {}, "files": {}}], [0, 1], {}, "fake")


def test_a_revision_is_of_every_file(tmp_path):
    one, other = {"a": "1", "b": "2"}, {"a": "1", "b": "3"}
    assert isolated_clips.revision(one) == isolated_clips.revision(dict(reversed(one.items())))
    assert isolated_clips.revision(one) != isolated_clips.revision(other)


def test_a_setting_that_is_none_is_refused(fake):
    environment, files = fake
    with pytest.raises(
        ValueError, match="'colour' is neither 'without' nor a dimension in it, nor 'still'; the dimensions: scene"
    ):
        PackageVBench(environment, files, {"without": "scene colour"}, DIMENSIONS, 8)
    assert PackageVBench(environment, files, {"without": "scene"}, DIMENSIONS, 8).dimensions == DIMENSIONS[1:]
    for still in (0, True, "5"):
        with pytest.raises(ValueError, match=f"still is {still!r}; say how many of a prompt's clips, e.g. 5"):
            PackageVBench(environment, files, {"still": still}, DIMENSIONS, 8)


def test_flickering_is_looked_for_in_the_first_clips_of_a_scene_that_stand_still(fake, monkeypatch):
    environment, files = fake
    still, looked = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], []

    def answers(_environment, _files, _hashes, dimension, of):
        looked.append((dimension, [sample["index"] for sample in of]))
        return [{dimension: still[sample["index"]] if dimension == "static_filter" else 0.5} for sample in of]

    monkeypatch.setattr(isolated_clips, "record", answers)
    films = [{"index": i, "prompt": text, "row": {}} for i, text in enumerate("aaaabbb")]
    monkeypatch.setattr(isolated_clips, "write", lambda *_: films)
    rows = [{"dimension": ["temporal_flickering"], "prompt_en": text} for text in "aaaab"]
    rows += [{"dimension": ["scene"], "prompt_en": "b"}, rows[-1]]
    asked = Asked(PromptSet(tuple("aaaabbb"), tuple(rows)), torch.arange(7))
    dimensions = ("temporal_flickering", "scene")
    clips = Kept(torch.zeros(7, 3, 2, 8, 8, dtype=torch.uint8))
    bench = PackageVBench(environment, files, {"still": 2}, dimensions, 8)
    assert bench(clips, asked) == {
        "static_filter": [1.0, 0.0, 1.0, 1.0, 0.0, None, 1.0],
        "temporal_flickering": [0.5, None, 0.5, None, None, None, 0.5],
        "scene": [None] * 5 + [0.5, None],
    }
    assert looked == [("static_filter", [0, 1, 2, 3, 4, 6]), ("temporal_flickering", [0, 2, 6]), ("scene", [5])]
    assert bench.preprocessing.endswith("temporal_flickering of the first 2 clips of a prompt that stand still")
    assert "static_filter" not in PackageVBench(environment, files, {}, dimensions, 8)(clips, asked)
    still[:] = [0.0] * 7
    with pytest.raises(ValueError, match="temporal_flickering: none of 6 clips stands still by VBench's filter"):
        bench(clips, asked)


def test_clips_become_files_and_dimensions_columns(fake):
    pytest.importorskip("av")
    environment, files = fake
    clips = Kept(torch.randint(0, 256, (3, 3, 4, 32, 32), dtype=torch.uint8))
    dimensions = (["scene", "color"], ["scene"], ["motion_smoothness"])
    rows = tuple({"dimension": each, "prompt_en": "a" * (i + 1)} for i, each in enumerate(dimensions))
    asked = Asked(PromptSet(("much longer", "and longer", "and longer still"), rows), torch.arange(3))
    found = PackageVBench(environment, files, {}, DIMENSIONS, 8)(clips, asked)
    assert found == {"scene": [1.0, 2.0, None], "color": [1.0, None, None]}  # nobody is asked for an action
    align = PackageVideoAlign(environment, files, 8)(clips, ["a", "bc", "def"])
    assert align == {"vq": [1.0] * 3, "mq": [0.0, 1.0, 2.0], "ta": [1.0, 2.0, 3.0]}
    bare = Asked(PromptSet(("a",), ({"include": []},)), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="its row has no 'dimension' and"):
        PackageVBench(environment, files, {}, DIMENSIONS, 8)(clips, bare)


@pytest.mark.parametrize(("stored", "written"), [("h264", 0), ("lossless", 3)])
def test_films_that_are_stored_as_packages_get_them_are_handed_over(fake, tmp_path, monkeypatch, stored, written):
    """Three films, two dimensions, one look at all: nothing is decoded and encoded again, and nothing written twice."""
    environment, files = fake
    size = Clip(frames=4, width=32, latent_frames=4, latent_width=16, fps=8, stored=stored)
    drawn = torch.randint(0, 256, (3, 3, 4, 32, 32), dtype=torch.uint8)
    write_films(tmp_path / "films", [(drawn, torch.arange(3))], 0, size, {"indices": [0, 3]})
    kept, _ = read_films(tmp_path / "films", read_manifest(tmp_path / "films"))
    calls, seen = [], []
    for module, name in ((films, "read_film"), (isolated_clips, "write_film")):
        original = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, f=original, n=name: (calls.append(n), f(*a))[1])
    recorded = isolated_clips.record
    monkeypatch.setattr(isolated_clips, "record", lambda *a: (seen.extend(a[-1]), recorded(*a))[1])
    rows = ({"dimension": ["scene", "color"], "prompt_en": "a"},) * 3
    found = PackageVBench(environment, files, {}, DIMENSIONS, 8)(
        kept, Asked(PromptSet(("a",) * 3, rows), torch.arange(3))
    )
    assert found == {"scene": [1.0] * 3, "color": [1.0] * 3}
    assert (calls.count("read_film"), calls.count("write_film")) == (written, written)
    own = {str((tmp_path / "films" / f"{i:06d}.mp4").resolve()) for i in range(3)}
    assert ({sample["video"] for sample in seen} == own) == (stored == "h264")
    assert kept.encoded(9) is None  # another speed is another film


def test_the_picture_of_a_row_goes_before_that_of_a_clip(tmp_path):
    pytest.importorskip("av")
    clips = Kept(torch.zeros(2, 3, 2, 32, 32, dtype=torch.uint8), torch.full((2, 3, 32, 32), 7, dtype=torch.uint8))
    own, given = isolated_clips.write(clips, ["a", "b"], [{"image": str(tmp_path / "a.jpg")}, {}], 8, tmp_path)
    assert own["picture"] == str((tmp_path / "a.jpg").resolve())
    assert given["picture"] == str(tmp_path / "000001.png")
    with Image.open(given["picture"]) as picture:
        assert picture.getpixel((3, 3)) == (7, 7, 7)


@pytest.fixture
def finish(tmp_path, fake, monkeypatch) -> Callable[[str], None]:
    """name -> an environment of that name is finished, which is this very Python, with the fake's scorer."""

    def make(name: str) -> None:
        shutil.copytree(isolated.RECIPES / "fake", isolated.RECIPES / name)
        made = tmp_path / "made" / name
        (made / "bin").mkdir(parents=True)
        (made / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (made / "bin" / "python").chmod(0o755)
        (made / "environment.json").write_text(json.dumps({"recipe": recipe(name), "packages": {}}))
        monkeypatch.setattr(isolated, "ENVIRONMENTS", made.parent)
        monkeypatch.setenv("AMD_CACHE", str(tmp_path / "cache"))

    return make


def test_what_vbench_leaves_out_has_no_number_is_0_in_totals_and_is_said(tmp_path, finish):
    pytest.importorskip("av")
    finish("vbench")
    library, without = load(CONFIG), "object_class multiple_objects color spatial_relationship"
    run = library.run("wan-teacher", "paper", 0)
    member = {
        "name": "vbench",
        "scorer": "package",
        "assets": [{"file": "weights.pt"}],
        "settings": {"without": without},
    }
    domain = run.domain.model_copy(update={"panel": {"vbench": Scorer.model_validate(member)}})
    run = replace(run, domain=domain, mirror=str(tmp_path))
    panel = build_video_panel(run, library.benchmarks["vbench"], torch.device("cpu"))
    rows = ({"dimension": list(vbench.DIMENSIONS), "prompt_en": "=0.5"},)
    asked = Asked(PromptSet(("much longer",), rows), torch.zeros(1, dtype=torch.int64))
    numbers = panel.numbers(panel.look(Kept(torch.zeros(1, 3, 2, 32, 32, dtype=torch.uint8)), asked), asked)
    known = {name: 0.5 for name in vbench.DIMENSIONS if name not in without.split()}
    found = vbench.totals(known)
    assert numbers == pytest.approx({**known, **found.groups, "total": found.total})
    said = panel.preprocessing["vbench"]
    assert said.endswith(
        "is zero in totals; nobody measures object_class, multiple_objects, color, spatial_relationship; clips of the "
        "short prompts of vbench-still, judged by VBench's own short texts"
    )


def test_a_line_of_a_domain_asks_videoalign_for_all_clips_at_once(tmp_path, finish):
    pytest.importorskip("av")
    finish("videoalign")
    library = load(CONFIG)
    run = library.run("sdxl-teacher", "paper", 0)
    member = {"name": "videoalign", "scorer": "package", "times": 100, "assets": [{"file": "weights.pt"}]}
    changed = {
        "panel": {"videoalign": Scorer.model_validate(member)},
        "metrics": {"mq": "MQ", "overall": "Total"},
        "clip": Clip(frames=2, width=32, latent_frames=2, latent_width=32, fps=8),
    }
    told = Prompts(source="videoalign-csv-shorter", variant="short")
    changed["prompts"] = run.domain.prompts | {"drawbench": told}
    run = replace(run, domain=run.domain.model_copy(update=changed), mirror=str(tmp_path))
    benchmark = library.benchmarks["drawbench"].model_copy(update={"metrics": ["mq", "ta", "overall"]})
    assert plan.environments(run, benchmark) == ["videoalign"]
    panel = build_video_panel(run, benchmark, torch.device("cpu"))
    clips = Kept(torch.zeros(3, 3, 2, 32, 32, dtype=torch.uint8))
    asked = Asked(PromptSet(("a", "bc", "def")), torch.arange(3))
    columns = panel.look(clips, asked)
    assert columns == {"vq": [1.0] * 3, "mq": [0.0, 1.0, 2.0], "ta": [1.0, 2.0, 3.0]}
    assert panel.numbers(columns, asked) == {"mq": 100.0, "overall": 400.0}  # ta has no name in this domain
    assert "mp4 libx264" in panel.preprocessing["videoalign"]
    assert "clips of the short prompts" in panel.preprocessing["videoalign"]


def test_a_file_holds_the_clip_as_an_encoder_keeps_it(tmp_path):
    av = pytest.importorskip("av")
    line = torch.linspace(0, 255, 32)
    clip = torch.stack([(line + 4 * t).clamp(0, 255).expand(3, 32, 32) for t in range(6)], 1).to(torch.uint8)
    write_film(tmp_path / "clip.mp4", clip, 8, "h264")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert container.streams.video[0].average_rate == 8
        read = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert len(read) == 6
    assert (torch.stack(read).permute(3, 0, 1, 2).float() - clip.float()).abs().mean() < 6
    with pytest.raises(ValueError, match="32 x 31 has an odd side"):
        write_film(tmp_path / "odd.mp4", clip[..., :31], 8, "h264")
    with pytest.raises(ValueError, match=r"a clip is uint8 \(3, F, H, W\), not torch.float32"):
        write_film(tmp_path / "float.mp4", clip.float(), 8, "h264")


def test_a_file_that_no_asset_gives_is_named_before_anything_is_scored(fake):
    environment, files = fake
    with pytest.raises(ValueError, match=r"environment 'fake': scene reads weights\.pt, which is none of the assets"):
        PackageVBench(environment, {}, {}, DIMENSIONS, 8)
    with pytest.raises(ValueError, match=r"it reads weights\.pt"):
        PackageVideoAlign(environment, {}, 8)
    own = Environment("vbench", environment.python, "", {})
    shutil.copytree(CONFIG.parent / "workflow" / "envs" / "vbench", isolated.RECIPES / "vbench")
    with pytest.raises(ValueError, match=r"camera_motion is not measured here.*; name it in settings: \{without"):
        PackageVBench(own, files, {}, ("camera_motion",), 8)


def test_a_score_names_the_dimensions_that_are_left_out_and_the_texts_that_clips_were_made_from():
    whole = Bench("vbench", lambda clips, asked: {}, "zero", 100, "", "as they are")
    fewer = Bench("vbench", lambda clips, asked: {}, "zero", 100, "", "as they are", ("color", "scene"))
    assert fewer.preprocessing == f"{whole.preprocessing}; nobody measures color, scene"
    prompts = load(CONFIG).domains["wan"].prompts
    assert words(prompts["vbench"], "vbench").endswith(
        "the short prompts of vbench-still, judged by VBench's own short texts"
    )
    assert words(prompts["ta-hard"], "videoalign").endswith("prompts of videoalign-csv, judged by the same texts")
    assert words(prompts["train"], "videoalign") == words(None, "vbench") == ""


def test_videoaligns_scales_are_asserted_before_any_weight_is_read():
    module = runner("videoalign")
    published = {
        f"{part.upper()}_{what}": value
        for part, scale in videoalign_frames.PUBLISHED.items()
        for what, value in scale._asdict().items()
    }
    assert published == module.SCALES
    config = {"inference_config": published, "model_config": {"model_name_or_path": "hub"}, "data_config": {}}
    assert module.configured(config, Path("/q"))["model_config"]["model_name_or_path"] == "/q"
    assert videoalign_frames.scales(config) == videoalign_frames.PUBLISHED
    with pytest.raises(SystemExit, match=r"inference_config\.VQ_mean is None, published is 3\.6757"):
        module.configured({"model_config": {}}, Path("/q"))
    with pytest.raises(SystemExit, match=r"inference_config\.TA_std is 1\.0"):
        module.configured(config | {"inference_config": published | {"TA_std": 1.0}}, Path("/q"))
    assert set(module.CODE) <= set(module.needs(None))
