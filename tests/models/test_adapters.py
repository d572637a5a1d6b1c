"""One set of weights seen at several shares of a low-rank branch."""

import pytest
import torch
from torch import nn

from amd.backbones.adapters import LowRank, add_lora, low_rank, merged, set_scale, view
from amd.backbones.sit import SiTBackbone


@pytest.fixture
def sit(public) -> SiTBackbone:
    backbone = SiTBackbone(public.size, public.classes, public.channels, public.side)
    backbone.network.load_state_dict(public.weights(1, variance=False))
    return backbone


def stirred(branches: list[nn.Parameter]) -> None:
    """As if trained: B is zero at first, and then nothing would show."""
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in branches:
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))


def test_a_fresh_branch_changes_nothing(sit, batch):
    x, _, t, label = batch(4)
    before = sit(x, t, {"label": label})
    add_lora(sit, 2)
    assert torch.equal(view(sit, 2.0)(x, t, {"label": label}), before)


def test_scale_zero_is_the_base_and_scale_is_linear_in_the_branch(sit, batch):
    x, _, t, label = batch(4)
    before = sit(x, t, {"label": label})
    stirred(add_lora(sit, 2))
    base, fake = view(sit, 0.0), view(sit, 2.0)
    assert torch.equal(base(x, t, {"label": label}), before)
    assert not torch.allclose(fake(x, t, {"label": label}), before, atol=1e-3)
    layer = fake.network.blocks[1].attn.qkv
    merged = nn.functional.linear(x.new_ones(3, 16), layer.weight + 2.0 * layer.lora_b @ layer.lora_a, layer.bias)
    torch.testing.assert_close(layer(x.new_ones(3, 16)), merged, rtol=0, atol=1e-5)  # float32


def test_views_share_every_tensor_and_not_the_scale(sit, batch):
    x, _, t, label = batch(4)
    branches = add_lora(sit, 2)
    stirred(branches)
    real, fake = view(sit, 0.5), view(sit, 2.0)
    assert all(a is b for a, b in zip(real.parameters(), fake.parameters(), strict=True))
    before = fake(x, t, {"label": label})
    set_scale(real, 0.0)
    assert torch.equal(fake(x, t, {"label": label}), before)
    with torch.no_grad():
        branches[0].mul_(1.5)
    assert not torch.equal(fake(x, t, {"label": label}), before)


def test_only_the_branches_train(sit, batch):
    x, eps, t, label = batch(4)
    branches = add_lora(sit, 2)
    stirred(branches)
    fake = view(sit, 2.0)
    fake.native_loss(x, eps, t, {"label": label}).mean().backward()
    trained = {id(p) for p in fake.parameters() if p.requires_grad}
    assert trained == {id(p) for p in branches}
    assert all(p.grad is not None and bool(p.grad.any()) for p in branches)
    assert len(branches) == 2 * 2 * sit.depth  # A and B of qkv and proj in every block


def test_recomputed_blocks_see_their_own_views_scale(sit, batch):
    x, eps, t, label = batch(4)
    branches = add_lora(sit, 2)
    stirred(branches)
    real, fake = view(sit, 0.5), view(sit, 2.0)

    def gradients() -> list[torch.Tensor]:
        fake.zero_grad()
        loss = fake.native_loss(x, eps, t, {"label": label}).mean()
        set_scale(real, 0.1)  # between forward and backward, as an annealed teacher may
        with torch.no_grad():
            real(x, t, {"label": label})
        loss.backward()
        return [p.grad.clone() for p in branches]

    stored = gradients()
    fake.network.recompute = True
    assert all(torch.equal(a, b) for a, b in zip(stored, gradients(), strict=True))


def test_the_base_keeps_its_names(sit):
    before = set(sit.state_dict())
    add_lora(sit, 2)
    added = set(sit.state_dict()) - before
    assert before < set(sit.state_dict())
    assert {name.rsplit(".", 1)[1] for name in added} == {"lora_a", "lora_b"}


def test_gradients_reach_the_input_through_a_frozen_view(sit, batch):
    x, _, t, label = batch(2)
    stirred(add_lora(sit, 2))
    x.requires_grad_()
    view(sit, 0.0).requires_grad_(False)(x, t, {"label": label}).sum().backward()
    assert x.grad is not None
    assert bool(x.grad.any())


def test_mistakes_are_named(sit):
    with pytest.raises(ValueError, match="no low-rank branch"):
        set_scale(sit, 1.0)
    with pytest.raises(ValueError, match="'to_q'"):
        add_lora(sit, 2, ("to_q",))
    with pytest.raises(ValueError, match=r"rank 17 is not in 1 \.\. 16"):
        add_lora(sit, 17)
    add_lora(sit, 2)
    with pytest.raises(ValueError, match="already"):
        add_lora(sit, 2)


def test_branches_on_the_meta_device_have_their_true_size(public):
    with torch.device("meta"):
        backbone = SiTBackbone(public.size, public.classes, public.channels, public.side)
    branches = add_lora(backbone, 4)
    width = public.size.width
    assert sum(p.numel() for p in branches) == public.size.depth * 4 * (width + 3 * width + 2 * width)
    assert all(isinstance(block.attn.qkv, LowRank) for block in backbone.network.blocks)


def test_merged_weights_compute_what_the_branch_did(sit, batch):
    x, _, t, label = batch(2)
    plain = SiTBackbone(sit.size, sit.classes, sit.channels, sit.side)
    stirred(add_lora(sit, 2))
    set_scale(sit, 0.7)
    state = sit.state_dict()
    plain.load_state_dict(merged(state, 0.7))
    torch.testing.assert_close(plain(x, t, {"label": label}), sit(x, t, {"label": label}), rtol=1e-5, atol=1e-5)
    assert set(low_rank(state)) == set(state) - set(plain.state_dict())
