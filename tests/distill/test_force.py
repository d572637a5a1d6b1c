"""F_ext, Eq. 25-28: values by hand, and gradients that point where a descent should go."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from players import CLASSES, ROWS, SHAPE, SIZE, Company, draw, like, noise
from torch import Tensor

from amd.distill.force import ADVERSARIAL, REWARD, TETHER, Context, adversarial, discriminator, reward, tether
from amd.distill.noise import generator
from amd.distill.path import Linear
from amd.distill.slot import Slot

CLOSE = {"rtol": 1e-12, "atol": 1e-14}  # float64, one network


def context(company: Company, x: Tensor | None = None) -> Context:
    draws = noise()
    if x is None:
        x = torch.randn(ROWS, *SHAPE, generator=generator("x"), dtype=torch.float64)
    return Context(company.cast(), draws, x.requires_grad_(), draw()(draws).cond)


def slope(slot: Slot, c: Context) -> tuple[Tensor, Tensor]:
    """V (B,) and its gradient in x (B, *S)."""
    value = slot(c)
    return value, torch.autograd.grad(value.sum(), c.x)[0]


# --- tether: Eq. 26 ---------------------------------------------------------------------------------------------------


def test_tether_is_the_mean_squared_distance_to_the_teachers_sample_of_the_same_noise() -> None:
    company = Company()
    c = context(company)
    z = c.noise.normal("pairs_z", SHAPE)
    label = {"label": c.noise.integers("pairs_label", CLASSES)}
    made = company.student.x0(z, torch.zeros(ROWS, dtype=torch.float64), label)
    expected = 0.25 * (made - z.tanh()).square().flatten(1).mean(1)
    torch.testing.assert_close(TETHER.value(c), expected, **CLOSE)


def test_tether_pulls_along_x_minus_its_target() -> None:
    company = Company()
    theta = torch.randn(ROWS, *SHAPE, generator=generator("theta"), dtype=torch.float64).requires_grad_()
    c = context(company)
    c = replace(c, cast=replace(c.cast, student=lambda z, t, cond: theta))
    value = tether(lam=0.4)(c)
    target = c.noise.normal("pairs_z", SHAPE).tanh()
    (g,) = torch.autograd.grad(value.sum(), theta)
    torch.testing.assert_close(g, 0.4 * 2 / SIZE * (theta - target), **CLOSE)  # Eq. 26 with the 2 that it drops


# --- adversarial: Eq. 27 ----------------------------------------------------------------------------------------------


def seen_by_critic(c: Context, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
    t = c.noise.uniform(f"t_{name}")
    return Linear().add_noise(x, c.noise.normal(f"eps_{name}", SHAPE), t), t


def test_adversarial_is_minus_log_d_of_the_noised_sample() -> None:
    company = Company()
    c = context(company)
    x_t, t = seen_by_critic(c, "student", c.x)
    d = torch.sigmoid(company.fake.logit(x_t, t, c.cond))
    value, g = slope(adversarial(lam=0.7, dims=SIZE), c)
    torch.testing.assert_close(value, -0.7 * d.log(), **CLOSE)
    (grad_d,) = torch.autograd.grad(d.sum(), c.x)
    torch.testing.assert_close(g, -0.7 * grad_d / d.detach().reshape(-1, 1, 1, 1), **CLOSE)  # -grad D / D


def test_descending_the_adversarial_force_makes_the_sample_look_more_real() -> None:
    company = Company()
    c = context(company)
    _, g = slope(adversarial(), c)
    x_t, t = seen_by_critic(c, "student", c.x)
    moved, _ = seen_by_critic(c, "student", c.x - 1e-4 * g / g.norm())
    with torch.no_grad():
        assert (company.fake.logit(moved, t, c.cond) - company.fake.logit(x_t, t, c.cond)).sum() > 0


def test_discriminator_tells_real_from_fake_and_leaves_the_sample_alone() -> None:
    company = Company()
    c = context(company)
    detached = replace(c, x=c.x.detach())  # as in a fake update
    real, real_cond = c.cast.real_data(c.noise)  # type: ignore[misc]
    fake_t, t_fake = seen_by_critic(c, "fake", detached.x)
    real_t, t_real = seen_by_critic(c, "real", real)
    fake, true = company.fake.logit(fake_t, t_fake, c.cond), company.fake.logit(real_t, t_real, real_cond)
    value = discriminator(critic_lam=0.3)(detached)
    torch.testing.assert_close(value, 0.3 * (F.softplus(fake) + F.softplus(-true)), **CLOSE)
    value.sum().backward()
    assert company.fake.head.grad is not None
    before = (true.mean() - fake.mean()).item()
    with torch.no_grad():
        company.fake.head -= 0.1 * company.fake.head.grad
        after = company.fake.logit(real_t, t_real, real_cond).mean() - company.fake.logit(fake_t, t_fake, c.cond).mean()
    assert after.item() > before
    assert company.student.enter.grad is None


def test_an_undecided_critic_costs_two_log_two() -> None:
    company = Company()
    with torch.no_grad():
        company.fake.head.zero_()
    value = discriminator(critic_lam=1.0)(context(company))
    torch.testing.assert_close(value, torch.full((ROWS,), 2 * math.log(2), dtype=torch.float64))


# --- reward: Eq. 28, with its sign mended -----------------------------------------------------------------------------


def test_reward_is_a_potential_whose_descent_raises_the_reward() -> None:
    c = context(Company())
    value, g = slope(reward(lam=0.05, dims=SIZE), c)
    torch.testing.assert_close(value, -0.05 * like(c.x, c.cond), **CLOSE)
    (up,) = torch.autograd.grad(like(c.x, c.cond).sum(), c.x)
    torch.testing.assert_close(g, -0.05 * up, **CLOSE)
    with torch.no_grad():
        assert (like(c.x - 1e-4 * g / g.norm(), c.cond) - like(c.x, c.cond)).sum() > 0


@pytest.mark.parametrize("slot", [adversarial(lam=1.0), reward(lam=1.0)], ids=str)
def test_gradients_are_the_difference_quotients(slot: Slot) -> None:
    company = Company()
    c = context(company)
    assert torch.autograd.gradcheck(lambda x: slot(replace(c, x=x)), (c.x,), eps=1e-6, atol=1e-5)


# --- all --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slot", "dims", "worth"),
    [(adversarial(), 12288, math.log(2)), (reward(), 4096, -1.0)],
    ids=["adversarial", "reward"],
)
def test_a_weight_keeps_its_balance_with_the_push_at_every_latent_size(slot: Slot, dims: int, worth: float) -> None:
    """The push averages over S: it is g / S in every dimension. What lam weighs must shrink with S alike."""
    for size in (3, 12, 48):
        x = torch.zeros(2, size, dtype=torch.float64)
        cast = Company().cast(
            reward=lambda x, cond: torch.ones(len(x)), logit=lambda x_t, t, cond: torch.zeros(len(x_t))
        )
        value = slot(Context(cast, noise(batch=2), x, {"label": torch.zeros(2, dtype=torch.int64)}))
        assert (value * size).tolist() == pytest.approx([slot["lam"] * dims * worth] * 2, rel=1e-6)  # float32 logits


@pytest.mark.parametrize("force", [TETHER, ADVERSARIAL, REWARD], ids=str)
def test_every_row_has_its_own_value(force: object) -> None:
    company = Company()
    c = context(company)
    for slot in force.slots:  # type: ignore[attr-defined]
        value = slot(c)
        assert value.shape == (ROWS,)
        assert torch.isfinite(value).all()
