"""R networks in one: a run's network is its own, whatever stands beside it."""

import pytest
import torch

from amd.backbones.base import Backbone, backbone
from amd.backbones.toy import MLP2D, StackedMLP, Student2D
from amd.distill.noise import generator


def sources(*seeds):
    return [generator(seed, "test") for seed in seeds]


def stirred(network):
    """Weights that are not the start's, so that nothing is zero."""
    with torch.no_grad():
        for index, weight in enumerate(network.parameters()):
            weight.add_(0.3 * torch.randn(weight.shape[1:], generator=generator("stir", index)).to(weight))
    return network


def batch(runs, rows=20, classes=2):
    source = generator("batch")
    x = torch.randn(rows, 2, generator=source, dtype=torch.float64)
    t = torch.rand(rows, generator=source, dtype=torch.float64)
    label = torch.randint(classes, (rows,), generator=source)
    return x.repeat(runs, 1), t.repeat(runs), {"label": label.repeat(runs)}


def test_a_run_is_the_same_alone_and_in_a_stack():
    """Outputs and gradients of seed 1, alone and between two others."""
    several = stirred(MLP2D(16, 3, 2, sources(0, 1, 2)).double())
    alone = stirred(MLP2D(16, 3, 2, sources(1)).double())
    x, t, cond = batch(3)
    x_1, t_1, cond_1 = batch(1)
    inside = several.predict_x0(x, t, cond).chunk(3)[1]
    outside = alone.predict_x0(x_1, t_1, cond_1)
    torch.testing.assert_close(inside, outside, atol=1e-12, rtol=0)  # float64, sums of 16 terms
    eps = torch.randn(20, 2, generator=generator("eps"), dtype=torch.float64)
    several.native_loss(x, eps.repeat(3, 1), t, cond).chunk(3)[1].mean().backward()
    alone.native_loss(x_1, eps, t_1, cond_1).mean().backward()
    for weight, own in zip(several.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(weight.grad[1], own.grad[0], atol=1e-12, rtol=0)
        assert float(weight.grad[[0, 2]].abs().max()) == 0


def test_networks_start_as_zero_and_the_student_as_the_identity():
    x, t, cond = batch(2)
    torch.testing.assert_close(MLP2D(8, 2, 2, sources(0, 1)).double()(x, t, cond), x)
    z = torch.cat([x, torch.randn(40, 3, dtype=torch.float64)], 1)
    torch.testing.assert_close(Student2D(5, 8, 2, 2, sources(0, 1)).double()(z, t, cond), x)


def test_the_student_does_not_read_the_time_and_reads_the_class():
    student = stirred(Student2D(2, 8, 2, 2, sources(0)))
    z = torch.randn(10, 2)
    zero, one = ({"label": torch.full((10,), value)} for value in (0, 1))
    assert torch.equal(student(z, torch.zeros(10), zero), student(z, torch.ones(10), zero))
    assert not torch.isclose(student(z, torch.zeros(10), zero), student(z, torch.zeros(10), one)).any()


def test_x0_and_the_native_loss_follow_from_the_velocity():
    network = stirred(MLP2D(8, 2, 2, sources(0)).double())
    x, t, cond = batch(1)
    eps = torch.randn(20, 2, dtype=torch.float64)
    x_t = t[:, None] * x + (1 - t[:, None]) * eps
    velocity = network.velocity(x_t, t, cond)
    torch.testing.assert_close(network.predict_x0(x_t, t, cond), x_t + (1 - t[:, None]) * velocity)
    loss = network.native_loss(x, eps, t, cond)
    torch.testing.assert_close(loss, ((velocity - (x - eps)) ** 2).mean(1))
    perfect = x_t + (1 - t[:, None]) * (x - eps)
    torch.testing.assert_close(perfect, x)


def test_features_are_the_hidden_layers():
    network = stirred(MLP2D(8, 3, 2, sources(0, 1)).double())
    x, t, cond = batch(2)
    first, last = network.features(x, t, cond, (0, 2))
    assert first.shape == last.shape == (40, 1, network.width)
    out = torch.baddbmm(network.network.biases[-1], last.reshape(2, 20, 8), network.network.weights[-1])
    torch.testing.assert_close(out.reshape(40, 2), network.velocity(x, t, cond))


def test_the_registry_knows_the_plane():
    assert backbone("mlp2d") is MLP2D
    network = MLP2D(8, 2, 2, sources(0))
    assert isinstance(network, Backbone)
    assert network.null({"label": torch.tensor([0, 1])})["label"].tolist() == [2, 2]


def test_rows_that_do_not_split_into_runs_are_refused():
    with pytest.raises(RuntimeError):
        StackedMLP(2, 8, 2, 2, sources(0, 1))(torch.zeros(7, 2))
    with pytest.raises(ValueError, match="latent 1"):
        Student2D(1, 8, 2, 2, sources(0))
