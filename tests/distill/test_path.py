"""The path and its conversions: round trips, losses that agree, and the other arrow of time."""

import pytest
import torch
from torch import Tensor

from amd.distill.noise import generator
from amd.distill.path import Discrete, Linear, eps_of, from_x0, rows, to_x0

BARS = torch.cumprod(1 - torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64), 0)  # DDPM's linear betas
LINEAR, DISCRETE = Linear(), Discrete(BARS)
PAIRS = [(LINEAR, "x0"), (LINEAR, "eps"), (LINEAR, "velocity"), (DISCRETE, "x0"), (DISCRETE, "eps")]


def scene() -> tuple[Tensor, Tensor, Tensor]:
    x, eps = torch.randn(2, 64, 1, 2, 3, generator=generator("path"), dtype=torch.float64)
    return x, eps, torch.linspace(0.02, 0.98, 64, dtype=torch.float64)


@pytest.mark.parametrize(("path", "kind"), PAIRS)
def test_predictions_convert_to_x0_and_back(path: Linear | Discrete, kind: str) -> None:
    x, eps, t = scene()
    x_t, guess = path.add_noise(x, eps, t), 0.7 * x + 0.1
    native = from_x0(path, guess, x_t, t, kind)
    # float64; eps divides by sigma and then by alpha, each at least 0.01 here
    torch.testing.assert_close(to_x0(path, native, x_t, t, kind), guess, rtol=0, atol=1e-11)


@pytest.mark.parametrize("path", [LINEAR, DISCRETE])
def test_the_true_prediction_of_every_kind_is_the_truth(path: Linear | Discrete) -> None:
    x, eps, t = scene()
    x_t = path.add_noise(x, eps, t)
    torch.testing.assert_close(to_x0(path, eps, x_t, t, "eps"), x, rtol=0, atol=1e-11)
    torch.testing.assert_close(eps_of(path, x, x_t, t), eps, rtol=0, atol=1e-11)
    if isinstance(path, Linear):
        torch.testing.assert_close(to_x0(path, x - eps, x_t, t, "velocity"), x, rtol=0, atol=1e-14)


def test_the_velocity_is_the_derivative_of_the_path() -> None:
    x, eps, t = scene()
    alpha, sigma = LINEAR.rates(t)
    h = 1e-6
    slope = (LINEAR.add_noise(x, eps, t + h) - LINEAR.add_noise(x, eps, t - h)) / (2 * h)
    torch.testing.assert_close(rows(alpha, x) * x + rows(sigma, x) * eps, slope, rtol=0, atol=1e-8)
    assert torch.equal(rows(alpha, x) * x + rows(sigma, x) * eps, x - eps)


def test_losses_of_all_kinds_are_one_loss_with_other_weights_of_t() -> None:
    """||v_hat - v||^2 = ||x0_hat - x||^2 / (1-t)^2 and ||eps_hat - eps||^2 = t^2 / (1-t)^2 ||x0_hat - x||^2."""
    x, eps, t = scene()
    x_t, guess = LINEAR.add_noise(x, eps, t), 0.7 * x + 0.1
    clean = (guess - x).square().flatten(1).sum(1)
    velocity = (from_x0(LINEAR, guess, x_t, t, "velocity") - (x - eps)).square().flatten(1).sum(1)
    noise = (from_x0(LINEAR, guess, x_t, t, "eps") - eps).square().flatten(1).sum(1)
    torch.testing.assert_close(velocity, clean / (1 - t) ** 2, rtol=1e-9, atol=0)  # 1 / (1 - t) is 50 at most
    torch.testing.assert_close(noise, clean * (t / (1 - t)) ** 2, rtol=1e-9, atol=0)


def test_a_network_whose_time_runs_the_other_way_is_the_same_network() -> None:
    """t -> 1 - t and v -> -v: REPA's arrow (x_t = (1 - t') x + t' eps, v' = eps - x) against SiT's own."""
    x, eps, t = scene()
    x_t = LINEAR.add_noise(x, eps, t)
    v = 0.3 * x_t + 0.2
    there = x_t - rows(1 - t, x_t) * (-v)  # x0 = x_t' - t' v' in the other convention
    assert torch.equal(to_x0(LINEAR, v, x_t, t, "velocity"), there)


def test_linear_ends_are_noise_and_data() -> None:
    x, eps, _ = scene()
    assert torch.equal(LINEAR.add_noise(x, eps, torch.zeros(64)), eps)
    assert torch.equal(LINEAR.add_noise(x, eps, torch.ones(64)), x)


def test_discrete_levels_count_down_to_clean() -> None:
    n = torch.arange(1000)
    t = 1 - (n.double() + 1) / 1000
    assert torch.equal(DISCRETE.index(t), n)
    assert DISCRETE.index(torch.tensor([0.0, 0.25, 0.5, 0.75])).tolist() == [999, 749, 499, 249]  # DMD2's four steps
    assert DISCRETE.index(torch.ones(1)).item() == 0
    alpha, sigma = DISCRETE.coefficients(t)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(1000, dtype=torch.float64))
    assert (alpha.diff() < 0).all()  # a larger index, a smaller t, is noisier


def test_coefficients_are_float64_and_results_in_the_samples_precision() -> None:
    x, eps, t = scene()
    for path in (LINEAR, DISCRETE):
        assert all(c.dtype == torch.float64 for c in path.coefficients(t.float()))
        x_t = path.add_noise(x.float(), eps.float(), t)
        assert x_t.dtype == torch.float32
        for kind in ("x0", "eps"):
            assert to_x0(path, eps.float(), x_t, t, kind).dtype == torch.float32


def test_eps_near_pure_noise_keeps_float32s_digits() -> None:
    """x0 = (x_t - sigma eps) / alpha subtracts nearly equal numbers: in float32 throughout it would lose them twice."""
    x, eps, _ = scene()
    t = torch.full((64,), 1e-3, dtype=torch.float64)
    x_t = LINEAR.add_noise(x, eps, t)
    x0 = to_x0(LINEAR, eps.float(), x_t.float(), t, "eps")
    error = (x0 - x).abs().max().item()
    assert error < 4 * torch.finfo(torch.float32).eps * 4 / 1e-3  # the rounding of its inputs (|x_t| < 4) over alpha


def test_velocity_off_the_linear_path_is_refused() -> None:
    x, eps, t = scene()
    with pytest.raises(ValueError, match="linear path alone"):
        to_x0(DISCRETE, eps, x, t, "velocity")
    with pytest.raises(ValueError, match="linear path alone"):
        from_x0(DISCRETE, eps, x, t, "velocity")
