"""SiT against the published formulas, names and sizes."""

import pytest
import torch
import torch.nn.functional as F

from amd.backbones.base import BACKBONES, Backbone, backbone
from amd.backbones.sit import SiT, SiTBackbone, patchify, position_embedding, unpatchify
from amd.config.schema.sizes import SiTSize

XL = SiTSize(patch=2, width=1152, depth=28, heads=16)
PUBLISHED = 675_129_632  # parameters of the public SiT-XL/2, its variance rows and position table included
VARIANCE = 2 * 2 * 4 * (1152 + 1)  # the rows of its last layer that its sampler throws away


@pytest.fixture
def sit(public) -> SiTBackbone:
    """Ours, with weights of which none is zero."""
    backbone = SiTBackbone(public.size, public.classes, public.channels, public.side)
    backbone.network.load_state_dict(public.weights(1, variance=False))
    return backbone


def test_xl_2_has_the_published_number_of_parameters():
    with torch.device("meta"):
        network = SiTBackbone(XL, 1000, 4, 32).network
    assert sum(p.numel() for p in network.parameters()) == PUBLISHED - VARIANCE


def test_xl_2_has_the_published_names():
    with torch.device("meta"):
        network = SiT(XL, 1000, 4, 32)
    each = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "adaLN_modulation.1")
    layers = [f"blocks.{i}.{name}" for i in range(28) for name in each]
    layers += ["x_embedder.proj", "t_embedder.mlp.0", "t_embedder.mlp.2", "final_layer.linear"]
    layers += ["final_layer.adaLN_modulation.1"]
    names = {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    assert set(network.state_dict()) == names | {"pos_embed", "y_embedder.embedding_table.weight"}


def test_small_networks_have_the_public_shapes(sit, public):
    assert {name: tuple(tensor.shape) for name, tensor in sit.network.state_dict().items()} == public.shapes(False)


def test_velocity_is_the_published_forward_pass(sit, public, batch):
    x, _, t, label = batch(6)
    expected = public.network(sit.network.state_dict(), x, t, label)
    torch.testing.assert_close(sit.velocity(x, t, {"label": label}).double(), expected, rtol=0, atol=2e-5)  # float32


def test_x0_is_x_t_plus_one_minus_t_times_velocity(sit, public, batch):
    x, eps, t, label = batch(6)
    x_t = sit.path.add_noise(x, eps, t)
    v = public.network(sit.network.state_dict(), x_t, t, label)
    expected = x_t.double() + (1 - t)[:, None, None, None] * v
    torch.testing.assert_close(sit(x_t, t, {"label": label}).double(), expected, rtol=0, atol=2e-5)  # float32


def test_native_loss_is_the_x0_error_over_one_minus_t(sit, batch):
    x, eps, t, label = batch(6)
    x0 = sit.predict_x0(sit.path.add_noise(x, eps, t), t, {"label": label})
    expected = (x0 - x).square().flatten(1).mean(1).double() / (1 - t).square()
    loss = sit.native_loss(x, eps, t, {"label": label})
    assert loss.shape == (6,)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=0)  # float32; 1 - t is at least 0.05


def test_a_fresh_network_predicts_no_velocity(public, batch):
    x, _, t, label = batch(4)
    fresh = SiTBackbone(public.size, public.classes, public.channels, public.side, seed=3)
    assert torch.equal(fresh(x, t, {"label": label}), x)  # adaLN-zero


def test_the_seed_alone_decides_a_fresh_network(public):
    make = [SiTBackbone(public.size, public.classes, public.channels, public.side, seed=s) for s in (3, 3, 4)]
    first, again, other = ([p.detach() for p in backbone.parameters()] for backbone in make)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_position_table_is_the_published_one_and_does_not_train(sit, public):
    torch.testing.assert_close(position_embedding(public.size.width, 4), public.table(), rtol=0, atol=1e-6)  # float32
    assert not sit.network.pos_embed.requires_grad
    assert all(p.requires_grad for name, p in sit.named_parameters() if name != "network.pos_embed")


