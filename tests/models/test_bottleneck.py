"""DMD2's discriminator head on a UNet's bottleneck."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from amd.backbones.bottleneck import BottleneckCritic
from amd.backbones.critic import Critic
from amd.backbones.sit import SiTBackbone
from amd.backbones.unet import UNetBackbone
from amd.config.schema.sizes import UNetSize

SIZE = UNetSize(channels=[16, 32], layers=1, transformers=[0, 1], heads=[2, 2], context=24, groups=8)


def convolutions(critic: BottleneckCritic) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Kernel and stride of each, first to last."""
    return [(m.kernel_size, m.stride) for m in critic.modules() if isinstance(m, nn.Conv2d)]


def test_it_is_dmd2s_head_at_the_sizes_of_sdxl_and_sd15():
    half, last, point = ((4, 4), (2, 2)), ((4, 4), (1, 1)), ((1, 1), (1, 1))
    with torch.device("meta"):
        assert convolutions(BottleneckCritic(1280, 32)) == [half, half, half, last, point]
        assert convolutions(BottleneckCritic(1280, 8)) == [half, last, point]
        norms = [m for m in BottleneckCritic(1280, 32).modules() if isinstance(m, nn.GroupNorm)]
    assert [m.num_groups for m in norms] == [32] * 4


@pytest.mark.parametrize("width", [4, 12, 24, 96, 320])
def test_a_narrow_head_has_groups_of_several_channels(width):
    (norm,) = (m for m in BottleneckCritic(width, 4).modules() if isinstance(m, nn.GroupNorm))
    assert width // norm.num_groups >= min(width, 8)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 6, 8, 9, 12, 16])
def test_any_bottleneck_becomes_one_logit_per_row(side):
    critic = BottleneckCritic(24, side)
    nn.init.normal_(critic.out.weight)
    logits = critic((torch.randn(3, 24, side, side),))
    assert logits.shape == (3,)
    assert logits.unique().numel() == 3


def test_a_fresh_critic_is_undecided_and_the_seed_alone_decides_it():
    one, two, other = (BottleneckCritic(16, 8, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one((torch.randn(3, 16, 8, 8),)), torch.zeros(3))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_another_bottleneck_is_refused():
    with pytest.raises(ValueError, match="8 x 8, not 4 x 4"):
        BottleneckCritic(16, 8)((torch.randn(1, 16, 4, 4),))


def test_a_unets_critic_learns_and_its_gradient_makes_a_sample_more_real():
    unet = UNetBackbone(SIZE, 4, 8).requires_grad_(False)
    critic = unet.critic(5)
    assert isinstance(critic, BottleneckCritic)
    draw = torch.Generator().manual_seed(0)
    x, t = torch.randn(6, 4, 8, 8, generator=draw), torch.rand(6, dtype=torch.float64, generator=draw)
    cond = {"tokens": torch.randn(6, 5, 24, generator=draw)}
    real, fake = x + 1.5, (x - 1.5).requires_grad_()
    optimiser = torch.optim.Adam(critic.parameters(), 1e-2)

    def ask(rows):
        return critic(unet.features(rows, t, cond, critic.layers))

    for _ in range(20):
        optimiser.zero_grad()
        (F.softplus(-ask(real)) + F.softplus(ask(fake.detach()))).mean().backward()
        optimiser.step()
    assert ask(real).min() > 0 > ask(fake).max()
    before = ask(fake)
    (gradient,) = torch.autograd.grad(F.softplus(-before).sum(), fake)
    step = 1e-2 * gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None]
    assert (ask(fake - step) > before).all()


def test_a_transformers_critic_reads_its_tokens(public):
    sit = SiTBackbone(public.size, public.classes, public.channels, public.side)
    critic, expected = sit.critic(5), Critic(sit.width, sit.depth, seed=5)
    assert isinstance(critic, Critic)
    assert critic.layers == expected.layers
    assert all(torch.equal(a, b) for a, b in zip(critic.parameters(), expected.parameters(), strict=True))
