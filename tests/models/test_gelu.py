"""The fast GELU is the published one."""

import math

import pytest
import torch
import torch.nn.functional as F

from amd.backbones.gelu import gelu


def exact(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The published formula and its derivative, float64."""
    x = x.detach().double().requires_grad_()
    y = 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    (slope,) = torch.autograd.grad(y.sum(), x)
    return y.detach(), slope


def test_it_is_the_published_function_with_its_derivative():
    x = torch.linspace(-30, 30, 4001, dtype=torch.float64).requires_grad_()
    y, slope = exact(x)
    torch.testing.assert_close(gelu(x), y, rtol=0, atol=1e-13)  # float64
    torch.testing.assert_close(torch.autograd.grad(gelu(x).sum(), x)[0], slope, rtol=0, atol=1e-13)


def test_its_derivative_is_the_slope_of_its_values():
    x = torch.randn(50, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gelu, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_its_error_is_of_the_order_of_one_rounding(dtype):
    x = torch.randn(100_000, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    y = gelu(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert y.dtype == slope.dtype == dtype
    for found, wanted in zip((y, slope), exact(x), strict=True):
        error = (found.double() - wanted).square().mean().sqrt()
        rounding = (wanted.to(dtype).double() - wanted).square().mean().sqrt()
        assert error < 3 * rounding


def test_torchs_own_serves_other_devices():
    x = torch.empty(3, device="meta")
    assert gelu(x).device.type == F.gelu(x, approximate="tanh").device.type == "meta"
