"""F_t: the laws of the re-noising times."""

import math

import pytest
import torch
from scipy import stats
from scipy.special import betainc
from torch import Tensor

from amd.distill.noise import Noise
from amd.distill.path import shifted
from amd.distill.renoise import Levels, annealed_beta, cleaner_ca, uniform
from amd.distill.rollout import grid

N = 4096
NOISE = Noise(0, 0, N, dtype=torch.float64)
START = torch.zeros(N, dtype=torch.float64)  # a one-step student
U = NOISE.uniform("t")


def kolmogorov(values: Tensor, law: stats.rv_continuous) -> float:
    return stats.kstest(values.numpy(), law.cdf).pvalue


@pytest.mark.parametrize(("low", "high"), [(0.02, 0.98), (1e-3, 1 - 1e-3), (0.0, 1.0)])
def test_uniform_stays_within_its_bounds_and_fills_them(low: float, high: float) -> None:
    levels = uniform(low=low, high=high)(NOISE, START, 8, 0.0)
    assert levels.split is None
    assert torch.equal(levels.t_dm, levels.t_ca)
    assert levels.t_dm.dtype == torch.float64
    assert levels.t_dm.min() >= low
    assert levels.t_dm.max() <= high
    assert kolmogorov(levels.t_dm, stats.uniform(low, high - low)) > 0.01  # a fixed seed: holds or does not, for good


def test_uniform_per_group_gives_the_group_one_time() -> None:
    t = uniform(share="group")(NOISE, START, 8, 0.0).t_dm.reshape(-1, 8)
    assert torch.equal(t, t[:, :1].expand_as(t))
    assert t[:, 0].unique().numel() == N // 8
    per_sample = uniform()(NOISE, START, 8, 0.0).t_dm
    assert per_sample.unique().numel() == N


def test_ddmd_matches_everywhere_and_guides_at_cleaner_times_than_the_students() -> None:
    t_g = torch.arange(N, dtype=torch.float64) % 4 / 4  # exit steps of a four-step student
    levels = cleaner_ca()(NOISE, t_g, 8, 0.0)
    assert levels.split is not None
    assert levels.split.all()
    assert (levels.t_ca >= t_g).all()
    assert levels.t_ca.max() <= 0.98
    assert kolmogorov(levels.t_dm, stats.uniform(0.02, 0.96)) > 0.01
    for step in (0.0, 0.25, 0.5, 0.75):
        low = max(step, 0.02)
        assert kolmogorov(levels.t_ca[t_g == step], stats.uniform(low, 0.98 - low)) > 0.01
    assert abs(torch.corrcoef(torch.stack([levels.t_dm, levels.t_ca]))[0, 1]) < 4 / math.sqrt(N)  # independent draws


def test_ddmd_with_a_one_step_student_differs_from_uniform_by_its_independent_draw_alone() -> None:
    levels = cleaner_ca()(NOISE, START, 8, 0.0)
    assert torch.equal(levels.t_dm, uniform()(NOISE, START, 8, 0.0).t_dm)
    assert kolmogorov(levels.t_ca, stats.uniform(0.02, 0.96)) > 0.01
    assert not torch.equal(levels.t_dm, levels.t_ca)


def half_cosine(progress: float, anneal: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress / anneal))


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.25, 0.4])
def test_annealed_beta_is_that_beta(progress: float) -> None:
    t = annealed_beta()(NOISE, START, 8, progress).t_dm
    left = half_cosine(progress, 0.5)
    law = stats.beta(1 + 0.5 * left, 1 + 3.0 * left)  # Beta(1.5, 4) -> Beta(1, 1)
    assert t.mean().item() == pytest.approx(law.mean(), abs=5 * law.std() / math.sqrt(N))
    assert t.var().item() == pytest.approx(law.var(), rel=5 * math.sqrt(2 / N))
    # the quantile function, inverted; betaincinv is good to about 1e-12
    torch.testing.assert_close(torch.from_numpy(betainc(*law.args, t.numpy())), U, rtol=0, atol=1e-9)


