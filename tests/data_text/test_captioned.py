"""Pictures with captions: composed scenes, and a folder of a user's own."""

import json
import time

import numpy as np
import pytest
import torch
from PIL import Image

from amd.config.schema.assets import Asset, Clip
from amd.data.assets import MissingAsset
from amd.data.captioned import FILMS, captioned, choose, unique
from amd.data.motion import draw_motion
from amd.data.pictures import fitted, square
from amd.data.prompts import prompts
from amd.data.rows import TRAINING, draw_metadata
from amd.data.scenes import compose


def test_scenes_come_with_captions_and_ground_truth():
    found = captioned("emoji-scenes", pixels=(3, 32), count=60, seed=4)
    assert found.pixels.shape == (60, 3, 32, 32)
    assert found.pixels.dtype == torch.uint8
    assert len(found) == len(found.captions) == len(found.scenes) == len(found.prompt) == 60
    assert [found.texts[i] for i in found.prompt.tolist()] == found.captions
    row = draw_metadata(4, 7, TRAINING)
    picture, scene = compose(row, (4 << 32) + 7, 32)
    assert found.captions[7] == row["prompt"]
    assert np.array_equal(found.pixels[7].numpy(), picture)
    assert found.scenes[7] == scene


def test_pictures_are_taken_in_the_range_the_networks_see():
    found = captioned("emoji-scenes", count=8)
    x = found.take(torch.tensor([3, 0, 3]))
    assert x.shape == (3, 3, 32, 32)
    assert x.dtype == torch.float32
    assert torch.equal(x[0], x[2])
    assert torch.equal(((x + 1) * 127.5).round().to(torch.uint8), found.pixels[[3, 0, 3]])
    assert x.abs().max() <= 1


def test_a_longer_collection_begins_with_the_shorter_one():
    short, long = captioned("emoji-scenes", count=20), captioned("emoji-scenes", count=30)
    assert torch.equal(short.pixels, long.pixels[:20])
    assert long.texts[: len(short.texts)] == short.texts


def test_its_texts_are_those_of_the_training_prompts():
    """So the states of one list of prompts serve the teacher's pictures and the students' prompts."""
    found = captioned("emoji-scenes", count=300, seed=2)
    assert found.texts == prompts("emoji-train", count=len(found.texts), seed=2).texts


def test_another_seed_has_other_scenes():
    one, other = captioned("emoji-scenes", count=20, seed=0), captioned("emoji-scenes", count=20, seed=1)
    assert one.captions != other.captions
    assert not any(torch.equal(a, b) for a, b in zip(one.pixels, other.pixels, strict=True))


def test_eight_thousand_scenes_take_seconds():
    captioned("emoji-scenes", count=50)  # sprites are shrunk once
    start = time.process_time()
    captioned("emoji-scenes", count=400)
    assert (time.process_time() - start) / 400 * 8000 < 10


@pytest.fixture
def folder(tmp_path, own_cache):
    """Four pictures, of which two show the same."""
    place = tmp_path / "mirror" / "own"
    (place / "pictures").mkdir(parents=True)
    lines = []
    for i, (size, caption) in enumerate(
        [((40, 20), "wide"), ((20, 60), "tall"), ((32, 32), "wide"), ((9, 9), "small")]
    ):
        picture = np.zeros((size[1], size[0], 3), np.uint8)
        picture[..., i % 3] = 255  # one colour each
        x, y = (size[0] - min(size)) // 2, (size[1] - min(size)) // 2
        mark = picture.copy()
        mark[...] = 128  # grey outside of the middle square
        mark[y : y + min(size), x : x + min(size)] = picture[y : y + min(size), x : x + min(size)]
        Image.fromarray(mark).save(place / "pictures" / f"{i}.png")
        lines.append(json.dumps({"file": f"pictures/{i}.png", "caption": caption}))
    (place / "captions.jsonl").write_text("\n".join(lines) + "\n\n")
    return tmp_path / "mirror"


OWN = [Asset(file="own/captions.jsonl")]


def test_a_folder_gives_the_middle_square_of_its_pictures(folder):
    found = captioned("folder", OWN, folder, (3, 16))
    assert found.captions == ["wide", "tall", "wide", "small"]
    assert found.texts == ("wide", "tall", "small")
    assert found.prompt.tolist() == [0, 1, 0, 2]
    assert found.scenes is None
    x = found.take(torch.tensor([0, 1, 2, 3, 1]))
    assert x.shape == (5, 3, 16, 16)
    for row, i in zip(x, [0, 1, 2, 3, 1], strict=True):
        pure = torch.full((3, 16, 16), -1.0)
        pure[i % 3] = 1
        assert torch.equal(row, pure)


