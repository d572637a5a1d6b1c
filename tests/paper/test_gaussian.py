"""Closed forms: g points where theory says, on grids of Gaussians, and matching rests where theory says.

For p = N(m, v) the posterior mean is x0_hat(x_t) = m + c (x_t - t m) with c = t v / (t^2 v + sigma^2), affine in x_t,
so expectations over eps are exact: a displacement at x is (x - m)(1 - c t) in the mean, and
1 - c t = sigma^2 / (t^2 v + sigma^2) > 0.
"""

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from amd.distill.advantage import group_relative, sharpened
from amd.distill.methods import row
from amd.distill.operator import compose
from amd.distill.path import Linear, rows
from amd.distill.types import Displacements

GRID = torch.linspace(-3, 3, 25, dtype=torch.float64)
TIMES = (0.05, 0.3, 0.6, 0.9)
PAIRS = list(product((0.0, 2.0), (0.25, 1.0)))  # means and variances
NODES, WEIGHTS = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(40))
WEIGHTS = WEIGHTS / WEIGHTS.sum()  # of expectations over N(0, 1), exact for polynomials up to degree 79


def posterior(mean: float, variance: float, x_t: Tensor, t: Tensor) -> Tensor:
    alpha, sigma = (rows(c, x_t) for c in Linear().coefficients(t))
    return mean + alpha * variance / (alpha**2 * variance + sigma**2) * (x_t - alpha * mean)


def score(mean: float, variance: float, x_t: Tensor, t: Tensor) -> Tensor:
    alpha, sigma = (rows(c, x_t) for c in Linear().coefficients(t))
    return -(x_t - alpha * mean) / (alpha**2 * variance + sigma**2)


def seen(
    x: Tensor, t: float, real: tuple[float, float], fake: tuple[float, float], uncond: tuple[float, float]
) -> tuple[Displacements, Tensor, Tensor]:
    """Displacements at every x (rows) and eps of the quadrature (columns), x_t and t."""
    times = torch.full_like(x, t)
    x_t = Linear().add_noise(x[:, None].expand(-1, len(NODES)), NODES.expand(len(x), -1), times)
    cond, other, push = (x[:, None] - posterior(*p, x_t, times) for p in (real, uncond, fake))
    return Displacements(cond, other, push, cond, other), x_t, times


def mean(values: Tensor) -> Tensor:
    """Over eps: (x, nodes) -> (x,)."""
    return values @ WEIGHTS


def force(
    name: str,
    x: Tensor,
    t: float,
    real: tuple[float, float],
    fake: tuple[float, float],
    a: float = 0.0,
) -> Tensor:
    """-E_eps[g] without guidance: where each sample is sent."""
    d, *_ = seen(x, t, real, fake, real)
    return -mean(compose(row(name), d, torch.full_like(x, a), 1.0))


