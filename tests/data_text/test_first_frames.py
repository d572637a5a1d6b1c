"""The pictures that clips are to begin with: of rows that can be filmed, of files, and prompts that have none."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from amd.config.schema.assets import Asset
from amd.data.clips import film
from amd.data.first_frames import film_seed, first_frames
from amd.data.pictures import fitted
from amd.data.prompt_files import PromptSet
from amd.data.prompts import prompts

SHAPE = (3, 24, 32)


def test_a_row_that_can_be_filmed_has_the_first_frame_of_its_film():
    found = prompts("motion-i2v", count=6, seed=1)
    pictures = first_frames(found, SHAPE, 1, "here")
    taken = pictures.take([4, 0, 4])
    assert (len(pictures), taken.shape, taken.dtype) == (6, (3, 3, 24, 32), torch.uint8)
    for place, index in enumerate((4, 0, 4)):
        assert found.rows is not None
        clip, _ = film(found.rows[index], film_seed(1, index), *SHAPE)
        assert np.array_equal(taken[place].numpy(), clip[:, 0])
    assert not torch.equal(taken[0], taken[1])
    other = first_frames(found, SHAPE, 2, "here").take([4])  # another seed, another place
    assert not torch.equal(other, taken[:1])


def test_more_prompts_begin_with_the_pictures_of_fewer():
    few, many = (first_frames(prompts("motion-train", count=n), SHAPE, 0, "here") for n in (3, 8))
    assert torch.equal(few.take(range(3)), many.take(range(3)))


def listing(folder: Path, names: list[str], captions: list[str]) -> list[Asset]:
    lines = [json.dumps({"file": name, "caption": text}) for name, text in zip(names, captions, strict=True)]
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return [Asset(file="captions.jsonl")]


@pytest.fixture
def own(tmp_path: Path, own_cache) -> Path:
    for i, name in enumerate(("a.png", "b.png")):
        noise = np.random.default_rng(i).integers(256, size=(40, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / name)
    return tmp_path


def test_pictures_of_ones_own_come_in_the_shape_of_the_clips(own: Path):
    found = prompts("pictures", listing(own, ["a.png", "b.png"], ["a cat", "a dog"]), own)
    assert found.texts == ("a cat", "a dog")
    taken = first_frames(found, SHAPE, 0, "here").take([1])
    assert np.array_equal(taken[0].numpy(), fitted(own / "b.png", 24, 32))


def test_missing_pictures_are_named(own: Path):
    with pytest.raises(ValueError, match=r"captions.jsonl: 1 of its 2 pictures are not there, first .*c\.png"):
        prompts("pictures", listing(own, ["a.png", "c.png"], ["a cat", "a dog"]), own)
    bare = PromptSet(("a cat", "a dog"), ({"image": "a.png"}, {"prompt_en": "a dog"}))
    with pytest.raises(ValueError, match=r"domains/x.yaml: prompts.train: prompt 'a dog' comes without the picture"):
        first_frames(bare, SHAPE, 0, "domains/x.yaml: prompts.train")
    with pytest.raises(ValueError, match="prompt 'a cat' comes without the picture"):
        first_frames(PromptSet(("a cat",)), SHAPE, 0, "here")
