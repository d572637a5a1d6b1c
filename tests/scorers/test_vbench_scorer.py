"""VBench's runner: the files and packages that it reads, what it is told of clips, and how its answers are put."""

import json
from pathlib import Path

import pytest
from manifests import WILD, samples

from amd import doctor
from amd.config.load import load
from amd.measure import isolated, isolated_clips
from amd.measure.isolated import Environment, recipe
from amd.measure.video_panel import BENCHES

CONFIG = Path(__file__).parents[2] / "config"
runner = isolated_clips.scorer_of


def install(environment: Path, package: str) -> None:
    """As far as pip leaves a trace."""
    folder = environment / "lib" / "python3.11" / "site-packages" / f"{package}-0.6.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.6\n")


def test_vbench_finds_every_file_where_it_looks_and_prompts_in_its_list_alone(tmp_path):
    module = runner("vbench")
    for dimension in ("overall_consistency", "subject_consistency", "i2v_subject"):
        assert module.needs(dimension) == list(module.FILES[dimension])
    with pytest.raises(SystemExit, match="dimension camera_motion is not measured here"):
        module.needs("camera_motion")
    (tmp_path / "amt-s.pth").write_bytes(b"weights")
    places = module.FILES["motion_smoothness"]
    module.link({"amt-s.pth": str(tmp_path / "amt-s.pth")}, places, tmp_path / "links")
    assert (tmp_path / "links" / places["amt-s.pth"]).read_bytes() == b"weights"
    of = samples(tmp_path, WILD, "a red bicycle")
    of[1] |= {"row": {"auxiliary_info": {"color": {"color": "red"}}}, "picture": "/there/000003.png"}
    videos = module.named(of, "color", tmp_path / "videos")
    assert [Path(video).name for video in videos] == ["000000.mp4", "000003.mp4"]
    assert Path(videos[0]).read_bytes() == b"frames"
    first, second = module.full_info(of, videos, "color")
    assert first == {"prompt_en": WILD, "dimension": ["color"], "video_list": [videos[0]]}
    assert second["auxiliary_info"] == {"color": {"color": "red"}}
    assert second["image_name"] == "/there/000003.png"


@pytest.mark.parametrize(("domain", "stem"), [("wan", "vbench"), ("wan-i2v", "vbench-i2v")])
def test_a_domain_lists_the_files_that_its_dimensions_read_and_no_others(domain, stem):
    scorer = load(CONFIG).domains[domain].panel[stem]
    module, without = runner("vbench"), str(scorer.settings.get("without", "")).split()
    asked = [name for name in BENCHES[stem][0] if name not in without]
    listed = [Path(asset.file).name for asset in scorer.assets]
    assert len(set(listed)) == len(listed)  # files are told apart by their names
    assert set(listed) == {name for dimension in asked for name in module.needs(dimension)}
    assert all(asset.url and asset.license for asset in scorer.assets)


def test_vbench_runs_where_transformers_finds_bert_by_its_name(tmp_path, monkeypatch):
    """Tag2Text and GRiT ask for "bert-base-uncased", and nothing is fetched: a folder of that name is believed."""
    module, there = runner("vbench"), Path.cwd()
    names = module.needs("scene")
    for name in names:
        (tmp_path / name).write_text(name)

    def measured(*_):
        read = [(Path("bert-base-uncased") / name).read_text() for name in ("vocab.txt", "model.safetensors")]
        assert read == ["vocab.txt", "model.safetensors"]
        return []

    monkeypatch.setattr(module, "measured", measured)
    monkeypatch.setattr(module.os, "environ", {})
    files = {name: str(tmp_path / name) for name in names}
    asked = {"dimension": "scene", "files": files, "device": "cpu", "samples": samples(tmp_path, "a")}
    assert module.score(asked)[0] == [{"scene": None}]
    assert Path.cwd() == there
    assert "bert-base-uncased/vocab.txt" in module.FILES["object_class"].values()


def test_what_no_index_has_is_asked_for_only_where_a_dimension_needs_it(tmp_path):
    python = tmp_path / "vbench" / "bin" / "python"
    bare = Environment("vbench", python, "", {})
    module = runner("vbench")
    dimensions = tuple(module.FILES)
    files = {name: tmp_path / name for each in dimensions for name in module.needs(each)}
    with pytest.raises(ValueError, match="object_class, multiple_objects, color, spatial_relationship need detectron2"):
        isolated_clips.ready(bare, files, dimensions)
    isolated_clips.ready(bare, files, [name for name in dimensions if name not in module.BUILT])
    install(tmp_path / "vbench", "detectron2")
    isolated_clips.ready(bare, files, dimensions)


def test_the_doctor_names_what_vbench_lacks_and_what_would_be_left_out(tmp_path, monkeypatch):
    library = load(CONFIG)
    monkeypatch.setattr(isolated, "ENVIRONMENTS", tmp_path)
    environment, lost = doctor._environments(library.domains["wan"])
    assert (environment.state, lost.state, lost.what) == ("bare", "bad", "detectron2")
    without = "object_class multiple_objects color spatial_relationship"
    assert f"config/domains/wan.yaml: panel.vbench.settings: {{still: 5, without: {without}}}" in lost.words
    said = library.domains["wan"].panel["vbench"].model_copy(update={"settings": {"without": without}})
    fewer = library.domains["wan"].model_copy(update={"panel": {"vbench": said}})
    assert [found.what for found in doctor._environments(fewer)] == ["environment"]
    assert [found.what for found in doctor._environments(library.domains["wan-i2v"])] == ["environment"]
    assert list(doctor._environments(library.domains["clips"])) == []
    install(tmp_path / "vbench", "detectron2")
    (tmp_path / "vbench" / "environment.json").write_text(json.dumps({"recipe": recipe("vbench"), "packages": {}}))
    assert [found.state for found in doctor._environments(library.domains["wan"])] == ["good", "good"]


def test_a_label_of_a_closed_list_is_the_only_word_in_a_name(tmp_path, monkeypatch):
    module = runner("vbench")
    monkeypatch.setattr(module, "kinetics", lambda: frozenset({"riding a bike"}))
    (path,) = module.named(samples(tmp_path, "A person is riding a bike"), "human_action", tmp_path / "videos")
    name = Path(path).name
    assert name == "riding a bike-000000.mp4"
    assert name.lower().split("-")[0].split("person is ")[-1].split("_")[0] == "riding a bike"  # how VBench reads it
    with pytest.raises(SystemExit, match="sample 0: its prompt names no action of Kinetics-400"):
        module.named(samples(tmp_path, "../../a person is up to something"), "human_action", tmp_path / "more")


def test_vbenchs_answers_are_put_in_order_and_to_one_scale():
    module = runner("vbench")
    said = [{"video_path": "b", "video_results": True}, {"video_path": "a", "video_results": 0.25}]
    assert module.in_order(said, ["a", "b", "c"], "color") == [{"color": 0.25}, {"color": 1.0}, {"color": None}]
    quality = module.in_order([{"video_path": "a", "video_results": 66.4}], ["a"], "imaging_quality")
    assert quality[0]["imaging_quality"] == pytest.approx(0.664)  # its mean is divided by 100, its videos are not
    with pytest.raises(SystemExit, match="vbench speaks of d"):
        module.in_order([{"video_path": "d", "video_results": 1}], ["a"], "color")
