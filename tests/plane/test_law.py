"""The closed form against its limits, against brute force, and against itself."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from amd.backbones.toy import mixture
from amd.distill.advantage import group_relative
from amd.distill.methods import row
from amd.measure.law import advantages, equilibrium, logit, tilted
from amd.measure.toy import Judge, law_curve, predicted
from amd.rewards.toy import plane_reward


@pytest.mark.parametrize(
    ("p0", "k", "p"),
    [
        (0.5, 1.0, 0.8142),  # 1 / (1 + exp(-(1 + sqrt((1 - p) / p)))), worked out by hand
        (0.5, 0.5, 0.696),
        (0.5, 3.0, 0.971),
        (0.25, 1.0, 0.653),
        (0.75, 1.0, 0.917),
        (0.875, 2.0, 0.985),
    ],
)
def test_known_equilibria(p0, k, p):
    assert equilibrium(p0, k) == pytest.approx(p, abs=6e-4)


@pytest.mark.parametrize("p0", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("k", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("clip", [0.5, 1.0, 3.0])
def test_the_equilibrium_solves_its_equation(p0, k, clip):
    p = equilibrium(p0, k, clip)
    high, low = advantages(p, clip)
    assert logit(p) == pytest.approx(logit(p0) + k * (high - low), abs=1e-9)
    if k == 0:
        assert p == pytest.approx(p0, abs=1e-9)


def test_more_sharpening_moves_more_mass():
    masses = [equilibrium(0.5, k) for k in np.linspace(0, 5, 20)]
    assert all(a < b for a, b in pairwise(masses))


@pytest.mark.parametrize(("group", "bad"), [(2, 0.269), (4, 0.223), (8, 0.201), (16, 0.192)])
def test_small_groups_dilute_the_advantage(group, bad):
    """Known values of the low mode's mass for two equal modes; a pair is 1 / (1 + e) exactly."""
    assert 1 - equilibrium(0.5, 1.0, group=group) == pytest.approx(bad, abs=6e-4)
    if group == 2:
        assert 1 - equilibrium(0.5, 1.0, group=2) == pytest.approx(1 / (1 + math.e), abs=1e-9)


def test_large_groups_reach_the_closed_form():
    errors = [abs(equilibrium(0.3, 1.0, group=group) - equilibrium(0.3, 1.0)) for group in (8, 64, 512)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-3


def test_a_finite_group_agrees_with_drawn_groups():
    """At the predicted p, drawn groups weighted by W = exp(-a) hold the teacher's share p0 of good samples."""
    p0, k, group = 0.4, 1.0, 6
    p = equilibrium(p0, k, group=group)
    good = torch.rand(600_000, generator=torch.Generator().manual_seed(0)) < p
    a, _ = group_relative(clip=1.0)(good.double(), group)
    weight = torch.exp(-k * a)
    assert float((weight * good).sum() / weight.sum()) == pytest.approx(p0, abs=3e-3)  # 600,000 draws


def test_two_levels_are_a_case_of_many():
    masses, rewards = np.array([0.1, 0.2, 0.3, 0.4]), np.array([1.0, 0.0, 1.0, 0.0])
    p = tilted(masses, rewards, 1.0)
    assert p[[0, 2]].sum() == pytest.approx(equilibrium(0.4, 1.0), abs=1e-6)
    assert p[2] / p[0] == pytest.approx(3.0, abs=1e-6)  # within a level the teacher's proportions stay


def test_equal_rewards_tilt_nothing():
    np.testing.assert_allclose(tilted(np.array([0.5, 0.3, 0.2]), np.full(3, 7.0), 2.0), [0.5, 0.3, 0.2])


def judge_of(reward, good, condition="one"):
    teacher = mixture("ring8", 1.5, 0.15, condition)
    label = torch.arange(200) % teacher.classes
    return Judge(teacher, plane_reward(reward, teacher.means[:8], good), good, label, 50, 5.0)


def test_a_method_s_prediction_follows_its_numbers():
    judge = judge_of("selective", [0, 2, 4, 6])
    assert predicted(judge, row("dmd-pure"), True, 100)["p"] == pytest.approx(0.5)
    assert predicted(judge, row("amd", {"k": 3.0}), True, 100)["p"] == pytest.approx(equilibrium(0.5, 3.0))
    assert predicted(judge, row("amd", {"k": 1.0, "clip": 2.0}), True, 100)["p"] == equilibrium(0.5, 1.0, 2.0)
    assert predicted(judge, row("amd-without-sharpening"), True, 100)["p"] == pytest.approx(0.5)
    assert predicted(judge, row("naive"), True, 100) is None
    assert predicted(judge, row("dmdr"), True, 100) is None
    assert predicted(judge_of("global", []), row("amd"), False, 100) is None


def test_the_teacher_s_share_is_taken_within_the_prompts():
    assert judge_of("selective", [0, 1, 4, 5], "split2").p0 == pytest.approx(0.5)
    assert judge_of("selective", [0, 4], "one").p0 == pytest.approx(0.25)
    assert judge_of("selective", [0, 1, 2, 3, 4, 5], "split2").p0 == pytest.approx(0.75)


def test_a_prompt_without_a_good_mode_is_refused():
    with pytest.raises(ValueError, match="class 1 holds none of the good modes"):
        judge_of("selective", [0, 4], "split2")


def test_the_curve_is_the_equation():
    curve = law_curve(0.25, 192)
    assert curve["p"][0] == pytest.approx(0.25)
    assert curve["p"][curve["k"].index(1.0)] == pytest.approx(equilibrium(0.25, 1.0), abs=1e-6)


def test_impossible_questions_are_refused():
    with pytest.raises(ValueError, match="p0 = 1"):
        equilibrium(1.0, 1.0)
    with pytest.raises(ValueError, match="group = 1"):
        equilibrium(0.5, 1.0, group=1)