def test_fewer_pictures_are_a_choice_by_seed_in_their_order(folder):
    chosen = {tuple(captioned("folder", OWN, folder, (3, 8), 2, seed).captions) for seed in range(20)}
    assert chosen <= {("wide", "tall"), ("wide", "wide"), ("wide", "small"), ("tall", "wide"), ("tall", "small")}
    assert len(chosen) > 2
    assert (
        captioned("folder", OWN, folder, (3, 8), 2, 5).captions
        == captioned("folder", OWN, folder, (3, 8), 2, 5).captions
    )


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", r"captions\.jsonl:1: not JSON"),
        ('["a.png", "a cat"]', r"captions\.jsonl:1: want \{\"file\""),
        ('{"file": "a.png"}', r"captions\.jsonl:1: want \{\"file\""),
        ('{"file": "../a.png", "caption": "a"}', r"captions\.jsonl:1: file '\.\./a\.png' is outside"),
        ('{"file": "/etc/a.png", "caption": "a"}', r"captions\.jsonl:1: file '/etc/a\.png' is outside"),
        ('{"file": "a.png", "caption": "a"}', r"1 of its 1 pictures are not there, first .*a\.png"),
    ],
)
def test_a_folder_s_mistakes_are_named(tmp_path, own_cache, line, complaint):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "captions.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match=complaint):
        captioned("folder", OWN, tmp_path, (3, 8))


def test_what_a_source_has_not_is_refused(folder, own_cache):
    with pytest.raises(ValueError, match="'mnist5k' has no captions; those that have: emoji-scenes, folder"):
        captioned("mnist5k")
    with pytest.raises(ValueError, match="is in colour, 3 channels; the domain's pixels ask for 1"):
        captioned("emoji-scenes", pixels=(1, 32), count=3)
    with pytest.raises(ValueError, match="has no end: say how many"):
        captioned("emoji-scenes")
    with pytest.raises(ValueError, match=r"has no assets, not 'own/captions\.jsonl'"):
        captioned("emoji-scenes", OWN, count=2)
    with pytest.raises(ValueError, match="'folder' needs one asset"):
        captioned("folder")
    with pytest.raises(ValueError, match="5 are asked for, and it has 4"):
        captioned("folder", OWN, folder, (3, 8), 5)
    with pytest.raises(MissingAsset):
        captioned("folder", [Asset(file="nowhere/captions.jsonl")], folder)


def test_choosing_all_and_telling_apart():
    assert choose(3, None, 0, "it") == [0, 1, 2]
    assert choose(3, 3, 9, "it") == [0, 1, 2]
    index, texts = unique(["b", "a", "b"])
    assert (index.tolist(), texts) == ([0, 1, 0], ("b", "a"))


# --- clips -----------------------------------------------------------------------------------------------------------

CLIP = Clip(frames=6, width=40, latent_frames=6, latent_width=20, fps=8)


def test_clips_come_with_captions_and_ground_truth():
    found = captioned("emoji-clips", pixels=(3, 32), count=20, seed=4, clip=CLIP)
    assert found.pixels.shape == (20, 3, 6, 32, 40)
    assert found.pixels.dtype == torch.uint8
    assert len(found) == len(found.captions) == len(found.filmed) == len(found.rows) == len(found.prompt) == 20
    assert found.scenes is None
    assert [found.texts[i] for i in found.prompt.tolist()] == found.captions
    row = draw_motion(4, 7)
    clip, filmed = FILMS["emoji-clips"](row, (4 << 32) + 7, 6, 32, 40)
    assert found.captions[7] == row["prompt"]
    assert np.array_equal(found.pixels[7].numpy(), clip)
    assert np.array_equal(found.filmed[7].objects[0].boxes, filmed.objects[0].boxes)
    assert found.take(torch.tensor([3, 0])).shape == (2, 3, 6, 32, 40)


def test_a_longer_collection_of_clips_begins_with_the_shorter_one_and_its_texts_are_those_of_the_training_prompts():
    short, long = (captioned("emoji-clips", count=count, seed=2, clip=CLIP) for count in (20, 30))
    assert torch.equal(short.pixels, long.pixels[:20])
    assert long.texts == prompts("motion-train", count=len(long.texts), seed=2).texts


def test_pictures_are_no_clips_and_clips_no_pictures():
    with pytest.raises(ValueError, match="'emoji-scenes' has no clips; those that have: emoji-clips, film-folder"):
        captioned("emoji-scenes", count=2, clip=CLIP)
    with pytest.raises(ValueError, match="'emoji-clips' has no captions; those that have: emoji-scenes, folder"):
        captioned("emoji-clips", count=2)
    with pytest.raises(ValueError, match="'emoji-clips' has no end: say how many"):
        captioned("emoji-clips", clip=CLIP)
    with pytest.raises(ValueError, match=r"has no assets, not 'own/captions\.jsonl'"):
        captioned("emoji-clips", OWN, count=2, clip=CLIP)


def test_a_picture_is_fitted_by_its_middle(tmp_path):
    picture = np.zeros((20, 60, 3), np.uint8)
    picture[:, 10:50, 0] = 255  # the middle 2 : 1
    Image.fromarray(picture).save(tmp_path / "a.png")
    wide = fitted(tmp_path / "a.png", 8, 16)
    assert wide.shape == (3, 8, 16)
    assert (wide[0] == 255).all()
    assert (wide[1:] == 0).all()
    assert fitted(tmp_path / "a.png", 8, 4).shape == (3, 8, 4)
    assert np.array_equal(fitted(tmp_path / "a.png", 9, 9), square(tmp_path / "a.png", 9))
