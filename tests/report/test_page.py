"""A page holds its text and its picture, and asks nobody for anything."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from amd.report import page
from amd.report.moving import PAUSE, save_moving


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "table.md"
    file.write_text("# Scores\n\n| a | b |\n| --- | --- |\n| 1 | <script>2</script> |\n")
    return file


def held(out: Path) -> tuple[str, Image.Image]:
    kind, data = re.findall(r'src="data:image/(\w+);base64,([^"]+)"', out.read_text())[0]
    return kind, Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_picture_that_moves_plays_frame_for_frame_at_its_speed(text: Path, tmp_path: Path):
    random = np.random.default_rng(0)
    frames = [Image.fromarray(random.integers(0, 256, (24, 32, 3), np.uint8)) for _ in range(4)]
    save_moving(frames, tmp_path / "grid.png", seconds=2.0, about=PngInfo())
    page.write(text, tmp_path / "page.html", "Clips", tmp_path / "grid.png")
    kind, shown = held(tmp_path / "page.html")
    assert (kind, shown.n_frames) == ("webp", 4)
    durations = []
    for place, frame in enumerate(frames):
        shown.seek(place)
        shown.load()
        durations.append(shown.info["duration"])
        assert np.array_equal(np.asarray(shown.convert("RGB")), np.asarray(frame))
    assert durations == [500, 500, 500, PAUSE * 500]


def test_a_still_picture_is_held_as_it_is(text: Path, tmp_path: Path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    page.write(text, tmp_path / "page.html", "Red", tmp_path / "red.png")
    kind, shown = held(tmp_path / "page.html")
    assert (kind, shown.size) == ("png", (8, 8))


def test_nothing_is_loaded_and_nothing_written_is_run(text: Path, tmp_path: Path):
    page.write(text, tmp_path / "page.html", "Scores & more")
    said = (tmp_path / "page.html").read_text()
    assert "<td>1</td>" in said
    assert "<script" not in said
    assert "<title>Scores &amp; more</title>" in said
    assert not re.search(r'(src|href)="(?!data:)', said)
