"""A tar of tars in ImageNet's own form, small."""

import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from amd.config.schema.assets import Asset
from amd.data import imagenet
from amd.data.imagenet import ImageNet, cropped
from amd.data.sources import collection, images


def added(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def jpeg(level: int, size: tuple[int, int] = (40, 30)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (level, 0, 255 - level)).save(stream, "JPEG", quality=95)
    return stream.getvalue()


@pytest.fixture
def train(tmp_path, own_cache):
    """Two classes, the later WordNet id written first; the red of every image says which it is."""
    file = tmp_path / "ILSVRC2012_img_train.tar"
    with tarfile.open(file, "w") as outer:
        for wnid, levels in (("n02000000", (200, 240)), ("n01000000", (0, 40, 80))):
            stream = io.BytesIO()
            with tarfile.open(fileobj=stream, mode="w") as inner:
                for level in levels:
                    added(inner, f"{wnid}_{level}.JPEG", jpeg(level))
            added(outer, f"{wnid}.tar", stream.getvalue())
    return file


def test_every_image_is_found_under_its_own_label(train):
    found = ImageNet(train, 16)
    assert found.label.tolist() == [0, 0, 0, 1, 1]  # in the order of WordNet ids
    x = found.take(torch.tensor([4, 0, 2]))
    assert x.shape == (3, 3, 16, 16)
    red = ((x[:, 0] + 1) * 127.5).mean((1, 2))
    torch.testing.assert_close(red, torch.tensor([240.0, 0.0, 80.0]), rtol=0, atol=4)  # JPEG


def test_the_index_is_made_once(train, monkeypatch):
    first = ImageNet(train, 16)
    monkeypatch.setattr(imagenet, "_scan", lambda tar: pytest.fail("scanned again"))
    second = ImageNet(train, 8)
    assert np.array_equal(first.offset, second.offset)


def test_the_centre_is_cut_after_halving_by_boxes():
    ramp = np.tile(np.arange(100, dtype=np.uint8)[None, :, None], (50, 1, 3))  # column x has level x
    cut = np.asarray(cropped(Image.fromarray(ramp), 16))
    assert cut.shape == (16, 16, 3)
    # 100 x 50 -> 50 x 25 by boxes -> 32 x 16; the centre of the cut is the centre of the picture
    assert abs(float(cut[:, 7:9].mean()) - 49.5) < 1
    assert abs(float(cut[0, 15, 0]) - float(cut[0, 0, 0]) - 15 * 100 / 32) < 2


def test_it_is_drawn_from_and_not_loaded(train, tmp_path):
    assets = [Asset(file=train.name)]
    assert len(collection("imagenet", assets, tmp_path, (3, 16))) == 5
    with pytest.raises(ValueError, match="does not fit into memory"):
        images("imagenet", assets, tmp_path, (3, 16))


def test_another_tar_is_refused(tmp_path, own_cache):
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        added(tar, "cat.JPEG", jpeg(7))
    with pytest.raises(ValueError, match=r"photos\.tar: holds no tar per class"):
        ImageNet(tmp_path / "photos.tar", 16)
