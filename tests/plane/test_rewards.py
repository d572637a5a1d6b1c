"""The reward landscapes at the points where everybody knows them."""

import pytest
import torch

from amd.backbones.toy import grid9, ring8
from amd.rewards.toy import LENGTH, PLANE_REWARDS, plane_reward

COND: dict[str, torch.Tensor] = {}


def test_selective_is_one_on_good_modes_minus_one_on_bad_ones_and_zero_between():
    means = ring8(1.5)
    reward = plane_reward("selective", means, [0, 2, 4, 6])
    values = reward(means, COND)
    expected = torch.tensor([1.0, -1.0] * 4, dtype=torch.float64)
    torch.testing.assert_close(values, expected, atol=1e-3, rtol=0)  # the next mode is 1.15 away: exp(-7.3)
    torch.testing.assert_close(reward((means + means.roll(1, 0)) / 2, COND), torch.zeros(8, dtype=torch.float64))
    torch.testing.assert_close(reward(torch.tensor([[9.0, 9.0]]), COND), torch.zeros(1))


def test_global_is_one_on_every_mode_and_falls_with_its_length():
    means = ring8(1.5)
    reward = plane_reward("global", means, [])
    torch.testing.assert_close(reward(means, COND), torch.ones(8, dtype=torch.float64))
    beside = means + torch.tensor([LENGTH, 0.0], dtype=torch.float64)
    assert float(reward(beside, COND).max()) <= float(torch.exp(torch.tensor(-0.5))) + 1e-6


def test_lower_left_grows_towards_the_lower_left():
    reward = plane_reward("lower-left", grid9(1.4), [0, 1, 3])
    order = reward(grid9(1.4), COND).argsort(descending=True)
    assert order[0] == 0
    assert order[-1] == 8
    assert set(order[:3].tolist()) == {0, 1, 3}


@pytest.mark.parametrize("name", PLANE_REWARDS)
def test_rewards_are_differentiable(name):
    x = torch.randn(50, 2, dtype=torch.float64, requires_grad=True)
    reward = plane_reward(name, ring8(1.5), [0, 2, 4, 6])
    assert torch.autograd.gradcheck(lambda x: reward(x, COND), (x,))


def test_wrong_rewards_are_refused():
    with pytest.raises(ValueError, match="'local'; known: selective, global, lower-left"):
        plane_reward("local", ring8(1.0), [])
    for good in ([], list(range(8))):
        with pytest.raises(ValueError, match="needs modes that it likes and modes that it does not"):
            plane_reward("selective", ring8(1.0), good)
