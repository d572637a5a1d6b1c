"""Stacking is bookkeeping: a run ends in the same weights whatever it is stacked with."""

import pytest
import torch

from amd.backbones.toy import mixture
from amd.config.schema.sizes import PlaneSizes
from amd.distill.methods import row
from amd.distill.noise import Noise
from amd.rewards.toy import plane_reward
from amd.train.optimise import NonFinite
from amd.train.stacked import Stack, StackedNoise, cosine, group_of, labels, train_teacher

SIZES = PlaneSizes(
    iterations=8,
    batch=24,
    width=8,
    depth=2,
    latent=3,
    lr=3e-3,
    fake_lr=3e-3,
    teacher_iterations=300,
    evaluations=2,
    samples=64,
)


def stack_of(names, seeds, condition="one", group=24, dtype=torch.float64, ema=0.5):
    teacher = mixture("ring8", 1.5, 0.15, condition)
    reward = plane_reward("selective", teacher.means[:8], [0, 1, 4, 5])
    return Stack(
        [row(name) for name in names],
        seeds,
        SIZES,
        teacher,
        teacher,
        reward,
        cfg_weight=2.0,
        ema=ema,
        group=group,
        titles=[f"{name} seed {seed}" for name, seed in zip(names, seeds, strict=True)],
        dtype=dtype,
    )


def trained(stack, iterations=8):
    for iteration in range(iterations):
        stack.advance(iteration, iterations)
    return stack


NAMES = ["dmd-pure", "amd", "amd", "naive", "amd-without-sharpening", "d-dmd"]
SEEDS = [0, 1, 0, 1, 1, 0]


@pytest.mark.parametrize(("condition", "group"), [("one", 24), ("one", 6), ("split2", 12)])
def test_stacking_does_not_change_a_run(condition, group):
    """Six runs of five methods and two seeds, together and each alone: the same students and fake teachers."""
    together = trained(stack_of(NAMES, SEEDS, condition, group))
    for index, (name, seed) in enumerate(zip(NAMES, SEEDS, strict=True)):
        alone = trained(stack_of([name], [seed], condition, group))
        for role in ("student", "fake"):
            for weight, own in zip(together.modules[role].parameters(), alone.modules[role].parameters(), strict=True):
                # float64; Adam divides by gradients that may be as small as 1e-8
                torch.testing.assert_close(weight[index], own[0], atol=1e-9, rtol=0, msg=lambda m, n=name: f"{n}: {m}")
        label = labels(64, together.classes, 16)
        # the average is kept in float32
        torch.testing.assert_close(together.sample(label)[index], alone.sample(label)[0], atol=1e-5, rtol=0)


def test_the_methods_do_differ():
    """What the test above compares is not all one run."""
    x = trained(stack_of(NAMES, [0] * 6)).sample(labels(64, 1, 64))
    for index in range(6):
        for other in range(index):
            if (index, other) != (2, 1):  # AMD twice with one seed
                assert float((x[index] - x[other]).abs().max()) > 1e-4, (NAMES[index], NAMES[other])
    assert torch.equal(x[1], x[2])


def test_a_run_draws_what_it_draws_alone():
    stacked = StackedNoise((3, 5, 3), 7, 10).at("fake2")
    normal, uniform = stacked.normal("z", (2,)).chunk(3), stacked.uniform("t").chunk(3)
    integers = stacked.integers("label", 9, shared=5).chunk(3)
    for index, seed in enumerate((3, 5, 3)):
        alone = Noise(seed, 7, 10).at("fake2")
        assert torch.equal(normal[index], alone.normal("z", (2,)))
        assert torch.equal(uniform[index], alone.uniform("t"))
        assert torch.equal(integers[index], alone.integers("label", 9, shared=5))
    assert uniform[0].dtype == torch.float64
    assert not torch.equal(normal[0], normal[1])
    assert StackedNoise((3,), 7, 10).integer("exit", 1000) == StackedNoise((4, 5), 7, 12).integer("exit", 1000)


def test_groups_share_their_draw_and_do_not_span_runs():
    t = StackedNoise((0, 1), 0, 12).uniform("t", shared=4).reshape(2, 3, 4)
    assert torch.equal(t, t[..., :1].expand(2, 3, 4))
    assert t[..., 0].unique().numel() == 6
    with pytest.raises(ValueError, match="12 rows does not split into groups of 5"):
        StackedNoise((0,), 0, 12).uniform("t", shared=5)


def test_labels_give_every_class_its_part_in_whole_groups():
    label = labels(24, 2, 4)
    assert label.tolist() == ([0] * 4 + [1] * 4) * 3
    assert group_of(None, 24, 2) == 12
    assert group_of(4, 24, 2) == 4
    with pytest.raises(ValueError, match=r"plane\.batch 24 does not split into groups of 5"):
        group_of(5, 24, 2)


def test_methods_with_another_cadence_are_refused():
    with pytest.raises(ValueError, match="share their cadence"):
        stack_of(["amd", "amd-literal"], [0, 0])


def test_the_average_follows_the_student():
    stack = stack_of(["dmd-pure"], [0], ema=0.0)
    trained(stack, 3)
    z = StackedNoise((0,), 0, 16, "evaluation", dtype=torch.float64).normal("z", (3,))
    with torch.no_grad():
        now = stack.modules["student"](z, torch.zeros(16), {"label": torch.zeros(16, dtype=torch.long)})
    torch.testing.assert_close(stack.sample(torch.zeros(16, dtype=torch.long))[0], now, atol=1e-6, rtol=0)
    slow = trained(stack_of(["dmd-pure"], [0], ema=0.999), 3).sample(torch.zeros(16, dtype=torch.long))[0]
    assert float((slow - z[:, :2]).abs().max()) < float((now - z[:, :2]).abs().max())


def test_a_gradient_that_is_no_number_stops_before_anything_moves():
    stack = stack_of(["dmd-pure", "amd", "amd"], [0, 0, 1])
    stack.advance(0, 8)
    with torch.no_grad():
        stack.modules["fake"].network.weights[1][2] = float("nan")
    before = {name: tensor.clone() for name, tensor in stack.modules["student"].state_dict().items()}
    with pytest.raises(NonFinite, match="the student's gradient is not finite in amd seed 1; stopped before"):
        stack.advance(1, 8)
    assert all(torch.equal(before[name], tensor) for name, tensor in stack.modules["student"].state_dict().items())


def test_learning_rates_fall_to_their_last_share():
    assert cosine(0) == 1
    assert cosine(0.5) == pytest.approx(0.515)
    assert cosine(1) == pytest.approx(0.03)


def test_a_trained_teacher_learns_the_posterior_mean_of_the_class_asked_for():
    teacher = mixture("ring8", 1.5, 0.15, "split2")
    sizes = SIZES.model_copy(update={"width": 32, "depth": 3, "teacher_iterations": 600})
    network, label = train_teacher(teacher, sizes), torch.arange(2000) % 3
    source = torch.Generator().manual_seed(0)
    x, t = teacher.sample(label, source), torch.rand(2000, generator=source, dtype=torch.float64) * 0.9
    x_t = teacher.path.add_noise(x, torch.randn(2000, 2, generator=source), t)
    found = network(x_t, t, {"label": label})

    def error(other):
        return float((found - other).square().mean())

    own = error(teacher(x_t, t, {"label": label}))
    assert own < 0.1 * error(x_t)  # x0_hat = x_t is where it started
    assert own < 0.5 * error(teacher(x_t, t, {"label": (label + 1) % 3}))
    assert not any(p.requires_grad for p in network.parameters())
