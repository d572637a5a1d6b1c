"""DINOv2's reward from random files in the published layout, against transformers' network and torchvision's resize."""

import re

import pytest
import torch
import torch.nn.functional as F

from amd.rewards.base import Material, Reward, reward
from amd.rewards.dinov2 import Dinov2, Dinov2Reward, preprocess

WIDTH, DEPTH, CLASSES = 128, 5, 7
HUB_VITL14 = 304_368_640  # parameters of torch.hub's dinov2_vitl14, mask token included


def published(tmp_path, layers: int = 4, table: int = 37):
    """Two .pth files as torch.hub's dinov2_vit*14_lc downloads them, small and random."""
    draw = torch.Generator().manual_seed(layers)
    weights = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, 1 + table**2, WIDTH),
        "mask_token": (1, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, 14, 14),
        "patch_embed.proj.bias": (WIDTH,),
        "norm.weight": (WIDTH,),
        "norm.bias": (WIDTH,),
    }
    for i in range(DEPTH):
        for name, shape in {
            "norm1": (WIDTH,),
            "attn.qkv": (3 * WIDTH, WIDTH),
            "attn.proj": (WIDTH, WIDTH),
            "norm2": (WIDTH,),
            "mlp.fc1": (4 * WIDTH, WIDTH),
            "mlp.fc2": (WIDTH, 4 * WIDTH),
        }.items():
            weights |= {f"blocks.{i}.{name}.weight": shape, f"blocks.{i}.{name}.bias": shape[:1]}
        weights |= {f"blocks.{i}.ls1.gamma": (WIDTH,), f"blocks.{i}.ls2.gamma": (WIDTH,)}
    tensors = {name: 0.1 * torch.randn(shape, generator=draw) for name, shape in weights.items()}
    head = {
        "weight": 0.1 * torch.randn(CLASSES, (1 + layers) * WIDTH, generator=draw),
        "bias": 0.1 * torch.randn(CLASSES, generator=draw),
    }
    files = tmp_path / "dinov2_pretrain.pth", tmp_path / "dinov2_head.pth"
    torch.save(tensors, files[0])
    torch.save(head, files[1])
    return files, tensors, head


def build(files) -> Dinov2Reward:
    built = reward("dinov2", Material(CLASSES, 3, files=files))
    assert isinstance(built, Dinov2Reward)
    assert isinstance(built, Reward)
    return built