def test_patches_are_a_convolution_and_come_back(sit, public):
    x = torch.randn(2, public.channels, public.side, public.side)
    layer = sit.network.x_embedder.proj
    torch.testing.assert_close(sit.network.x_embedder(x), layer(x).flatten(2).transpose(1, 2), rtol=0, atol=1e-5)
    patch = public.size.patch
    innermost = patchify(x, patch).unflatten(2, (public.channels, patch**2)).transpose(2, 3).flatten(2)
    assert torch.equal(unpatchify(innermost, patch, public.channels), x)


def test_attention_on_the_cpu_is_the_fused_one(sit, batch):
    attention = sit.network.blocks[0].attn
    x = torch.randn(3, 16, 16)
    q, k, v = attention.qkv(x).unflatten(2, (3, attention.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    fused = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention(x), attention.proj(fused), rtol=0, atol=1e-5)  # float32


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_rows_do_not_see_each_other(sit, batch, precision):
    x, _, t, label = batch(6)
    sit.precision = precision
    whole = sit(x, t, {"label": label})
    for row in range(6):
        alone = sit(x[row : row + 1], t[row : row + 1], {"label": label[row : row + 1]})
        # kernels choose another order of summation for another batch: some units in the last place
        tolerance = 1e-5 if precision == "float32" else 5e-2
        torch.testing.assert_close(alone[0], whole[row], rtol=0, atol=tolerance)


def test_bfloat16_computes_in_bfloat16_and_answers_in_float32(sit, batch):
    x, eps, t, label = batch(6)
    exact = sit(x, t, {"label": label})
    sit.precision = "bfloat16"
    rough, loss = sit(x, t, {"label": label}), sit.native_loss(x, eps, t, {"label": label})
    assert rough.dtype == loss.dtype == sit.features(x, t, {"label": label}, (0,))[0].dtype == torch.float32
    error = (rough - exact).abs().max() / exact.abs().max()
    assert 1e-5 < error < 3e-2  # not float32, and within some of bfloat16's 2^-8


def test_recomputed_blocks_give_the_same_gradients(sit, batch):
    x, eps, t, label = batch(4)

    def gradients() -> list[torch.Tensor]:
        sit.zero_grad()
        sit.native_loss(x, eps, t, {"label": label}).mean().backward()
        return [p.grad.clone() for p in sit.parameters() if p.requires_grad]

    stored = gradients()
    sit.network.recompute = True
    assert all(torch.equal(a, b) for a, b in zip(stored, gradients(), strict=True))


def test_features_are_the_states_after_the_blocks_asked_for(sit, batch):
    x, _, t, label = batch(4)
    last, first = sit.features(x, t, {"label": label}, (2, 0))
    network = sit.network
    stem, c = network.tokens(x, t, label)
    assert torch.equal(first, network.blocks[0](stem, c))
    out = unpatchify(network.final_layer(last, c), network.patch, network.channels)
    assert torch.equal(out, sit.velocity(x, t, {"label": label}))


def test_a_layer_that_is_not_there_is_named(sit, batch):
    x, _, t, label = batch(2)
    with pytest.raises(ValueError, match=r"\(3,\).*0 \.\. 2"):
        sit.features(x, t, {"label": label}, (3,))


def test_the_null_label_is_the_number_of_classes(sit, batch):
    label = batch(4)[3]
    assert torch.equal(sit.null({"label": label})["label"], torch.full_like(label, sit.classes))


@pytest.mark.parametrize(("size", "side", "word"), [((3, 16, 1, 2), 8, "patch 3"), ((2, 18, 1, 2), 8, "width 18")])
def test_sizes_that_do_not_fit_are_refused(size, side, word):
    patch, width, depth, heads = size
    with pytest.raises(ValueError, match=word):
        SiTBackbone(SiTSize(patch=patch, width=width, depth=depth, heads=heads), 10, 1, side)


def test_an_unknown_backbone_lists_the_known():
    with pytest.raises(ValueError, match=r"'sitt'.*sit"):
        backbone("sitt")
    assert issubclass(backbone("sit"), Backbone)
    assert "sit" in BACKBONES
