"""HPSv2 from a checkpoint in the published layout, against open_clip's own forward pass on torchvision's transform."""

import hashlib

import numpy as np
import pytest
import torch
from layouts import PROMPTS, to_uint8
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.functional import pad, to_tensor

from amd.rewards import resize
from amd.rewards.text import PromptReward, TextMaterial, TextScorer, text_scorer

VIT_H_14 = 986_109_441  # parameters of open_clip's ViT-H-14


def published(folder, weights, version="v2.1", **more):
    """HPS_v2*_compressed.pt: a state dict in half precision under one key, with whatever training left beside it."""
    file = folder / {"v2.0": "HPS_v2_compressed.pt", "v2.1": "HPS_v2.1_compressed.pt"}[version]
    torch.save({"epoch": 3, "name": "hps", "state_dict": weights, **more}, file)
    return file


def build(file, tiny_clip, **settings):
    material = TextMaterial(files=[file], settings={"version": "v2.1", "architecture": tiny_clip, **settings})
    return text_scorer("hpsv2", material)


def reference(tiny_clip, weights, pixels, prompts):
    """hpsv2 1.2.0, img_score.py, on open_clip's network: an image at a time."""
    import open_clip

    model = open_clip.create_model(tiny_clip, output_dict=True).eval()
    model.load_state_dict(weights)
    tokenizer = open_clip.get_tokenizer(tiny_clip)
    scores = []
    for image, prompt in zip(to_uint8(pixels), prompts, strict=True):
        tensor, longest = to_tensor(image), max(image.shape[:2])
        size = [round(length * (48 / float(longest))) for length in image.shape[:2]]
        tensor = v2.functional.resize(tensor, size, v2.InterpolationMode.BICUBIC, antialias=True)
        down, right = 48 - size[0], 48 - size[1]
        tensor = pad(tensor, [right // 2, down // 2, right - right // 2, down - down // 2], fill=0)
        tensor = v2.functional.normalize(tensor, list(resize.MEAN), list(resize.STD))
        with torch.no_grad():
            outputs = model(tensor[None], tokenizer([prompt]))
        scores.append(torch.diagonal(outputs["image_features"] @ outputs["text_features"].T))
    return torch.cat(scores)


@pytest.mark.parametrize("size", [(96, 96), (120, 77), (31, 40)])
def test_scores_are_the_references_on_the_same_weights(tmp_path, tiny_clip, clip_weights, pixels, size):
    scorer = build(published(tmp_path, clip_weights), tiny_clip)
    x = pixels(*size)
    expected = reference(tiny_clip, clip_weights, x, PROMPTS)
    assert float(expected.std()) > 1e-3  # else nothing is compared
    torch.testing.assert_close(scorer(x, PROMPTS), expected, rtol=0, atol=2e-6)  # float32, other batch


def test_the_causal_mask_is_rebuilt(tmp_path, tiny_clip, clip_weights):
    """The one buffer that no file holds: the network was made without memory, so it was as well."""
    import open_clip

    scorer = build(published(tmp_path, clip_weights), tiny_clip)
    assert torch.equal(scorer.clip.network.attn_mask, open_clip.create_model(tiny_clip).attn_mask)
    assert not [name for name, tensor in scorer.named_buffers() if tensor.is_meta]


def test_a_gradient_reaches_the_pixels_and_no_weight(tmp_path, tiny_clip, clip_weights, pixels):
    """The way of DMDR's force: through cosine, network and resize, for one scorer and one that recomputes alike."""
    file, x = published(tmp_path, clip_weights), pixels(64, 64)
    gradients = []
    for recompute in (False, True):
        scorer = build(file, tiny_clip, recompute=recompute)
        leaf = x.clone().requires_grad_()
        reward = PromptReward(scorer, PROMPTS)
        assert reward.differentiable
        reward(leaf, {"prompt": torch.tensor([0, 1, 0])}).sum().backward()
        assert all(parameter.grad is None for parameter in scorer.parameters())
        gradients.append(leaf.grad)
    assert all(bool(gradient.flatten(1).any(1).all()) for gradient in gradients)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-9)


def test_the_gradient_is_the_slope(tmp_path, tiny_clip, clip_weights, pixels):
    """Along the gradient itself, where the central difference is largest beside float32's rounding."""
    scorer, x = build(published(tmp_path, clip_weights), tiny_clip), 0.9 * pixels(60, 60)[:1]
    leaf = x.clone().requires_grad_()
    scorer(leaf, PROMPTS[:1]).sum().backward()
    direction, step = leaf.grad.sign(), 2e-3
    slope = (scorer(x + step * direction, PROMPTS[:1]) - scorer(x - step * direction, PROMPTS[:1])) / (2 * step)
    assert float(slope) == pytest.approx(float(leaf.grad.abs().sum()), rel=2e-2)


def test_half_precision_weights_are_read_as_float32(tmp_path, tiny_clip, clip_weights, pixels):
    halves = {name: tensor.half() for name, tensor in clip_weights.items()}
    scorer = build(published(tmp_path, halves), tiny_clip)
    assert {parameter.dtype for parameter in scorer.parameters()} == {torch.float32}
    rounded = {name: tensor.float() for name, tensor in halves.items()}
    torch.testing.assert_close(
        scorer(pixels(64, 64), PROMPTS), reference(tiny_clip, rounded, pixels(64, 64), PROMPTS), rtol=0, atol=2e-6
    )


def test_bfloat16_moves_a_score_by_less_than_a_hundredth(tmp_path, tiny_clip, clip_weights, pixels):
    file = published(tmp_path, clip_weights)
    full, half = (build(file, tiny_clip, precision=name) for name in ("float32", "bfloat16"))
    a, b = (scorer(pixels(64, 64), PROMPTS) for scorer in (full, half))
    assert b.dtype == torch.float32
    assert 0 < float((a - b).abs().max()) < 1e-2
    assert full.preprocessing != half.preprocessing


def test_it_says_what_it_is(tmp_path, tiny_clip, clip_weights):
    file = published(tmp_path, clip_weights)
    scorer = build(file, tiny_clip)
    assert isinstance(scorer, TextScorer)
    assert scorer.revision == hashlib.sha256(file.read_bytes()).hexdigest()
    assert scorer.preprocessing == "longer-48/zero-pad/bicubic/antialias/tensor/float32"
    assert scorer.version == "v2.1"


def test_the_version_is_never_guessed(tmp_path, tiny_clip, clip_weights):
    file = published(tmp_path, clip_weights, "v2.0")
    with pytest.raises(ValueError, match=r"version is None; say v2\.0 or v2\.1"):
        text_scorer("hpsv2", TextMaterial(files=[file]))
    with pytest.raises(ValueError, match=r"needs the file HPS_v2\.1_compressed\.pt; it was given .*HPS_v2_compressed"):
        build(file, tiny_clip)


def test_a_checkpoint_of_another_network_is_named(tmp_path, tiny_clip, clip_weights):
    file = published(tmp_path, {name: tensor for name, tensor in clip_weights.items() if name != "logit_scale"})
    with pytest.raises(ValueError, match=r"HPS_v2\.1_compressed\.pt: 1 weights are missing.*logit_scale"):
        build(file, tiny_clip)
    with pytest.raises(ValueError, match="open_clip has no model 'ViT-H-15'"):
        build(published(tmp_path, clip_weights), "ViT-H-15")
    with pytest.raises(ValueError, match="not a plain CLIP"):
        build(published(tmp_path, clip_weights), "coca_ViT-B-32")
    with pytest.raises(ValueError, match="precision 'float64' is none of"):
        build(published(tmp_path, clip_weights), tiny_clip, precision="float64")


def test_the_published_network_has_its_size():
    """The default architecture, without memory: its keys are those of the checkpoint that the reference loads."""
    import open_clip
    from open_clip.factory import get_model_config

    with torch.device("meta"):
        network = open_clip.CLIP(**get_model_config("ViT-H-14"))
    assert sum(parameter.numel() for parameter in network.parameters()) == VIT_H_14
    assert network.visual.image_size in (224, (224, 224))


def test_our_resize_is_pils_and_not_that_of_old_torchvisions(mirrored):
    """On the reference's demo image, 1024 on a side, in normalised units: 0.004 from PIL, 0.04 without antialias."""
    image = Image.open(mirrored("hpsv2/demo_image.jpg")).convert("RGB").resize((1024, 1024), Image.Resampling.BICUBIC)
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    ours = resize.normalise(resize.longer_side_padded(x / 255, 224))
    pil = torch.from_numpy(np.array(image.resize((224, 224), Image.Resampling.BICUBIC))).permute(2, 0, 1)[None] / 255
    coarse = torch.nn.functional.interpolate(x / 255, (224, 224), mode="bicubic", antialias=False)
    off = [float((ours - resize.normalise(other)).abs().mean()) for other in (pil, coarse)]
    assert off[0] == pytest.approx(0.0037, abs=0.001)
    assert off[1] > 5 * off[0]


def test_a_published_checkpoint_is_read_whole(mirrored, pixels):
    """xswu/HPSv2's v2.1 file: scores of photographs for a caption lie where the leaderboard's do."""
    file = mirrored("hpsv2/HPS_v2.1_compressed.pt")
    scores = text_scorer("hpsv2", TextMaterial(files=[file], settings={"version": "v2.1"}))(
        pixels(256, 256), ["photo"] * 3
    )
    assert bool(((scores > 0.1) & (scores < 0.45)).all())
