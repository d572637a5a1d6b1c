"""Fashion-MNIST from wherever it is to be had, by sha256; never from somewhere else silently."""

import gzip
import shutil

import numpy as np
import pytest

from amd.config.schema.assets import Asset
from amd.data import assets, fashion
from amd.data.assets import MissingAsset
from amd.data.sources import images


def written(file, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    file.write_bytes(gzip.compress(header + array.tobytes()))
    return file


@pytest.mark.parametrize("shape", [(5,), (4, 3, 2)])
def test_idx_files_are_read_as_they_were_written(tmp_path, shape):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(fashion.idx(written(tmp_path / "x.gz", array)), array)


def test_other_files_are_not_taken_for_idx(tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"\x89PNG and so on"))
    with pytest.raises(ValueError, match=r"x\.gz: not an idx file"):
        fashion.idx(tmp_path / "x.gz")


def test_without_any_source_the_error_names_the_file_and_where_to_put_it(own_cache, tmp_path, monkeypatch):
    monkeypatch.setattr(fashion, "DEBIAN", tmp_path / "no" / "such")
    monkeypatch.setattr(shutil, "which", lambda name: None)  # neither apt-get nor dpkg-deb

    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(assets.urllib.request, "urlopen", offline)
    words = rf"train-images-idx3-ubyte\.gz .*Put it at {tmp_path}/mirror/train-images-idx3-ubyte\.gz"
    with pytest.raises(MissingAsset, match=words):
        images("fashion-mnist", mirror=tmp_path / "mirror")


def test_digits_never_stand_in_for_clothes(own_cache, tmp_path, monkeypatch):
    """Files of the right names and the wrong content are refused, whatever they are."""
    (tmp_path / "mirror").mkdir()
    for name in fashion.SHA256:
        written(tmp_path / "mirror" / name, np.zeros((3, 28, 28) if "images" in name else 3, dtype=np.uint8))
    monkeypatch.setattr(fashion, "DEBIAN", tmp_path / "no" / "such")
    monkeypatch.setattr(fashion, "apt_get_download", lambda asset, target: False)
    monkeypatch.setattr(fashion, "ADDRESS", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(MissingAsset, match=r"sha256 is .*wanted b0564c3e"):
        images("fashion-mnist", mirror=tmp_path / "mirror")


@pytest.mark.slow
def test_debians_package_gives_all_60000_without_root(own_cache, tmp_path, monkeypatch):
    """`apt-get download` into the cache, with the other ways closed."""
    probe = own_cache / "train-images-idx3-ubyte.gz"
    probe.parent.mkdir(parents=True)
    if not fashion.apt_get_download(Asset(file=probe.name), probe):
        pytest.skip("apt-get download dataset-fashion-mnist does not work on this machine")
    monkeypatch.setattr(fashion, "ADDRESS", "http://127.0.0.1:9")
    x, label = images("fashion-mnist")
    assert x.shape == (60000, 1, 16, 16)
    assert label.bincount().tolist() == [6000] * 10
    assert (x.min(), x.max()) == (-1, 1)
    assert sorted(file.name for file in own_cache.glob("*.gz")) == sorted(fashion.SHA256)
    assert all(assets.sha256(own_cache / name) == digest for name, digest in fashion.SHA256.items())
