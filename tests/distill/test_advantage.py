"""Eq. 12 and 14: who is broken, what the fake teacher is told about it, and where that leads."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import binom

from amd.distill.advantage import group_relative, group_statistics, ones, sharpened
from amd.distill.noise import generator
from amd.measure.law import equilibrium

rewards_of = st.lists(st.floats(-100, 100), min_size=8, max_size=8)


def reward(rows: int = 12) -> torch.Tensor:
    return torch.randn(rows, generator=generator("reward"), dtype=torch.float64)


def test_statistics_are_the_groups_own_mean_and_population_deviation() -> None:
    r = reward()
    mean, sigma = group_statistics(r, 4)
    for i in range(12):
        group = r[i // 4 * 4 : i // 4 * 4 + 4].tolist()
        mu = sum(group) / 4
        assert mean[i].item() == pytest.approx(mu, rel=1e-13)
        assert sigma[i].item() == pytest.approx(math.sqrt(sum((g - mu) ** 2 for g in group) / 4), rel=1e-12)


def test_advantage_is_eq_12_and_clipped_at_one() -> None:
    r = torch.tensor([0.0, 1.0, 2.0, 9.0])
    a, _ = group_relative()(r, 4)
    plain = [(v - 3.0) / math.sqrt(12.5) for v in r.tolist()]
    torch.testing.assert_close(a, torch.tensor([max(-1, min(1, v)) for v in plain], dtype=torch.float64))
    assert a[3] == 1  # it would be 1.7
    torch.testing.assert_close(group_relative(clip=10.0)(r, 4)[0], torch.tensor(plain, dtype=torch.float64))


def test_a_group_without_spread_says_nothing() -> None:
    a, sigma = group_relative()(torch.tensor([5.0, 5.0, 5.0, 5.0]), 4)
    assert torch.equal(a, torch.zeros(4, dtype=torch.float64))
    assert torch.equal(sigma, torch.zeros(4, dtype=torch.float64))
    nearly = 1e8 + torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64) * 1e-7  # below the floor: rounding, not news
    assert torch.equal(group_relative()(nearly, 4)[0], torch.zeros(4, dtype=torch.float64))


def test_a_group_of_one_says_nothing() -> None:
    assert torch.equal(group_relative()(reward(), 1)[0], torch.zeros(12, dtype=torch.float64))


def test_a_group_of_two_says_better_or_worse_and_no_more() -> None:
    r = reward()
    a = group_relative()(r, 2)[0]
    expected = torch.where(r.reshape(-1, 2) == r.reshape(-1, 2).max(1, keepdim=True).values, 1.0, -1.0).double()
    torch.testing.assert_close(a, expected.reshape(-1), rtol=0, atol=1e-12)  # population deviation: exactly +-1


def test_groups_do_not_see_each_other() -> None:
    r = reward()
    other = r.clone()
    other[4:] = 100 * other[4:] - 3
    assert torch.equal(group_relative()(r, 4)[0][:4], group_relative()(other, 4)[0][:4])


@settings(deadline=None, max_examples=50, derandomize=True)
@given(values=rewards_of, scale=st.floats(0.5, 50), shift=st.floats(-50, 50))
def test_advantage_does_not_know_the_rewards_scale(values: list[float], scale: float, shift: float) -> None:
    r = torch.tensor(values, dtype=torch.float64)
    a, sigma = group_relative()(r, 4)
    if (sigma < 1e-3).any():  # near the floor the scale matters, and there rounding does too
        return
    assert a.abs().max() <= 1
    # float64 at numbers of size 5000 against deviations above 1e-3
    torch.testing.assert_close(group_relative()(scale * r + shift, 4)[0], a, rtol=0, atol=1e-8)


def test_rewards_in_half_precision_are_compared_in_double() -> None:
    r = reward().to(torch.bfloat16)
    a, sigma = group_relative()(r, 4)
    assert a.dtype == sigma.dtype == torch.float64
    assert torch.equal(a, group_relative()(r.double(), 4)[0])


def test_rewards_that_do_not_split_into_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="12 rewards do not split into groups of 5"):
        group_relative()(reward(), 5)


# --- W --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0.0, 0.5, 1.0, 3.0])
def test_weights_are_eq_14(k: float) -> None:
    a = group_relative()(reward(), 4)[0]
    plain = torch.tensor([math.exp(-k * v) for v in a.tolist()], dtype=torch.float64)
    torch.testing.assert_close(sharpened(k=k, normalise="none")(a, 4), plain)
    torch.testing.assert_close(sharpened(k=k)(a, 4), plain / plain.mean())
    by_group = plain.reshape(3, 4) / plain.reshape(3, 4).mean(1, keepdim=True)
    torch.testing.assert_close(sharpened(k=k, normalise="group")(a, 4), by_group.reshape(-1))


def test_without_sharpening_every_weight_is_one() -> None:
    a = group_relative()(reward(), 4)[0]
    for how in ("none", "batch", "group"):
        assert torch.equal(sharpened(k=0.0, normalise=how)(a, 4), ones()(a, 4))
    assert torch.equal(ones()(a, 4), torch.ones(12, dtype=torch.float64))


def test_the_paper_leaves_the_fake_teacher_a_larger_step() -> None:
    """E[exp(-a)] = 1.29 for Gaussian rewards and K = 16: why W is divided by its mean."""
    many = torch.randn(16 * 20000, generator=generator("many"), dtype=torch.float64)
    a = group_relative()(many, 16)[0]
    assert sharpened(normalise="none")(a, 16).mean().item() == pytest.approx(1.29, abs=0.005)  # s.e. 0.001
    assert sharpened()(a, 16).mean().item() == pytest.approx(1, abs=1e-12)


# --- where it leads: two equal modes of the teacher, reward 1 and 0 --------------------------------------------------


def low_share_seen_by_the_fake(p_low: float, group: int, k: float) -> float:
    """E[W 1_low] / E[W]: the low mode's mass in what the fake teacher models, exact over all groups of K."""
    low = total = 0.0
    for n in range(group + 1):
        r = torch.ones(group, dtype=torch.float64)
        r[:n] = 0
        w = sharpened(k=k, normalise="none")(group_relative()(r, group)[0], group)
        chance = binom.pmf(n, group, p_low)
        low += chance * w[:n].sum().item()
        total += chance * w.sum().item()
    return low / total


