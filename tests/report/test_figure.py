"""Figures: the plotted numbers are the files', what is missing is named, and the pictures are pictures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from amd.config import plan
from amd.report.figure import build
from amd.report.gallery import grid, tile

ITERATIONS = [0, 30, 60]


def drawn(results: Any, name: str) -> tuple[dict[str, Any], str, np.ndarray]:
    """The json, the caption and the pixels of a figure."""
    out = results.root / "figures" / name
    build(results.library, name, results.scale, out, root=results.root)
    content = json.loads(out.with_suffix(".json").read_text())
    with Image.open(out.with_suffix(".png")) as picture:
        return content, out.with_suffix(".md").read_text(), np.asarray(picture.convert("RGB"))


@pytest.fixture
def traced(results):
    """Traces of Figure 5's systems but one, three seeds each."""
    for place, system in enumerate(("sit-dmd", "sit-amd", "sit-amd-without-adaptation")):
        for seed in range(3):
            curve = [60.0, 30.0 - place, 15.0 - place + seed]
            results.trace(system, seed, ITERATIONS, fid=curve, is_=[7.0, 8.0 + seed, 9.0], reward=[-0.4, -0.2, -0.1])
    return results


def test_curves_plot_every_seed_at_every_milestone(traced) -> None:
    content, caption, pixels = drawn(traced, "figure5")
    amd = content["systems"]["AMD"]
    assert amd["iterations"] == ITERATIONS
    assert amd["metrics"]["fid"] == [[60.0, 29.0, 14.0], [60.0, 29.0, 15.0], [60.0, 29.0, 16.0]]
    assert "AMD w/o repulsive sharpening" not in content["systems"]
    assert "Not run at this scale yet: AMD w/o repulsive sharpening." in caption
    assert "3 training seeds" in caption
    assert pixels.shape[1] > 1000
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_picture_shows_the_numbers_that_it_is_given(traced) -> None:
    *_, before = drawn(traced, "figure5")
    *_, again = drawn(traced, "figure5")
    assert np.array_equal(before, again)
    traced.trace("sit-amd", 1, ITERATIONS, fid=[60.0, 29.0, 5.0], is_=[7.0, 9.0, 9.0], reward=[-0.4, -0.2, -0.1])
    *_, other = drawn(traced, "figure5")
    assert not np.array_equal(before, other)


def test_coevolution_reports_the_rank_correlation_of_each_seed(traced) -> None:
    content, caption, _ = drawn(traced, "figure6")
    assert content["systems"]["DMD"]["rank_correlation"][0] == pytest.approx(1.0)  # 7 < 8 < 9, -.4 < -.2 < -.1
    assert content["systems"]["DMD"]["rank_correlation"][2] == pytest.approx(0.5)  # 7, 10, 9 against 1, 2, 3
    assert "DMD 0.79" in caption  # seed 1 has two equal scores: 0.866


def test_trace_of_another_configuration_is_not_drawn(traced) -> None:
    file = traced.trace("sit-amd", 0, ITERATIONS, fid=[1.0] * 3, is_=[1.0] * 3, reward=[1.0] * 3)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"run_digest": "000000000000"}))
    content, *_ = drawn(traced, "figure5")
    assert content["systems"]["AMD"]["seeds"] == [1, 2]


def test_seeds_traced_at_different_iterations_are_refused(traced) -> None:
    traced.trace("sit-amd", 0, [0, 30, 50], fid=[1.0] * 3, is_=[1.0] * 3, reward=[1.0] * 3)
    with pytest.raises(ValueError, match="traces of AMD: seeds have different iterations"):
        drawn(traced, "figure5")


def test_dose_is_plotted_in_its_order_with_intervals(results) -> None:
    for k, system in {3.0: "sit-amd-k3", 0.2: "sit-amd-k02", 1.0: "sit-amd"}.items():
        for seed in range(3):
            results.score(system, seed, fid=15 + k + seed, reward=-0.1, recall=0.6)
    content, caption, _ = drawn(results, "dose")
    entry = content["systems"]["k = 3"]
    assert (entry["dose"], entry["metrics"]["fid"]) == (3.0, [18.0, 19.0, 20.0])
    assert entry["summary"]["fid"]["mean"] == 19.0
    assert "95% intervals" in caption
    assert "k = 0, k = 0.5, k = 2" in caption


