"""COCO's FID: our arrays against clean-fid's own folders, with a network in the published file's form."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cleanfid.fid import compute_fid, get_folder_features
from cleanfid.resize import build_resizer
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import center_crop

from amd.measure import coco, fidelity, judge

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "adm_metrics.json").read_text())


class Layers(nn.Module):
    """Something that tells images apart: 2048 numbers of pooled random convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 128, 31, 31)

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(torch.relu(self.conv(x)), 4).flatten(1)


class Base(nn.Module):
    """The published TorchScript has its network under `layers`."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = Layers()

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """inception-2015-12-05.pt, small and random."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("inception") / coco.INCEPTION
    torch.jit.script(Base().eval()).save(str(file))
    return file


@pytest.fixture(scope="module")
def cuts(photos) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Two sets of real cut-outs of several sizes, no two the same."""
    draw = np.random.default_rng(4)

    def some(photo: np.ndarray, count: int) -> list[np.ndarray]:
        places = draw.integers(0, 200, (count, 2))
        sizes = draw.integers(60, 220, (count, 2))
        return [photo[y : y + h, x : x + w].copy() for (y, x), (h, w) in zip(places, sizes, strict=True)]

    return some(photos[0], 24), some(photos[1], 20)


def stored(folder: Path, images: list[np.ndarray]) -> Path:
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:03d}.png")
    return folder


def dmd2s_crop(image: np.ndarray) -> np.ndarray:
    square = center_crop(Image.fromarray(image), [min(image.shape[:2])])
    return np.array(square.resize((256, 256), Image.LANCZOS))


def test_the_number_is_clean_fids_own_on_folders(tmp_path, cuts):
    """compute_fid with DMD2's transform of images, on PNG files; 16 features: a root of 2048 takes scipy a minute."""
    torch.manual_seed(1)
    small = nn.Sequential(nn.Conv2d(3, 16, 31, 31), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def look(images: Tensor) -> Tensor:
        return small((images - 128) / 128)

    folders = [stored(tmp_path / name, images) for name, images in zip("ab", cuts, strict=True)]
    options = {"custom_feat_extractor": look, "custom_image_tranform": dmd2s_crop, "device": torch.device("cpu")}
    expected = compute_fid(*map(str, folders), num_workers=0, verbose=False, **options)
    samples = coco.Statistics.of(coco.features(cuts[0], look, batch=7, workers=2))
    reference = coco.Statistics.of(coco.features(coco.read(coco.folder(folders[1], count=20)), look))
    assert expected > 1e-3
    assert coco.fid(samples, reference) == pytest.approx(expected, rel=1e-4)  # float32 features in other batches


def test_features_are_those_of_clean_fids_own_reader(tmp_path, network, cuts):
    """By the published file's route: TorchScript, resized outside, its `layers` alone."""
    images = cuts[0][:5]
    folder = stored(tmp_path / "images", images)
    look = coco.inception(network)
    options = {"num_workers": 0, "device": torch.device("cpu"), "verbose": False}
    expected = get_folder_features(str(folder), look, custom_image_tranform=dmd2s_crop, **options)
    assert expected.shape == (5, 2048)
    np.testing.assert_allclose(coco.features(images, look, batch=2), expected, rtol=0, atol=1e-5)  # float32


def test_the_network_sees_the_middle_of_its_range_as_zero(network):
    """clean-fid hands (x - 128) / 128 to the layers."""
    images = torch.full((2, 3, 299, 299), 128.0)
    layers = torch.jit.load(str(network)).layers
    torch.testing.assert_close(coco.inception(network)(images), layers(torch.zeros_like(images)))


def test_an_image_is_never_rounded_again(photos):
    """After LANCZOS in 8 bits the bicubic resize keeps its fractions, clipped to [0, 255]."""
    prepared = coco.prepare(photos[0])
    assert prepared.shape == (3, 299, 299)
    assert prepared.dtype == torch.float32
    assert bool((prepared.frac() != 0).any())
    assert 0 <= float(prepared.min()) <= float(prepared.max()) <= 255
    plain = torch.from_numpy(build_resizer("clean")(photos[0])).permute(2, 0, 1)
    assert torch.equal(coco.prepare(photos[0], side=None), plain)
    assert not torch.equal(prepared, plain)


def test_8_bits_are_truncated_as_dmd2_does_and_adm_does_not():
    x = torch.tensor([-1.5, -1.0, 0.0, 0.5, 0.9999, 1.0, 2.0]).view(1, 1, 1, -1)
    assert judge.truncated(x).flatten().tolist() == [0, 0, 127, 191, 254, 255, 255]
    assert judge.to_uint8(x).flatten().tolist() == [0, 0, 128, 191, 255, 255, 255]


def test_the_distance_is_the_golden_one_and_the_eigenvalue_formulas():
    """scipy's square root of the product against the symmetric form of amd.measure.fidelity."""
    sets = [np.array(GOLDEN[name]) for name in "AB"]
    ours = coco.fid(*map(coco.Statistics.of, sets))
    assert ours == pytest.approx(GOLDEN["frechet_A_B"], rel=1e-9)
    theirs = fidelity.frechet(*(fidelity.moments(torch.from_numpy(each)) for each in sets))
    assert ours == pytest.approx(theirs, rel=1e-9)
    diagonal = GOLDEN["diag"]
    stated = [
        coco.Statistics(torch.tensor(diagonal[f"mu{i}"]).double(), torch.tensor(diagonal[f"s{i}"]).double().diag(), 9)
        for i in (1, 2)
    ]
    assert coco.fid(*stated) == pytest.approx(diagonal["frechet"], rel=1e-9)


def test_statistics_survive_a_file(tmp_path, cuts, network):
    found = coco.Statistics.of(coco.features(cuts[1][:4], coco.inception(network)))
    found.save(tmp_path / "val2014.safetensors")
    again = coco.Statistics.load(tmp_path / "val2014.safetensors")
    assert torch.equal(found.mean, again.mean)
    assert torch.equal(found.covariance, again.covariance)
    assert again.images == 4


def test_what_cannot_be_measured_is_refused(tmp_path, network, cuts):
    with pytest.raises(ValueError, match=r"clean-fid's network is inception-2015-12-05\.pt"):
        coco.inception(tmp_path / "weights.pt")
    with pytest.raises(FileNotFoundError, match=r"inception-2015-12-05\.pt: not there"):
        coco.inception(tmp_path / coco.INCEPTION)
    folder = stored(tmp_path / "val2014", cuts[0][:3])
    with pytest.raises(ValueError, match="val2014: 3 images, there should be 40504"):
        coco.folder(folder, count=coco.VAL2014)
    with pytest.raises(ValueError, match="no images to look at"):
        coco.features([], coco.inception(network))
    with pytest.raises(ValueError, match="n >= 2"):
        coco.Statistics.of(np.zeros((1, 4)))
    with pytest.raises(ValueError, match="1 of 8 features are not finite"):
        coco.Statistics.of(np.array([[0, 1, 2, np.nan], [0, 1, 2, 3]]))
    one, other = (coco.Statistics.of(np.random.default_rng(0).normal(size=(5, width))) for width in (3, 4))
    with pytest.raises(ValueError, match="features of 3 and 4 numbers"):
        coco.fid(one, other)


def test_grey_and_transparent_images_are_read_as_rgb(tmp_path):
    Image.new("L", (8, 6), 7).save(tmp_path / "a.png")
    Image.new("RGBA", (8, 6), (1, 2, 3, 0)).save(tmp_path / "b.png")
    grey, clear = coco.read(coco.folder(tmp_path))
    assert grey.shape == clear.shape == (6, 8, 3)
    assert grey[0, 0].tolist() == [7, 7, 7]
    assert clear[0, 0].tolist() == [1, 2, 3]


def test_the_published_network_has_2048_features(mirrored, photos):
    look = coco.inception(mirrored(coco.INCEPTION))
    assert coco.features(photos, look).shape == (2, 2048)
