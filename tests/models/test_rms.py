"""The fast norm by the root mean square is torch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import grad

from amd.backbones.rms import rms_norm

EPS = 1e-6


def drawn(dtype: torch.dtype, *shape: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x of a wide range of sizes, weight, and what the result is told of its loss."""
    draw = torch.Generator().manual_seed(0)
    x, told = torch.randn(2, *shape, generator=draw, dtype=torch.float64).unbind(0)
    weight = torch.randn(shape[-1], generator=draw, dtype=torch.float64)
    x = x * torch.logspace(-4, 4, shape[0], dtype=torch.float64).reshape(-1, *[1] * (len(shape) - 1))
    return x.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_(), told.to(dtype)


@pytest.mark.parametrize(("dtype", "off"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("shape", [(9, 7, 12), (9, 12)])
def test_values_and_gradients_are_torchs(dtype: torch.dtype, off: float, shape: tuple[int, ...]) -> None:
    x, weight, told = drawn(dtype, *shape)
    ours, theirs = rms_norm(x, weight, EPS), F.rms_norm(x, x.shape[-1:], weight, EPS)
    torch.testing.assert_close(ours, theirs, rtol=off, atol=off)
    for mine, other in zip(grad(ours, (x, weight), told), grad(theirs, (x, weight), told), strict=True):
        assert float((mine - other).abs().max()) <= off * float(other.abs().max())
        assert mine.dtype == dtype


def test_its_derivative_is_the_slope_of_its_values() -> None:
    x, weight, _ = drawn(torch.float64, 3, 5)
    assert torch.autograd.gradcheck(lambda a, b: rms_norm(a, b, EPS), (x, weight))


def test_tokens_of_zeros_stay_zeros() -> None:
    x = torch.zeros(2, 4, requires_grad=True)
    y = rms_norm(x, torch.ones(4), EPS)
    assert not y.any()
    assert torch.isfinite(grad(y.sum(), x)[0]).all()


def test_a_second_derivative_is_refused_and_not_wrong() -> None:
    x, weight, _ = drawn(torch.float64, 2, 4)
    (slope,) = grad(rms_norm(x, weight, EPS).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_torchs_own_serves_other_devices() -> None:
    assert rms_norm(torch.empty(3, 4, device="meta"), torch.empty(4, device="meta"), EPS).device.type == "meta"