@pytest.mark.parametrize("name", ["figure5", "figure6", "dose", "grids"])
def test_figure_without_any_input_says_what_to_run(results, name: str) -> None:
    with pytest.raises(
        ValueError, match=rf"figures/{name}.yaml: no (trace|score|grid) exists at scale tiny yet; run amd"
    ):
        drawn(results, name)


def test_unknown_figure_lists_the_known(results) -> None:
    with pytest.raises(ValueError, match=r"'figure55' is no figure; known: .*figure5"):
        drawn(results, "figure55")


def test_caption_and_picture_carry_the_banner(traced) -> None:
    content, caption, _ = drawn(traced, "figure5")
    assert any("Not comparable" in line for line in content["banner"])
    assert "> Scale tiny" in caption


def test_gallery_shows_every_systems_grid(results) -> None:
    for system in ("sit-teacher", "sit-dmd", "sit-amd"):
        grid(results.samples(plan.samples("tiny", system, 0, "class")), results.root / plan.grid("tiny", system, 0))
    content, caption, _ = drawn(results, "grids")
    assert list(content["systems"]) == ["Teacher", "DMD", "AMD"]
    assert content["systems"]["AMD"]["grid"] == plan.grid("tiny", "sit-amd", 0)
    assert "Start (short)" in caption.partition("Not run")[2]


def test_grid_has_a_class_per_row_and_samples_in_order(results, tmp_path: Path) -> None:
    grid(results.samples("s", count=60), tmp_path / "grid.png", columns=4)
    with Image.open(tmp_path / "grid.png") as picture:
        pixels = np.asarray(picture)
    cell = 16 * 2 + 2  # enlarged twice, and the gap
    assert pixels.shape == (10 * cell - 2, 4 * cell - 2)
    centres = pixels[16::cell, 16::cell]
    assert centres.tolist() == [[label + 10 * column for column in range(4)] for label in range(10)]


def test_grid_of_many_classes_shows_some_evenly_spaced(results, tmp_path: Path) -> None:
    grid(results.samples("s", count=200, classes=100, channels=3, side=64), tmp_path / "grid.png", rows=4, columns=2)
    with Image.open(tmp_path / "grid.png") as picture:
        pixels, said = np.asarray(picture), picture.text["Description"]  # type: ignore[attr-defined]
    assert pixels.shape == (4 * 66 - 2, 2 * 66 - 2, 3)
    assert pixels[32::66, 32, 0].tolist() == [0, 33, 66, 99]
    assert said.startswith("classes 0, 33, 66, 99")


def test_grid_of_missing_samples_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere/samples.npz: not there"):
        grid(tmp_path / "nowhere", tmp_path / "grid.png")
    assert list(tmp_path.iterdir()) == []


def test_class_with_fewer_samples_leaves_white_places() -> None:
    black = np.zeros((40, 40, 1), np.uint8)
    pixels = np.asarray(tile([[black, black], [black]]))
    assert pixels[20, 60] == 0
    assert pixels[62, 60] == 255


def test_a_grid_of_prompts_says_them(results, tmp_path: Path) -> None:
    prompts = [f"{count} red hearts left of a box" for count in range(12)]
    folder = results.samples("s", count=12, classes=12, channels=3, side=32)
    (folder / "manifest.json").write_text(json.dumps({"prompts": prompts}))
    grid(folder, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        shown = json.loads(picture.info["captions"])
        tiles = np.asarray(picture)[:, : int(picture.info["tile width"])]
        words = np.asarray(picture)[:, int(picture.info["tile width"]) :]
    assert len(shown) == 10
    assert set(shown) <= set(prompts)
    assert tiles.shape[:2] == (10 * 64 + 9 * 2, 64)
    assert all((part < 128).any() for part in np.array_split(words, 10))  # something is written in every row


def test_gallery_of_prompts_has_a_column_for_each_system(results) -> None:
    prompts = [f"prompt {index}" for index in range(12)]
    for system in ("sdxl-teacher", "sdxl-amd"):
        folder = results.samples(plan.samples("tiny", system, 0, "coco10k"), count=12, classes=12, channels=3, side=32)
        (folder / "manifest.json").write_text(json.dumps({"prompts": prompts}))
        grid(folder, results.root / plan.grid("tiny", system, 0))
    content, caption, _ = drawn(results, "gallery-text")
    assert set(content["systems"]) == {"Teacher", "AMD"}
    assert "A row per prompt" in caption
