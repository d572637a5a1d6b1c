"""Clips from film files: at the clip's speed, by its middle, opened when they are asked for."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from amd.config.schema.assets import Asset, Clip
from amd.data.captioned import captioned
from amd.data.film_folder import beginning
from amd.measure.films import write_film

CLIP = Clip(frames=4, width=24, latent_frames=4, latent_width=12, fps=8)
OWN = [Asset(file="own/captions.jsonl")]
LEVEL = 10  # of grey, between a frame and the next


def greys(frames: int, height: int = 16, width: int = 24) -> torch.Tensor:
    """uint8 (3, F, H, W): frame k is of one grey, LEVEL k."""
    return (LEVEL * torch.arange(frames, dtype=torch.uint8))[None, :, None, None].expand(3, -1, height, width)


def numbers(clip: torch.Tensor) -> list[int]:
    """Which frames of `greys` a clip (3, F, H, W) shows."""
    return [round(float(frame.float().mean()) / LEVEL) for frame in clip.unbind(1)]


@pytest.fixture
def folder(tmp_path: Path, own_cache: object) -> Path:
    """Films of 8, 16, 4 and 12 frames a second, the last one in WebM."""
    own = tmp_path / "mirror" / "own"
    own.mkdir(parents=True)
    write_film(own / "same.mp4", greys(4), 8, "lossless")
    write_film(own / "fast.mp4", greys(20), 16, "lossless")
    write_film(own / "slow.mp4", greys(2), 4, "lossless")
    with av.open(str(own / "web.webm"), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=12, options={"lossless": "1", "cpu-used": "8"})
        stream.height, stream.width, stream.pix_fmt = 16, 24, "yuv420p"
        for frame in greys(8).permute(1, 2, 3, 0).numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    said = [{"file": name, "caption": name[:4]} for name in ("same.mp4", "fast.mp4", "slow.mp4", "web.webm")]
    (own / "captions.jsonl").write_text("\n".join(json.dumps(line) for line in said))
    return tmp_path / "mirror"


def test_films_of_any_speed_are_shown_at_the_clips(folder: Path) -> None:
    found = captioned("film-folder", OWN, folder, (3, 16), clip=CLIP)
    assert found.captions == ["same", "fast", "slow", "web."]
    assert (found.scenes, found.rows, found.filmed) == (None, None, None)
    clips = found.pixels[torch.arange(4)]
    assert clips.shape == (4, 3, 4, 16, 24)
    # 0, 1/8, 2/8, 3/8 s; of two frames that are as near the earlier: 1/8 s is between WebM's frames of 1/12 and 2/12
    assert [numbers(clip) for clip in clips[:3]] == [[0, 1, 2, 3], [0, 2, 4, 6], [0, 0, 1, 1]]
    assert numbers(clips[3])[::2] == [0, 3]
    assert numbers(clips[3])[1] in (1, 2)  # milliseconds are rounded
    assert torch.equal(clips[0], greys(4))
    x = found.take(torch.tensor([1, 0]))
    assert x.dtype == torch.float32
    assert torch.equal(((x + 1) * 127.5).round().to(torch.uint8), clips[[1, 0]])


def test_a_clip_is_the_middle_of_its_film_in_the_clips_shape(folder: Path) -> None:
    film = torch.full((3, 4, 20, 60), 200, dtype=torch.uint8)
    film[:, :, :, 15:45] = 50  # the middle 3 : 2
    write_film(folder / "own" / "same.mp4", film, 8, "lossless")
    clip = captioned("film-folder", OWN, folder, (3, 16), clip=CLIP).pixels[torch.tensor([0])]
    assert clip.shape == (1, 3, 4, 16, 24)
    assert bool((clip == 50).all())


def test_nothing_is_opened_before_it_is_asked_for(folder: Path) -> None:
    (folder / "own" / "fast.mp4").write_bytes(b"no film")
    found = captioned("film-folder", OWN, folder, (3, 16), clip=CLIP)
    assert found.pixels[torch.tensor([0])].shape[0] == 1
    with pytest.raises(ValueError, match=r"fast\.mp4: no film: "):
        found.pixels[torch.tensor([1])]


def test_what_is_longer_gives_its_beginning_and_what_is_shorter_is_named(folder: Path) -> None:
    longer = CLIP.model_copy(update={"frames": 5})
    found = captioned("film-folder", OWN, folder, (3, 16), clip=longer)
    assert numbers(found.pixels[torch.tensor([1])][0]) == [0, 2, 4, 6, 8]
    short = r"same\.mp4: too short: a clip is 5 frames \(0\.62 s\) at 8 a second, and it has 4 frames \(0\.50 s\)"
    with pytest.raises(ValueError, match=short):
        found.pixels[torch.tensor([0])]
    assert len(beginning(folder / "own" / "fast.mp4", 10, 8)) == 10  # 20 frames of a sixteenth of a second
    with pytest.raises(ValueError, match="it has 10 frames"):
        beginning(folder / "own" / "fast.mp4", 11, 8)


def test_a_film_that_is_not_there_is_named_before_any_training(folder: Path) -> None:
    (folder / "own" / "slow.mp4").unlink()
    with pytest.raises(ValueError, match=r"captions\.jsonl: 1 of its 4 films are not there, first .*slow\.mp4"):
        captioned("film-folder", OWN, folder, (3, 16), clip=CLIP)
    with pytest.raises(ValueError, match=r"'film-folder' needs one asset: its captions, .* for each film"):
        captioned("film-folder", (), folder, (3, 16), clip=CLIP)