@pytest.mark.parametrize(("group", "mass"), [(2, 0.269), (4, 0.223), (8, 0.201), (16, 0.192)])
def test_sharpening_leaves_the_suppressed_mode_this_much(group: int, mass: float) -> None:
    """Matching is over where half of W p_student is low, as the teacher has it: Eq. 14 alone cannot empty a mode."""
    fixed_point = brentq(lambda p: low_share_seen_by_the_fake(p, group, 1.0) - 0.5, 1e-6, 0.5)
    assert fixed_point == pytest.approx(mass, abs=5e-4)  # the figures have three digits
    assert fixed_point == pytest.approx(1 - equilibrium(0.5, 1.0, group=group), abs=1e-9)  # what the plane is held to


def test_sharpening_in_an_infinite_group_is_the_closed_form() -> None:
    group = 20000  # the share of low rewards is then the low mode's mass, to 1 / 20000

    def seen(p: float) -> float:
        r = torch.ones(group, dtype=torch.float64)
        r[: round(p * group)] = 0
        w = sharpened()(group_relative()(r, group)[0], group)  # normalised over the batch: a ratio does not see it
        return (w[: round(p * group)].sum() / w.sum()).item() - 0.5

    def closed(p_good: float, k: float = 1.0) -> float:
        high = min(1.0, math.sqrt((1 - p_good) / p_good))
        low = -min(1.0, math.sqrt(p_good / (1 - p_good)))
        return logit(p_good) - k * (high - low)  # logit p = logit p0 + k (a_hi - a_lo), p0 = 1/2

    measured = brentq(seen, 0.01, 0.49)
    assert measured == pytest.approx(0.186, abs=5e-4)
    assert measured == pytest.approx(1 - brentq(closed, 0.5, 0.999), abs=1e-4)  # the grid of shares
    assert seen(0.5) > 0  # and half and half is no fixed point: the push does something


@pytest.mark.parametrize("k", [0.5, 2.0, 3.0])
def test_a_stronger_k_leaves_it_less(k: float) -> None:
    def mass(k: float) -> float:
        return brentq(lambda p: low_share_seen_by_the_fake(p, 8, k) - 0.5, 1e-9, 0.5)

    assert (mass(k) < mass(1.0)) == (k > 1)
    assert mass(k) < 0.5


@pytest.mark.parametrize("k", [0.5, 1.0, 2.0])
def test_two_samples_per_group_leave_it_the_logistic_function_of_k(k: float) -> None:
    """K = 2: p^2 + p q e^k = q^2 + p q e^-k is solved by p = 1 / (1 + e^k)."""
    fixed_point = brentq(lambda p: low_share_seen_by_the_fake(p, 2, k) - 0.5, 1e-6, 0.5)
    assert fixed_point == pytest.approx(expit(-k), abs=1e-10)
