"""Films: what is written is what is read, shards join, and what was altered is refused."""

import json
from pathlib import Path

import pytest
import torch

from amd.config.schema.assets import Clip
from amd.measure.films import Film, Stored, gather_films, read_films, write_film, write_films
from amd.measure.sample import gather, read_manifest
from amd.report.gallery import grid

LOSSLESS = Clip(frames=6, width=16, latent_frames=6, latent_width=8, fps=8, stored="lossless")
ALIKE = {"benchmark": "b", "version": 1, "run": "r", "seed": 0, "run_digest": "d", "weights_sha256": "w", "of": 5}


def clips(count: int, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 6, 12, 16), dtype=torch.uint8, generator=draw)


def written(folder: Path, start: int, count: int) -> torch.Tensor:
    x = clips(count, start)
    batches = [(x[i : i + 2], torch.arange(start + i, start + i + len(x[i : i + 2]))) for i in range(0, count, 2)]
    said = {**ALIKE, "indices": [start, start + count], "prompts": [f"prompt {i}" for i in range(5)]}
    write_films(folder, batches, start, LOSSLESS, said)
    return x


def test_lossless_films_are_read_as_they_were_written(tmp_path: Path) -> None:
    x = written(tmp_path / "a", 0, 5)
    films, labels = read_films(tmp_path / "a", read_manifest(tmp_path / "a"))
    assert len(films) == 5
    assert torch.equal(films.take(range(5)), x)
    assert torch.equal(films.take([3, 1]), x[[3, 1]])
    assert labels.tolist() == [0, 1, 2, 3, 4]


def test_h264_is_close_and_refuses_odd_sides(tmp_path: Path) -> None:
    ramp = torch.linspace(40, 200, 32).expand(3, 4, 16, 32).to(torch.uint8)
    write_film(tmp_path / "a.mp4", ramp, 8, "h264")
    films = read_films_of(tmp_path / "a.mp4")
    assert (films.float() - ramp.float()).abs().mean() < 3
    with pytest.raises(ValueError, match="odd side"):
        write_film(tmp_path / "b.mp4", ramp[:, :, :15], 8, "h264")


def read_films_of(file: Path) -> torch.Tensor:
    from amd.measure.films import read_film

    return read_film(file)


@pytest.mark.parametrize("stored", ["lossless", "h264"])
def test_a_film_written_in_parts_is_the_film_written_at_once(tmp_path: Path, stored: Stored) -> None:
    x = clips(1)[0]
    write_film(tmp_path / "whole.mp4", x, 8, stored)
    with Film(tmp_path / "parts.mp4", 8, stored) as film:
        for part in x.split((1, 3, 2), 1):
            film.add(part)
    assert (tmp_path / "parts.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_shards_join_into_the_same_films(tmp_path: Path) -> None:
    parts = [written(tmp_path / "0", 0, 2), written(tmp_path / "1", 2, 3)]
    gather([tmp_path / "1", tmp_path / "0"], tmp_path / "whole")
    manifest = read_manifest(tmp_path / "whole")
    films, labels = read_films(tmp_path / "whole", manifest)
    assert manifest["indices"] == [0, 5]
    assert torch.equal(films.take(range(5)), torch.cat(parts))
    assert labels.tolist() == [0, 1, 2, 3, 4]


def test_an_altered_or_missing_film_is_named(tmp_path: Path) -> None:
    written(tmp_path / "a", 0, 3)
    manifest = read_manifest(tmp_path / "a")
    (tmp_path / "a" / "000001.mp4").write_bytes(b"no film")
    with pytest.raises(ValueError, match=r"000001\.mp4: truncated or altered"):
        read_films(tmp_path / "a", manifest)
    (tmp_path / "a" / "000001.mp4").unlink()
    with pytest.raises(ValueError, match=r"000001\.mp4: not there"):
        gather_films([(tmp_path / "a", manifest)], tmp_path / "b", manifest)


def test_a_grid_of_films_moves_and_says_its_prompts(tmp_path: Path) -> None:
    from PIL import Image

    written(tmp_path / "a", 0, 5)
    grid(tmp_path / "a", tmp_path / "grid.png", rows=3)
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.n_frames == 6
        assert json.loads(picture.info["captions"]) == ["prompt 0", "prompt 2", "prompt 4"]