# --- the score form ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize(("real", "fake"), list(product(PAIRS, PAIRS)))
def test_g_is_the_difference_of_scores_of_eq_18(t: float, real: tuple[float, float], fake: tuple[float, float]) -> None:
    """d_real - d_fake = (sigma^2 / alpha)(s_fake - s_real) at every x_t, not only in the mean."""
    d, x_t, times = seen(GRID, t, real, fake, real)
    expected = (1 - t) ** 2 / t * (score(*fake, x_t, times) - score(*real, x_t, times))
    torch.testing.assert_close(compose("dmd-pure", d, None, 1.0), expected, rtol=0, atol=1e-10)  # 1 / t is 20 at most


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("variance", [0.25, 1.0])
def test_a_displaced_student_is_sent_towards_the_teacher_everywhere(t: float, variance: float) -> None:
    for teacher, student in ((2.0, 0.0), (-1.0, 0.5)):
        to = force("dmd-pure", GRID, t, (teacher, variance), (student, variance))
        gain = (1 - t) ** 2 / (t**2 * variance + (1 - t) ** 2)
        torch.testing.assert_close(to, torch.full_like(GRID, gain * (teacher - student)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("t", TIMES)
def test_a_students_mean_is_sent_towards_the_teacher_whatever_the_spreads(t: float) -> None:
    for (m_r, v_r), (m_f, v_f) in product(PAIRS, PAIRS):
        to = force("dmd-pure", torch.tensor([m_f], dtype=torch.float64), t, (m_r, v_r), (m_f, v_f)).item()
        assert np.sign(round(to, 12)) == np.sign(m_r - m_f)


@pytest.mark.parametrize("t", TIMES)
def test_a_wide_student_contracts_and_a_narrow_one_spreads(t: float) -> None:
    away = GRID[GRID != 0]
    assert (force("dmd-pure", away, t, (0.0, 0.25), (0.0, 1.0)) * away < 0).all()
    assert (force("dmd-pure", away, t, (0.0, 1.0), (0.0, 0.25)) * away > 0).all()


# --- the advantage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", TIMES)
def test_without_guidance_a_low_advantage_lengthens_the_step_and_turns_nothing(t: float) -> None:
    """beta weighs the pull and the push alike: the force on a bad sample is not more repulsive, it is larger."""
    plain = force("amd", GRID, t, (2.0, 0.25), (0.0, 1.0))
    for a in (-1.0, -0.3, 0.7, 1.0):
        torch.testing.assert_close(force("amd", GRID, t, (2.0, 0.25), (0.0, 1.0), a), (1 - 0.5 * a) * plain)


@pytest.mark.parametrize("t", TIMES)
def test_guidance_drives_from_the_unconditional_to_the_conditional_mean_by_alpha(t: float) -> None:
    w, cond, uncond, fake = 3.0, (1.0, 0.25), (-1.0, 0.25), (0.0, 0.25)
    gain = (1 - t) ** 2 / (t**2 * 0.25 + (1 - t) ** 2)
    for a in (-1.0, 0.0, 1.0):
        d, *_ = seen(GRID, t, cond, fake, uncond)
        to = -mean(compose("amd", d, torch.full_like(GRID, a), w))
        expected = gain * ((1 - 0.5 * a) * (cond[0] - fake[0]) + (1 + 0.5 * a) * (w - 1) * (cond[0] - uncond[0]))
        torch.testing.assert_close(to, torch.full_like(GRID, expected), rtol=0, atol=1e-12)


# --- where matching rests ---------------------------------------------------------------------------------------------


def descend(name: str, advantage: Callable[[Tensor], Tensor], steps: int = 300) -> tuple[float, float]:
    """An affine student m + s z against the teacher N(2, 1/4), its fake teacher always exact: expected gradients."""
    m, s = 0.0, 1.2
    for _ in range(steps):
        x = m + s * NODES
        g_m = g_s = 0.0
        for t in TIMES:
            d, *_ = seen(x, t, (2.0, 0.25), (m, s * s), (2.0, 0.25))
            g = mean(compose(name, d, advantage(NODES), 1.0))
            g_m += (WEIGHTS * g).sum().item() / len(TIMES)
            g_s += (WEIGHTS * g * NODES).sum().item() / len(TIMES)
        m, s = m - 0.5 * g_m, s - 0.5 * g_s
    return m, s


def test_dmd_rests_at_the_teacher() -> None:
    assert descend("dmd-pure", torch.zeros_like) == pytest.approx((2.0, 0.5), abs=1e-6)


def test_a_positive_step_per_sample_moves_no_fixed_point() -> None:
    """Dynamic score adaptation without guidance is a preconditioner: it rests where DMD does."""
    assert descend("amd", torch.tanh) == pytest.approx((2.0, 0.5), abs=1e-6)
    assert descend("amd", lambda z: torch.full_like(z, -1.0)) == pytest.approx((2.0, 0.5), abs=1e-6)


@pytest.mark.parametrize("t", TIMES)
def test_the_naive_operator_moves_a_student_that_is_already_right(t: float) -> None:
    """It pulls good samples onto the mode and drives bad ones off it, at p_student = p_teacher."""
    away = GRID[GRID != 0]
    for name, a, sign in (("naive", 1.0, -1), ("naive", -1.0, 1), ("dmd-pure", 0.0, 0), ("amd", 1.0, 0)):
        to = force(name, away, t, (0.0, 0.25), (0.0, 0.25), a)
        assert torch.equal(torch.sign(to.round(decimals=12) * away), torch.full_like(away, sign))


@pytest.mark.parametrize(("a", "ratio"), [(1.0, 0.577), (-1.0, 1.732)])
def test_the_naive_operator_rests_at_a_power_of_the_teacher(a: float, ratio: float) -> None:
    """Where little noise is left, a constant advantage rests at p^(alpha / beta): its width is sqrt(beta / alpha)."""
    s = 0.5
    factor = (1 - s * a) / (1 + s * a)
    assert math.sqrt(factor) == pytest.approx(ratio, abs=5e-4)
    resting = force("naive", GRID, 0.999, (0.0, 0.25), (0.0, 0.25 * factor), a)
    moving = force("naive", GRID, 0.999, (0.0, 0.25), (0.0, 0.25), a)
    assert resting.abs().max() < 1e-4 * moving.abs().max()  # sigma^2 / v = 4e-6 is what is neglected


def posterior_on_grid(points: Tensor, density: Tensor, x_t: Tensor, t: float) -> Tensor:
    """E[x | x_t] for a density on points."""
    logits = density.log() - (x_t[:, None] - t * points).square() / (2 * (1 - t) ** 2)
    return logits.softmax(1) @ points


@pytest.mark.parametrize("k", [0.5, 1.0, 3.0])
def test_sharpening_rests_at_the_teacher_tilted_by_the_advantage(k: float) -> None:
    """The fake models p_student W: it agrees with the teacher, and nothing moves, at p_student ~ p_teacher exp(k a)."""
    points = torch.linspace(-4, 4, 401, dtype=torch.float64)
    teacher = torch.exp(-((points - 1) ** 2)) + 0.5 * torch.exp(-4 * (points + 1) ** 2)
    teacher = teacher / teacher.sum()
    reward = torch.sin(points)
    student = teacher
    for _ in range(500):  # a depends on the student's own mean and deviation of the reward: iterate to its fixed point
        mu = (student * reward).sum()
        sigma = ((student * (reward - mu) ** 2).sum()).sqrt()
        a = ((reward - mu) / sigma).clamp(-1, 1)
        tilted = teacher * torch.exp(k * a)
        student = 0.5 * student + 0.5 * tilted / tilted.sum()
    weight = sharpened(k=k, normalise="none")(a, 1)
    modelled = student * weight / (student * weight).sum()
    assert (student - teacher).abs().sum() > 0.05  # it is somewhere else
    x_t = torch.linspace(-2, 2, 41, dtype=torch.float64)
    for t in TIMES:
        real, fake, unweighted = (posterior_on_grid(points, p, x_t, t) for p in (teacher, modelled, student))
        x = torch.zeros_like(x_t)
        rest = Displacements(x - real, None, x - fake, x - real, None)
        assert compose("amd", rest, torch.zeros_like(x), 1.0).abs().max() < 1e-9  # the iteration's own accuracy
        assert (unweighted - real).abs().max() > 1e-3  # without W it would not rest there


def test_the_group_estimates_that_advantage() -> None:
    """A large group's statistics are the population's."""
    reward = torch.sin(torch.linspace(-4, 4, 4001, dtype=torch.float64))
    a, sigma = group_relative()(reward, 4001)
    exact = ((reward - reward.mean()) / reward.std(correction=0)).clamp(-1, 1)
    torch.testing.assert_close(a, exact)
    assert sigma[0] == pytest.approx(reward.std(correction=0).item())
