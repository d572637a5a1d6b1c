"""Discriminator heads on a backbone's hidden states."""

import pytest
import torch
import torch.nn.functional as F

from amd.backbones.critic import Critic, spread
from amd.backbones.sit import SiTBackbone


@pytest.fixture
def sit(public) -> SiTBackbone:
    backbone = SiTBackbone(public.size, public.classes, public.channels, public.side)
    backbone.network.load_state_dict(public.weights(1, variance=False))
    return backbone


@pytest.mark.parametrize(("depth", "layers"), [(1, (0,)), (2, (0, 1)), (4, (0, 1, 3)), (28, (8, 17, 27))])
def test_heads_are_spread_over_the_depth_and_end_at_the_last_block(depth, layers):
    assert spread(depth) == layers
    assert Critic(16, depth).layers == layers


def test_a_fresh_critic_is_undecided(sit, batch):
    x, _, t, label = batch(5)
    critic = Critic(sit.width, sit.depth)
    logit = critic(sit.features(x, t, {"label": label}, critic.layers))
    assert torch.equal(logit, torch.zeros(5))


def test_a_critic_learns_to_tell_real_from_fake_and_tells_the_sample_which_way_to_go(sit, batch):
    x, _, t, label = batch(6)
    sit.requires_grad_(False)
    critic = Critic(sit.width, sit.depth)
    optimiser = torch.optim.Adam(critic.parameters(), 1e-2)
    real, fake, cond = x + 1.5, (x - 1.5).requires_grad_(), {"label": label}

    def ask(rows):
        return critic(sit.features(rows, t, cond, critic.layers))

    for _ in range(30):
        optimiser.zero_grad()
        (F.softplus(-ask(real)) + F.softplus(ask(fake.detach()))).mean().backward()
        optimiser.step()
    assert ask(real).min() > 0 > ask(fake).max()
    F.softplus(-ask(fake)).sum().backward()
    assert fake.grad is not None
    towards = -(fake.grad * (real - fake.detach())).flatten(1).sum(1)  # descent against the way to the real sample
    assert (towards > 0).all()


def test_rows_do_not_see_each_other(sit, batch):
    x, _, t, label = batch(4)
    critic = Critic(sit.width, sit.depth)
    torch.nn.init.normal_(critic.heads[0].out.weight)
    whole = critic(sit.features(x, t, {"label": label}, critic.layers))
    alone = critic(sit.features(x[2:3], t[2:3], {"label": label[2:3]}, critic.layers))
    torch.testing.assert_close(alone[0], whole[2], rtol=0, atol=1e-5)  # float32


def test_the_seed_alone_decides_the_heads():
    one, two, other = (torch.cat([p.flatten() for p in Critic(16, 3, seed=s).parameters()]) for s in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
