"""The UNet's low-rank branches: where they are, peft's forward pass, and who trains."""

import copy

import torch
import torch.nn.functional as F
from torch import nn
from unets import inputs

from amd.backbones.adapters import BRANCHED, LowRank, LowRankConv, add_lora, merged, view


def test_low_rank_branches_are_on_what_dmd2_adapts(unet):
    x, _, t, cond = inputs(unet.size, 4)
    before, names = unet.eps(x, t, cond), set(unet.state_dict())
    branches = add_lora(unet, 2)
    assert torch.equal(view(unet, 2.0).eps(x, t, cond), before)
    adapted = {name: type(module) for name, module in unet.named_modules() if isinstance(module, BRANCHED)}
    assert len(adapted) == len(branches) / 2
    assert set(adapted.values()) == {LowRank, LowRankConv}
    layers = {name for name, module in unet.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    left = {name.removeprefix("network.").split(".")[0] for name in layers - set(adapted)}
    assert left <= {"conv_in", "conv_out", "time_embedding", "add_embedding", "encoder_hid_proj"}
    assert names < set(unet.state_dict())


def test_a_branch_on_a_convolution_is_pefts(unet):
    """The same weights in peft's layer: the same result."""
    from peft import LoraConfig, inject_adapter_in_model

    base = nn.ModuleDict({"conv1": nn.Conv2d(6, 8, 3, 2, 1), "other": nn.Conv2d(1, 1, 1)})
    theirs = inject_adapter_in_model(LoraConfig(r=4, lora_alpha=2, target_modules=["conv1"]), copy.deepcopy(base))
    ours = LowRankConv(base["conv1"], 4)
    ours.scale = 0.5
    with torch.no_grad():
        for branch in (ours.lora_a, ours.lora_b):
            branch.normal_()
        theirs["conv1"].lora_A["default"].weight.copy_(ours.lora_a)
        theirs["conv1"].lora_B["default"].weight.copy_(ours.lora_b)
    x = torch.randn(2, 6, 9, 9)
    torch.testing.assert_close(ours(x), theirs["conv1"](x))
    plain = merged({f"conv1.{name}": tensor for name, tensor in ours.state_dict().items()}, 0.5)
    torch.testing.assert_close(F.conv2d(x, plain["conv1.weight"], plain["conv1.bias"], 2, 1), ours(x))


def test_only_the_branches_train_and_views_keep_their_own_share(unet):
    x, eps, t, cond = inputs(unet.size, 4)
    before = unet.eps(x, t, cond)
    branches = add_lora(unet, 2)
    with torch.no_grad():
        for branch in branches:
            branch.normal_(std=0.3, generator=torch.Generator().manual_seed(2))
    real, fake = view(unet, 0.0), view(unet, 2.0)
    assert torch.equal(real.eps(x, t, cond), before)
    assert not torch.allclose(fake.eps(x, t, cond), before, atol=1e-3)
    fake.recompute = True
    fake.native_loss(x, eps, t, cond).mean().backward()
    assert {id(p) for p in fake.parameters() if p.requires_grad} == {id(p) for p in branches}
    assert all(p.grad is not None and bool(p.grad.any()) for p in branches)
    assert not real.recompute
