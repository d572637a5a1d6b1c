"""The exact teacher is exact: against torch.distributions, Tweedie's formula and Bayes' rule on a grid."""

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from amd.backbones.toy import BROAD_SHARE, Mixture, grid9, mixture, ring8
from amd.distill.noise import generator

PROBLEMS = [("ring8", 1.5, "one"), ("ring8", 1.5, "split2"), ("grid9", 1.4, "one")]


def reference(teacher: Mixture, label: int, t: float = 1.0) -> MixtureSameFamily:
    """The law of x_t = t x + (1 - t) eps, built by somebody else."""
    there = teacher.weights[label] > 0  # Categorical would lift a zero to 1e-16, which is a lot far from the modes
    std = (t**2 * teacher.stds[there] ** 2 + (1 - t) ** 2).sqrt()
    each = Independent(Normal(t * teacher.means[there], std[:, None].expand(-1, 2)), 1)
    return MixtureSameFamily(Categorical(teacher.weights[label][there]), each)


@pytest.mark.parametrize(("kind", "size", "condition"), PROBLEMS)
def test_energy_is_minus_log_density(kind, size, condition):
    teacher = mixture(kind, size, 0.15, condition)
    x = torch.randn(200, 2, generator=generator("x"), dtype=torch.float64) * 1.5
    for label in range(teacher.classes + 1):
        energy = teacher.energy(x, torch.full((200,), label))
        assert energy.dtype == torch.float64
        torch.testing.assert_close(-energy, reference(teacher, label).log_prob(x), atol=1e-10, rtol=0)


@pytest.mark.parametrize(("kind", "size", "condition"), PROBLEMS)
@pytest.mark.parametrize("t", [0.02, 0.3, 0.7, 0.98])
def test_posterior_mean_obeys_tweedie(kind, size, condition, t):
    """x_t = t x + s eps: E[x | x_t] = (x_t + s^2 grad log p_t(x_t)) / t."""
    teacher = mixture(kind, size, 0.15, condition)
    x_t = torch.randn(200, 2, generator=generator("x_t"), dtype=torch.float64).requires_grad_()
    for label in range(teacher.classes + 1):
        score = torch.autograd.grad(reference(teacher, label, t).log_prob(x_t).sum(), x_t)[0]
        tweedie = (x_t + (1 - t) ** 2 * score) / t
        times, cond = torch.full((200,), t, dtype=torch.float64), {"label": torch.full((200,), label)}
        mean = teacher(x_t.detach(), times, cond)
        torch.testing.assert_close(mean, tweedie.detach(), atol=1e-9, rtol=0)  # float64, one division by t


def test_posterior_mean_is_the_average_over_the_prior():
    """Bayes' rule by brute force: weights of a million prior samples."""
    teacher = mixture("grid9", 1.4, 0.15, "one")
    x = teacher.sample(torch.zeros(1_000_000, dtype=torch.long), generator("prior")).double()
    t, x_t = 0.5, torch.tensor([0.4, -0.1], dtype=torch.float64)
    likelihood = torch.exp(-((x_t - t * x) ** 2).sum(1) / (2 * (1 - t) ** 2))
    average = (likelihood[:, None] * x).sum(0) / likelihood.sum()
    found = teacher(x_t[None], torch.tensor([t]), {"label": torch.tensor([0])})[0]
    torch.testing.assert_close(found, average, atol=5e-3, rtol=0)  # Monte Carlo: std 1.2 / sqrt(effective 5e5)


def test_float32_agrees_with_float64():
    teacher = mixture("ring8", 1.5, 0.15, "one")
    x_t, t = torch.randn(4000, 2, dtype=torch.float64), torch.rand(4000, dtype=torch.float64) * 0.96 + 0.02
    cond = {"label": torch.zeros(4000, dtype=torch.long)}
    single = teacher(x_t.float(), t, cond)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), teacher(x_t, t, cond), atol=2e-4, rtol=0)  # 1e-7 over a spread of 0.02


def test_the_limits_are_the_sample_and_the_mean():
    teacher = mixture("ring8", 1.5, 0.15, "split2")
    label = torch.arange(300) % 2
    x = teacher.sample(label, generator("limits"))
    clean = teacher(x, torch.ones(300), {"label": label})
    torch.testing.assert_close(clean, x, atol=1e-5, rtol=0)
    noise = teacher(torch.randn(300, 2), torch.zeros(300), {"label": label})
    torch.testing.assert_close(noise, torch.zeros(300, 2), atol=1e-6, rtol=0)  # both classes are centred


def test_samples_have_the_mixture_s_masses_and_spread():
    teacher = mixture("ring8", 1.5, 0.15, "split2")
    label = torch.ones(80_000, dtype=torch.long)
    x = teacher.sample(label, generator("samples")).double()
    distance, nearest = torch.cdist(x, teacher.means).min(1)
    share = torch.bincount(nearest, minlength=8) / len(x)
    torch.testing.assert_close(share, teacher.weights[1].float(), atol=0.01, rtol=0)  # 0.25 of 80,000: sd 0.0015
    assert abs(float((distance**2).mean()) / (2 * 0.15**2) - 1) < 0.03


def test_guidance_has_something_to_say():
    """With one prompt the unconditional teacher differs from the conditional one; with two it holds both classes."""
    one, two = mixture("ring8", 1.5, 0.15, "one"), mixture("ring8", 1.5, 0.15, "split2")
    assert float(one.weights[1, -1]) == BROAD_SHARE
    assert float(one.weights[0, -1]) == 0
    torch.testing.assert_close(two.weights[:2].mean(0), two.weights[2])
    for teacher in (one, two):
        torch.testing.assert_close(teacher.weights.sum(1), torch.ones(teacher.classes + 1, dtype=torch.float64))


def test_modes_stand_where_their_numbers_say():
    ring, grid = ring8(1.5), grid9(1.4)
    torch.testing.assert_close(ring[0], torch.tensor([1.5, 0.0], dtype=torch.float64))
    torch.testing.assert_close(ring[2], torch.tensor([0.0, 1.5], dtype=torch.float64), atol=1e-12, rtol=0)
    assert grid[0].tolist() == [-1.4, -1.4]
    assert grid[1].tolist() == [0.0, -1.4]
    assert grid[3].tolist() == [-1.4, 0.0]
    assert grid[8].tolist() == [1.4, 1.4]


def test_an_unknown_mixture_lists_the_known():
    with pytest.raises(ValueError, match="'ring9'; known: ring8, grid9"):
        mixture("ring9", 1.0, 0.1, "one")