def test_annealed_beta_starts_noisy_and_ends_uniform() -> None:
    start = annealed_beta()(NOISE, START, 8, 0.0).t_dm
    assert start.mean().item() == pytest.approx(1.5 / 5.5, abs=0.02)  # t = 0 is noise
    for progress in (0.5, 0.7, 0.999):
        assert torch.equal(annealed_beta()(NOISE, START, 8, progress).t_dm, U)
    almost = annealed_beta()(NOISE, START, 8, 0.5 - 1e-6).t_dm
    torch.testing.assert_close(almost, U, rtol=0, atol=1e-9)  # and gets there without a jump
    assert torch.equal(annealed_beta(anneal=0.0)(NOISE, START, 8, 0.0).t_dm, U)  # DMDR's second stage


def test_the_mirrored_law_is_dmdrs_in_its_own_arrow_of_time() -> None:
    """1 - t ~ Beta(4, 1.5) where t = 1 is noise."""
    t = annealed_beta()(NOISE, START, 8, 0.0).t_dm
    assert kolmogorov(1 - t, stats.beta(4, 1.5)) > 0.01


def noisier(sigma: Tensor, s: float) -> Tensor:
    """LongLive's own form, where sigma = 1 is noise."""
    return s * sigma / (1 + (s - 1) * sigma)


def test_a_shift_moves_times_towards_noise_and_its_inverse_moves_them_back() -> None:
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    assert shifted(t, 1.0) is t
    torch.testing.assert_close(1 - shifted(t, 5.0), noisier(1 - t, 5.0), rtol=0, atol=1e-15)
    torch.testing.assert_close(shifted(shifted(t, 5.0), 0.2), t, rtol=0, atol=1e-15)
    assert shifted(t, 5.0)[[0, -1]].tolist() == [0, 1]


def test_uniform_times_are_shifted_and_then_clamped() -> None:
    """LongLive: t ~ U[0, 1), then the shift, then [20, 980] of 1,000; its times count noise."""
    t = uniform(shift=5.0)(NOISE, START, 8, 0.0).t_dm
    torch.testing.assert_close(1 - t, noisier(1 - U, 5.0).clamp(0.02, 0.98), rtol=0, atol=1e-15)
    assert (t == 0.02).double().mean().item() == pytest.approx(0.093, abs=0.02)  # sigma above 0.907 ends there
    assert t.median() < 0.2 < U.median()
    group = uniform(shift=5.0, share="group")(NOISE, START, 8, 0.0).t_dm.reshape(-1, 8)
    assert torch.equal(group, group[:, :1].expand_as(group))


def test_ddmd_with_a_shift_is_uniform_before_it() -> None:
    t_g = torch.tensor(grid(4, 5.0), dtype=torch.float64).repeat(N // 4)
    levels = cleaner_ca(shift=5.0)(NOISE, t_g, 8, 0.0)
    assert torch.equal(levels.t_dm, uniform(shift=5.0)(NOISE, START, 8, 0.0).t_dm)
    assert (levels.t_ca >= t_g).all()
    for step in range(4):
        mine = levels.t_ca[step::4]
        free = shifted(mine[(mine > 0.02) & (mine < 0.98)], 0.2)  # before the shift, where nothing was clamped
        low, high = max(step / 4, shifted(torch.tensor(0.02), 0.2).item()), shifted(torch.tensor(0.98), 0.2).item()
        assert kolmogorov(free, stats.uniform(low, high - low)) > 0.01


def test_annealed_beta_is_shifted_last() -> None:
    for progress in (0.1, 0.9):
        plain = annealed_beta()(NOISE, START, 8, progress).t_dm
        assert torch.equal(annealed_beta(shift=3.0)(NOISE, START, 8, progress).t_dm, shifted(plain, 3.0))


LAWS = [uniform(), uniform(share="group"), uniform(shift=5.0), cleaner_ca(), cleaner_ca(shift=5.0), annealed_beta()]


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_ranks_and_parts_see_slices_of_the_same_times(law: object) -> None:
    whole: Levels = law(NOISE, START, 8, 0.1)  # type: ignore[operator]
    for rank in range(4):
        part = Noise(0, 0, N, rank=rank, world=4, dtype=torch.float64)
        mine: Levels = law(part, START[part.rows], 8, 0.1)  # type: ignore[operator]
        assert torch.equal(mine.t_dm, whole.t_dm[part.rows])
        assert torch.equal(mine.t_ca, whole.t_ca[part.rows])