def transformers_states(tensors, pixels, last):
    """The same weights in transformers' DINOv2: the last blocks' states after the final norm."""
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=WIDTH // 64, image_size=224, patch_size=14
    )
    model = Dinov2Model(config).eval()
    rules = [  # its names have moved between releases; shapes tell which projection is which
        (r"^cls_token$", "embeddings.cls_token"),
        (r"^mask_token$", "embeddings.mask_token"),
        (r"^pos_embed$", "embeddings.position_embeddings"),
        (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
        (r"^norm\.", "layernorm."),
        (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layer.\1.attention.o_proj."),
        (r"^blocks\.(\d+)\.ls(\d)\.gamma", r"encoder.layer.\1.layer_scale\2.lambda1"),
        (r"^blocks\.", "encoder.layer."),
    ]
    renamed = {}
    for name, tensor in tensors.items():
        if ".attn.qkv." in name:
            index, kind = re.match(r"blocks\.(\d+)\.attn\.qkv\.(\w+)", name).groups()
            for part, value in zip("qkv", tensor.chunk(3), strict=True):
                renamed[f"encoder.layer.{index}.attention.{part}_proj.{kind}"] = value
            continue
        new = name
        for pattern, replacement in rules:
            new, found = re.subn(pattern, replacement, new)
            if found:
                break
        renamed[new] = tensor
    if set(renamed) != set(model.state_dict()):
        pytest.skip("this release of transformers has other names in its DINOv2")
    model.load_state_dict(renamed)
    states = model(pixels, output_hidden_states=True).hidden_states[-last:]
    return [model.layernorm(state) for state in states]


@pytest.mark.parametrize("layers", [1, 4])
def test_logits_are_the_published_heads_on_transformers_dinov2(tmp_path, layers):
    files, tensors, head = published(tmp_path, layers, table=16)  # 16 x 16 patches: no table is resized
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        states = transformers_states(tensors, preprocess(x), layers)
        read = torch.cat([state[:, 0] for state in states] + [states[-1][:, 1:].mean(1)], 1)
        expected = F.linear(read, head["weight"], head["bias"])
        torch.testing.assert_close(build(files).logits(x), expected, rtol=0, atol=1e-4)  # float32 over five blocks


def test_reward_is_the_log_probability_of_the_label(tmp_path):
    files, _, _ = published(tmp_path)
    value, x, label = build(files), torch.rand(3, 3, 32, 32) * 2 - 1, torch.tensor([0, 6, 2])
    expected = value.logits(x).double().softmax(1).log()[torch.arange(3), label]
    torch.testing.assert_close(value(x, {"label": label}).double(), expected, rtol=0, atol=1e-5)


def test_a_gradient_reaches_the_pixels_and_no_weight(tmp_path):
    files, _, _ = published(tmp_path)
    value = build(files)
    x = (torch.rand(2, 3, 32, 32) * 2 - 1).requires_grad_()
    value(x, {"label": torch.tensor([1, 2])}).sum().backward()
    assert x.grad is not None
    assert bool(x.grad.any())
    assert all(p.grad is None for p in value.parameters())


def test_pixels_are_prepared_as_torchvision_would_in_dmdrs_order():
    from torchvision.transforms import InterpolationMode, v2

    x = torch.randn(2, 3, 256, 256)  # some of it outside [-1, 1]: clamped first
    steps = v2.Compose(
        [
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            v2.Resize((224, 224), InterpolationMode.BICUBIC, antialias=True),
        ]
    )
    torch.testing.assert_close(preprocess(x), steps(((x + 1) / 2).clamp(0, 1)), rtol=0, atol=1e-5)  # float32


def test_the_position_table_is_resized_as_the_hub_does(tmp_path):
    """(37 + 0.1 rule): entry (i, j) of the new grid reads the old one at (i + 0.5) 37 / 16.1 - 0.5, bicubically."""
    files, tensors, _ = published(tmp_path)
    network = build(files).network
    old = tensors["pos_embed"][0, 1:].reshape(37, 37, WIDTH).double()
    place = (torch.arange(16, dtype=torch.float64) + 0.5) * 37 / 16.1 - 0.5
    weights = torch.zeros(16, 37, dtype=torch.float64)
    for i, at in enumerate(place):
        for tap in range(-1, 3):
            d = abs(float(at) - (int(at.floor()) + tap))
            w = 1.25 * d**3 - 2.25 * d**2 + 1 if d <= 1 else -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)  # cubic, a = -3/4
            weights[i, min(max(int(at.floor()) + tap, 0), 36)] += w
    expected = torch.einsum("ia,jb,abd->ijd", weights, weights, old)
    torch.testing.assert_close(network.positions(16)[0, 1:].double(), expected.flatten(0, 1), rtol=0, atol=1e-4)
    assert torch.equal(network.positions(16)[:, :1], tensors["pos_embed"][:, :1])


def test_vit_l_14_has_the_published_size():
    with torch.device("meta"):
        network = Dinov2(1024, 24, 1 + 37**2)
    assert sum(p.numel() for p in network.parameters()) == HUB_VITL14


def test_files_that_do_not_fit_are_named(tmp_path):
    files, tensors, head = published(tmp_path)
    with pytest.raises(ValueError, match=r"linear4_head"):
        reward("dinov2", Material(CLASSES, 3, files=files[:1]))
    with pytest.raises(ValueError, match="in this order"):
        reward("dinov2", Material(CLASSES, 3, files=files[::-1]))
    with pytest.raises(ValueError, match="7 classes, the domain has 1000"):
        reward("dinov2", Material(1000, 3, files=files))
    torch.save({**tensors, "norm.scale": tensors["norm.weight"]}, files[0])
    with pytest.raises(ValueError, match=r"dinov2_pretrain\.pth.*norm\.scale"):
        reward("dinov2", Material(CLASSES, 3, files=files))
    torch.save(tensors, files[0])
    torch.save({**head, "weight": head["weight"][:, :-1]}, files[1])
    with pytest.raises(ValueError, match="639 features"):
        reward("dinov2", Material(CLASSES, 3, files=files))
