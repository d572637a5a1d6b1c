"""Resizes against the libraries whose resize a published scorer was trained with: torchvision, transformers, PIL."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.functional import center_crop, pad, to_tensor

from amd.rewards import resize

SIZES = [(427, 640), (300, 301), (225, 225), (96, 120), (224, 224), (33, 200)]


def stored(photos, height: int, width: int) -> tuple[np.ndarray, torch.Tensor]:
    """A cut-out as uint8 (H, W, 3), and as a scorer gets it, (1, 3, H, W) in [-1, 1]."""
    image = photos[1][:height, :width].copy()
    return image, torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_shorter_side_and_crop_are_torchvisions_with_antialias(photos, height, width):
    image, pixels = stored(photos, height, width)
    steps = v2.Compose(
        [
            v2.Resize(224, v2.InterpolationMode.BICUBIC, antialias=True),
            v2.CenterCrop(224),
            v2.Normalize(resize.MEAN, resize.STD),
        ]
    )
    unit = resize.shorter_side(resize.unit(pixels), 224)
    ours = resize.normalise(resize.centre_crop(unit, 224, "round"))[0]
    low, high = (
        torch.tensor([(bound - m) / s for m, s in zip(resize.MEAN, resize.STD, strict=True)]) for bound in (0.0, 1.0)
    )
    expected = steps(to_tensor(image))
    clamped = torch.minimum(torch.maximum(expected, low[:, None, None]), high[:, None, None])
    torch.testing.assert_close(ours, clamped, rtol=0, atol=1e-5)  # float32


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_shorter_side_and_crop_are_pils_up_to_its_rounding(photos, height, width):
    """PIL rounds to 8 bits after each pass, half a level on average, and clips overshoot in between, some levels."""
    image, pixels = stored(photos, height, width)
    small = v2.Resize(224, v2.InterpolationMode.BICUBIC)(Image.fromarray(image))
    expected = to_tensor(center_crop(small, [224, 224]))
    ours = resize.centre_crop(resize.shorter_side(resize.unit(pixels), 224), 224, "round")[0]
    difference = 255 * (ours - expected).abs()
    assert float(difference.max()) <= 8
    assert float(difference.mean()) <= 0.5


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_processor_of_transformers_crops_where_ours_does(photos, height, width):
    from transformers import CLIPImageProcessor

    image, pixels = stored(photos, height, width)
    expected = CLIPImageProcessor()(Image.fromarray(image), return_tensors="pt")["pixel_values"]
    ours = resize.normalise(resize.centre_crop(resize.shorter_side(resize.unit(pixels), 224), 224, "floor"))
    assert float((ours - expected).abs().mean()) <= 0.5 / 255 / min(resize.STD)  # it rounds to 8 bits after resizing


@pytest.mark.parametrize(("height", "width"), [*SIZES[:5], (200, 33), (40, 40)])
def test_longer_side_is_hpsv2s_with_antialias(photos, height, width):
    """The transform of hpsv2 1.2.0 (ToTensor, ResizeMaxSize, Normalize), written out with torchvision's functions."""
    image, pixels = stored(photos, height, width)
    tensor = to_tensor(image)
    scale = 224 / float(max(height, width))
    size = tuple(round(length * scale) for length in (height, width))
    if scale != 1:
        tensor = v2.functional.resize(tensor, list(size), v2.InterpolationMode.BICUBIC, antialias=True)
        down, right = 224 - size[0], 224 - size[1]
        tensor = pad(tensor, [right // 2, down // 2, right - right // 2, down - down // 2], fill=0)
    expected = v2.functional.normalize(tensor, list(resize.MEAN), list(resize.STD))
    ours = resize.normalise(resize.longer_side_padded(resize.unit(pixels), 224))[0]
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)  # float32


def test_antialias_is_not_a_detail(photos):
    """Without it the same call moves the shrunken image a hundred times further than PIL differs from tensors."""
    _, pixels = stored(photos, 427, 427)
    unit = resize.unit(pixels)
    plain = torch.nn.functional.interpolate(unit, size=(112, 112), mode="bicubic", antialias=False)
    ours = resize.shorter_side(unit, 112)
    pil = to_tensor(Image.fromarray(stored(photos, 427, 427)[0]).resize((112, 112), Image.Resampling.BICUBIC))
    assert float((ours[0] - plain[0]).abs().mean()) > 10 * float((ours[0] - pil).abs().mean())


def test_an_image_of_the_longest_side_already_is_padded_to_a_square(photos):
    _, pixels = stored(photos, 100, 224)
    assert resize.longer_side_padded(resize.unit(pixels), 224).shape[2:] == (224, 224)


@pytest.mark.parametrize("size", [(427, 640), (300, 301), (64, 48), (256, 256)])
def test_crop_lanczos_is_torchvisions_crop_and_pils_resize(photos, size):
    image = photos[0][: size[0], : size[1]].copy()
    square = center_crop(Image.fromarray(image), [min(size)])
    assert np.array_equal(resize.crop_lanczos(image, 256), np.array(square.resize((256, 256), Image.LANCZOS)))


def test_what_lies_outside_the_range_is_clamped_and_carries_no_gradient():
    pixels = torch.tensor([-3.0, -0.5, 0.5, 3.0]).view(1, 1, 2, 2).expand(1, 3, 2, 2).clone().requires_grad_()
    unit = resize.unit(pixels)
    assert unit.detach().flatten().tolist() == [0, 0.25, 0.75, 1] * 3
    unit.sum().backward()
    assert pixels.grad is not None
    assert pixels.grad.flatten().tolist() == [0, 0.5, 0.5, 0] * 3
