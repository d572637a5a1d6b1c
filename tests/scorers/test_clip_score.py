"""CLIP scores: DMD2's protocol step by step, and what may be descended."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from layouts import PROMPTS, to_uint8
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.functional import center_crop, to_tensor

from amd.rewards import resize
from amd.rewards.text import TextMaterial, TextScorer, text_scorer

PREFIX = "A photo depicts "


def build(folder, tiny_clip, weights, wrap=dict, **settings):
    file = folder / "open_clip_pytorch_model.bin"
    torch.save(wrap(weights), file)
    return text_scorer("clip-score", TextMaterial(files=[file], settings={"architecture": tiny_clip, **settings}))


def dmd2(tiny_clip, weights, image, prompt):
    """compute_clip_score of DMD2's evaluation: crop, LANCZOS to 256, open_clip's transform, three tokens in front."""
    import open_clip

    model = open_clip.create_model(tiny_clip).eval()
    model.load_state_dict(weights)
    small = center_crop(Image.fromarray(image), [min(image.shape[:2])]).resize((256, 256), Image.LANCZOS)
    prepare = v2.Compose([v2.Resize(48, v2.InterpolationMode.BICUBIC), v2.CenterCrop(48)])
    tensor = v2.functional.normalize(to_tensor(prepare(small)), list(resize.MEAN), list(resize.STD))[None]
    tokenizer = open_clip.get_tokenizer(tiny_clip)
    tokens, front = tokenizer([prompt]), tokenizer([PREFIX])[:, 1:4]
    tokens = torch.cat([tokens[:, :1], front, tokens[:, 1:]], 1)[:, :77]
    tokens[:, 76][tokens[:, 76] > 0] = 49407
    with torch.no_grad():
        return F.cosine_similarity(model.encode_image(tensor), model.encode_text(tokens))


@pytest.mark.parametrize("prompt", ["a red apple", "many words, " * 40], ids=["short", "cut at 77 tokens"])
def test_dmd2s_protocol(tmp_path, tiny_clip, clip_weights, photos, prompt):
    scorer = build(tmp_path, tiny_clip, clip_weights, prefix=PREFIX, through=256)
    pixels = torch.from_numpy(photos[0]).permute(2, 0, 1)[None].float() / 127.5 - 1
    expected = dmd2(tiny_clip, clip_weights, photos[0], prompt)
    # the last resize is PIL's there and a tensor's here: half a level of 255 on average
    torch.testing.assert_close(scorer(pixels, [prompt]), expected, rtol=0, atol=2e-3)


def test_images_of_the_networks_own_side_are_scored_exactly(tmp_path, tiny_clip, clip_weights, pixels):
    """No resize: what is left is the network, the prefix and the cosine."""
    import open_clip

    model = open_clip.create_model(tiny_clip, output_dict=True).eval()
    model.load_state_dict(clip_weights)
    x = pixels(48, 48)
    images = torch.stack([to_tensor(image) for image in to_uint8(x)])
    images = v2.functional.normalize(images, list(resize.MEAN), list(resize.STD))
    with torch.no_grad():
        outputs = model(images, open_clip.get_tokenizer(tiny_clip)([PREFIX + prompt for prompt in PROMPTS]))
    expected = (outputs["image_features"] * outputs["text_features"]).sum(1)
    scorer = build(tmp_path, tiny_clip, clip_weights, prefix=PREFIX)
    torch.testing.assert_close(scorer(x, PROMPTS), expected, rtol=0, atol=2e-6)  # float32


def test_the_stored_image_is_what_goes_through_pil(tmp_path, tiny_clip, clip_weights):
    """Every level of 8 bits survives the way over [-1, 1] and back."""
    levels = torch.arange(256).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    from amd.rewards.clip_score import _through_pil

    back = _through_pil(resize.unit(levels / 127.5 - 1), 16)
    assert np.array_equal((back * 255).round().long().numpy(), levels.numpy())


def test_only_the_way_around_pil_has_a_gradient(tmp_path, tiny_clip, clip_weights, pixels):
    around = build(tmp_path, tiny_clip, clip_weights)
    assert isinstance(around, TextScorer)
    assert around.differentiable
    leaf = pixels(64, 80).requires_grad_()
    around(leaf, PROMPTS).sum().backward()
    assert leaf.grad is not None
    assert bool(leaf.grad.any())
    through = build(tmp_path, tiny_clip, clip_weights, through=64)
    assert not through.differentiable
    with pytest.raises(RuntimeError, match="has no gradient; leave `through` out"):
        through(leaf, PROMPTS)


def test_the_layouts_of_published_files_are_one_network(tmp_path, tiny_clip, clip_weights, pixels):
    """A bare state dict, and what open_clip's training writes: "module." from several processes, beside an epoch."""
    bare = build(tmp_path, tiny_clip, clip_weights)(pixels(64, 64), PROMPTS)

    def trained(weights):
        return {"epoch": 1, "state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}}

    assert torch.equal(bare, build(tmp_path, tiny_clip, clip_weights, wrap=trained)(pixels(64, 64), PROMPTS))


def test_what_is_missing_is_named(tmp_path, tiny_clip):
    with pytest.raises(ValueError, match="say the architecture"):
        text_scorer("clip-score", TextMaterial())
    with pytest.raises(ValueError, match=rf"one file, the weights of {tiny_clip}; got \[\]"):
        text_scorer("clip-score", TextMaterial(settings={"architecture": tiny_clip}))
