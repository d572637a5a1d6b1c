"""The numbers are what they are called: against brute force, and on samples whose numbers are known."""

import json

import numpy as np
import pytest
import torch

from amd.backbones.toy import mixture
from amd.distill.noise import generator
from amd.measure.toy import Judge, Measurement, as_json, auroc, energy_distance, forbidden_border
from amd.rewards.toy import plane_reward

N = 2000


def judge_of(reward="selective", good=(0, 2, 4, 6), condition="one", kind="ring8", group=200, n=N):
    teacher = mixture(kind, 1.5 if kind == "ring8" else 1.4, 0.15, condition)
    label = torch.arange(n) // group % teacher.classes
    gamma = forbidden_border(teacher, 0.99)
    return Judge(teacher, plane_reward(reward, teacher.means[: teacher.modes], good), good, label, group, gamma)


def test_auroc_counts_pairs():
    source = np.random.default_rng(0)
    score, positive = source.integers(0, 6, 60), source.random(60) < 0.3
    pairs = [(a > b) + 0.5 * (a == b) for a in score[positive] for b in score[~positive]]
    assert auroc(score, positive) == pytest.approx(np.mean(pairs))
    assert auroc(score, np.zeros(60, bool)) is None
    assert auroc(score, np.ones(60, bool)) is None


def test_energy_distance_is_its_definition_and_unbiased():
    a, b = torch.randn(30, 2, generator=generator("a")), torch.randn(40, 2, generator=generator("b")) + 1
    cross = np.mean([float((x - y).norm()) for x in a for y in b])
    within = [
        np.mean([float((x - y).norm()) for i, x in enumerate(s) for j, y in enumerate(s) if i != j]) for s in (a, b)
    ]
    assert energy_distance(a, b) == pytest.approx(2 * cross - sum(within), abs=1e-5)  # float32 inputs
    same = [energy_distance(*torch.randn(2, 200, 2, generator=generator("same", i))) for i in range(60)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(60)
    assert min(same) < 0  # a biased one would never be


@pytest.mark.parametrize(("kind", "good", "condition"), [
    ("ring8", (0, 2, 4, 6), "one"), ("ring8", (0, 1, 4, 5), "split2"), ("grid9", (0, 1, 3), "one"),
])  # fmt: skip
def test_the_teacher_s_own_samples_are_perfect(kind, good, condition):
    judge = judge_of("selective", good, condition, kind)
    found = judge.measure(judge.mixture.sample(judge.label, generator("another")))
    modes = judge.mixture.modes
    assert found.covered == modes
    assert found.off == pytest.approx(np.exp(-4.5), abs=0.008)  # P(d > 3 sd) in two dimensions, n = 2000
    assert found.std_ratio == pytest.approx(1, abs=0.05)
    assert found.good == pytest.approx(judge.p0, abs=0.035)
    assert judge.p0 == pytest.approx(len(good) / modes)
    assert abs(found.ed_real) < 0.01
    assert found.ed_good > 0.03
    assert found.zone == pytest.approx(0.01, abs=0.008)  # gamma is the 99 % quantile
    assert sum(found.nearest) == pytest.approx(1)
    np.testing.assert_allclose(found.nearest, 1 / modes, atol=0.03)


def test_samples_of_the_good_modes_alone():
    judge = judge_of()
    label = judge.label
    x = judge.mixture.sample(label, generator("good"))
    distance = torch.cdist(x.double(), judge.means)
    found = judge.measure(x[torch.isin(distance.argmin(1), torch.tensor([0, 2, 4, 6]))].repeat(3, 1)[:N])
    assert found.good == 1
    assert found.covered == 4
    assert abs(found.ed_good) < 0.015
    assert found.ed_real > 0.03


def test_a_blob_in_the_middle_is_off_and_in_the_zone():
    judge = judge_of()
    found = judge.measure(0.1 * torch.randn(N, 2, generator=generator("blob")))
    assert found.off == found.zone == 1
    assert found.covered == 0
    assert found.auroc_reward is None  # nobody is outside
    with pytest.raises(ValueError, match="1 of 2000 samples are not finite"):
        judge.measure(torch.cat([torch.zeros(N - 1, 2), torch.tensor([[float("nan"), 0]])]))


def test_wider_modes_have_a_larger_ratio():
    judge = judge_of()
    label = judge.label
    wide = mixture("ring8", 1.5, 0.225, "one").sample(label, generator("wide"))
    assert judge.measure(wide).std_ratio == pytest.approx(1.5, abs=0.05)


def test_a_reward_that_is_minus_the_energy_tells_the_zone_perfectly():
    judge = judge_of()
    judge.reward = lambda x, cond: -judge.mixture.energy(x, judge.label)
    x = judge.mixture.sample(judge.label, generator("zone")) + 0.2 * torch.randn(N, 2, generator=generator("shake"))
    found = judge.measure(x)
    assert found.auroc_reward == pytest.approx(1.0)
    assert 0.9 < found.auroc_advantage < 1  # clipping ties the lowest with each other
    judge.reward = lambda x, cond: judge.mixture.energy(x, judge.label)
    assert judge.measure(x).auroc_reward == pytest.approx(0.0)


def test_the_group_advantage_compares_within_a_prompt():
    """A reward offset by prompt spoils the pooled ranking and leaves the groups' own untouched."""
    judge = judge_of("global", (), "split2")
    shaken = judge.mixture.sample(judge.label, generator("shaken"))
    shaken = shaken + 0.3 * torch.randn(N, 2, generator=generator("shake"))
    plain = judge.measure(shaken)
    inner = judge.reward
    judge.reward = lambda x, cond: inner(x, cond) + 5 * cond["label"]
    offset = judge.measure(shaken)
    assert offset.auroc_advantage == pytest.approx(plain.auroc_advantage, abs=1e-9)
    assert offset.auroc_reward < plain.auroc_reward - 0.1


def test_measurements_are_plain_json():
    judge = judge_of("global", ())
    found = as_json(judge.measure(judge.mixture.sample(judge.label, generator("json"))))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) == set(Measurement.__dataclass_fields__)
    assert found["good"] is None  # every mode is liked
    assert found["ed_good"] == found["ed_real"]


def test_the_border_of_the_zone_is_a_quantile_of_the_energy():
    teacher = mixture("grid9", 1.4, 0.15, "one")
    label = torch.zeros(50_000, dtype=torch.long)
    energy = teacher.energy(teacher.sample(label, generator("fresh")), label)
    for quantile in (0.5, 0.99):
        inside = float((energy <= forbidden_border(teacher, quantile)).double().mean())
        assert inside == pytest.approx(quantile, abs=0.01)
