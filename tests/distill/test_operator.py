"""H, Eq. 7-10 and 13: identities between the methods' operators, and each operator against its formula in x0_hat."""

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from amd.distill.methods import METHODS, row
from amd.distill.noise import generator
from amd.distill.observe import effective_guidance
from amd.distill.operator import abs_mean, compose
from amd.distill.types import Displacements

CLOSE = {"rtol": 0, "atol": 1e-12}  # float64, a handful of operations on numbers of size 10
W = 3.5

weights = st.floats(1, 8)
sensitivities = st.floats(0, 0.99)
seeds = st.integers(0, 2**31)


@dataclass(frozen=True)
class Scene:
    """Samples, the three predictions of x0, and the displacements of a method that does not split its levels."""

    x: Tensor
    cond: Tensor
    uncond: Tensor
    fake: Tensor

    @property
    def d(self) -> Displacements:
        real, uncond = self.x - self.cond, self.x - self.uncond
        return Displacements(real, uncond, self.x - self.fake, real, uncond)

    @property
    def guided(self) -> Tensor:
        return self.uncond + W * (self.cond - self.uncond)


def shared_level(seed: int = 0) -> Scene:
    return Scene(*torch.randn(4, 5, 1, 2, 3, generator=generator("operator", seed), dtype=torch.float64))


def split_levels(seed: int = 0) -> Displacements:
    """The CA level saw another time and another noise."""
    here, there = shared_level(seed), shared_level(seed + 1)
    return replace(here.d, real_ca=here.x - there.cond, uncond_ca=here.x - there.uncond)


def advantage(seed: int = 0, rows: int = 5) -> Tensor:
    return torch.rand(rows, generator=generator("advantage", seed), dtype=torch.float64) * 2 - 1


def column(a: Tensor) -> Tensor:
    return a.reshape(-1, 1, 1, 1)


# --- each method against its formula, written in the teachers' predictions ------------------------------------------


@pytest.mark.parametrize("name", ["dmd", "dmd-pure", "dmd2", "magic", "dmdr", "amd-without-adaptation"])
def test_standard_pulls_to_the_guided_teacher_and_away_from_the_fake_one(name: str) -> None:
    o = shared_level()
    expected = o.fake - o.guided  # Eq. 7 in x0_hat: x cancels
    torch.testing.assert_close(compose(name, o.d, None, W), expected, **CLOSE)


def test_decoupled_takes_each_term_at_its_own_level() -> None:
    d = split_levels()
    expected = (d.real_dm - d.fake_dm) + (W - 1) * (d.real_ca - d.uncond_ca)  # Eq. 9
    torch.testing.assert_close(compose("d-dmd", d, None, W), expected, **CLOSE)
    blind = replace(d, uncond_dm=None)  # a split method needs no unconditional teacher at the dm level
    assert torch.equal(compose("d-dmd", blind, None, W), compose("d-dmd", d, None, W))


@pytest.mark.parametrize("name", ["amd", "amd-literal", "amd-without-sharpening"])
def test_adaptive_weighs_matching_with_beta_and_guidance_with_alpha(name: str) -> None:
    o = shared_level()
    a = advantage()
    s = METHODS[name].numbers["s"]
    alpha, beta = column(1 + s * a), column(1 - s * a)  # Eq. 13
    expected = beta * (o.fake - o.cond) + alpha * (W - 1) * (o.uncond - o.cond)  # Eq. 10
    torch.testing.assert_close(compose(name, o.d, a, W), expected, **CLOSE)


def test_naive_weighs_the_guided_teacher_with_alpha_and_the_fake_one_with_beta() -> None:
    o = shared_level()
    a = advantage()
    s = METHODS["naive"].numbers["s"]
    expected = (1 + s * column(a)) * (o.x - o.guided) - (1 - s * column(a)) * (o.x - o.fake)  # Eq. 8
    torch.testing.assert_close(compose("naive", o.d, a, W), expected, **CLOSE)


def test_every_method_is_covered_above() -> None:
    covered = {"dmd", "dmd-pure", "dmd2", "magic", "dmdr", "amd-without-adaptation", "d-dmd"}
    assert set(METHODS) == covered | {"amd", "amd-literal", "amd-without-sharpening", "naive"}


# --- identities -------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30, derandomize=True)
@given(seed=seeds, w=weights)
def test_adaptive_with_zero_sensitivity_is_dmd(seed: int, w: float) -> None:
    d = shared_level(seed).d
    torch.testing.assert_close(
        compose(row("amd", {"s": 0.0}), d, advantage(seed), w), compose("dmd-pure", d, None, w), **CLOSE
    )


@settings(deadline=None, max_examples=30, derandomize=True)
@given(seed=seeds, s=sensitivities, w=weights)
def test_adaptive_with_zero_advantage_is_dmd(seed: int, s: float, w: float) -> None:
    d = shared_level(seed).d
    nothing = torch.zeros(5, dtype=torch.float64)
    torch.testing.assert_close(compose(row("amd", {"s": s}), d, nothing, w), compose("dmd-pure", d, None, w), **CLOSE)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(seed=seeds, w=weights)
def test_decoupled_at_a_shared_level_is_dmd_and_so_is_its_normaliser(seed: int, w: float) -> None:
    d = shared_level(seed).d
    torch.testing.assert_close(compose("d-dmd", d, None, w), compose("dmd-pure", d, None, w), **CLOSE)
    for choice in ("cfg", "cond", "none"):
        same = (
            row("d-dmd", {"normaliser": choice}).normaliser(d, w),
            row("dmd-pure", {"normaliser": choice}).normaliser(d, w),
        )
        assert torch.equal(torch.as_tensor(same[0]), torch.as_tensor(same[1]))


def test_decoupled_at_two_levels_is_not_dmd() -> None:
    d = split_levels()
    assert not torch.allclose(compose("d-dmd", d, None, W), compose("dmd-pure", d, None, W))


@settings(deadline=None, max_examples=30, derandomize=True)
@given(seed=seeds, s=sensitivities)
def test_without_guidance_the_ca_term_is_exactly_zero_and_amd_is_dmd_times_beta(seed: int, s: float) -> None:
    d = shared_level(seed).d
    a = advantage(seed)
    alone = replace(d, uncond_dm=None, uncond_ca=None)  # and the unconditional teacher is not needed
    beta = column(1 - s * a)
    assert torch.equal(compose(row("amd", {"s": s}), alone, a, 1), beta * compose("dmd-pure", alone, None, 1))


@settings(deadline=None, max_examples=30, derandomize=True)
@given(seed=seeds, s=sensitivities, w=weights)
def test_adaptive_is_dmd_at_the_effective_guidance_with_a_step_of_beta(seed: int, s: float, w: float) -> None:
    o = shared_level(seed)
    a = advantage(seed)
    w_eff = effective_guidance(a, s, w)
    expected = column(1 - s * a) * (o.fake - (o.uncond + column(w_eff) * (o.cond - o.uncond)))
    # w_eff reaches 1 + 7 x 199 at s a = 0.99: beta times that is of size 30, hence the relative tolerance
    torch.testing.assert_close(compose(row("amd", {"s": s}), o.d, a, w), expected, rtol=1e-10, atol=1e-11)


def test_effective_guidance_at_the_ends_of_the_advantage() -> None:
    a = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(effective_guidance(a, 0.5, 4.0), torch.tensor([2.0, 4.0, 10.0], dtype=torch.float64))
    torch.testing.assert_close(effective_guidance(a, 0.9, 1.0), torch.ones(3, dtype=torch.float64))


@settings(deadline=None, max_examples=30, derandomize=True)
@given(seed=seeds, s=sensitivities, w=weights)
def test_naive_is_dmd_times_beta_plus_a_pull_that_is_no_difference_of_scores(seed: int, s: float, w: float) -> None:
    o = shared_level(seed)
    a = advantage(seed)
    real = o.x - (o.uncond + w * (o.cond - o.uncond))
    expected = column(1 - s * a) * compose("dmd-pure", o.d, None, w) + 2 * s * column(a) * real
    torch.testing.assert_close(compose(row("naive", {"s": s}), o.d, a, w), expected, **CLOSE)


def test_where_the_teachers_agree_every_operator_but_the_naive_one_vanishes() -> None:
    o = shared_level()
    same = Displacements(o.x - o.cond, o.x - o.cond, o.x - o.cond, o.x - o.cond, o.x - o.cond)
    a = advantage()
    for name in METHODS:
        g = compose(name, same, a, W)
        if name == "naive":
            torch.testing.assert_close(g, 2 * METHODS[name].numbers["s"] * column(a) * (o.x - o.cond), **CLOSE)
        else:
            assert g.abs().max() < 1e-14  # rounding of uncond + w (cond - uncond)


def test_more_guidance_moves_the_sample_from_the_unconditional_to_the_conditional_target() -> None:
    """The order of the CA term: descent must go along x0_cond - x0_uncond, or guidance is inverted."""
    o = shared_level()
    up = torch.ones(5, dtype=torch.float64)
    for name in ("amd", "d-dmd", "dmd-pure"):
        moved = compose(name, o.d, up, W + 1) - compose(name, o.d, up, W)
        assert ((-moved) * (o.cond - o.uncond)).sum() > 0


@pytest.mark.parametrize("name", METHODS)
def test_no_row_changes_another(name: str) -> None:
    d = shared_level().d
    a = advantage()
    whole = compose(name, d, a, W)
    for i in range(5):
        one = Displacements(*(getattr(d, f)[i : i + 1] for f in d.__dataclass_fields__))
        assert torch.equal(compose(name, one, a[i : i + 1], W), whole[i : i + 1])


@pytest.mark.parametrize("name", METHODS)
def test_the_result_has_the_displacements_precision(name: str) -> None:
    d = shared_level().d
    single = Displacements(*(getattr(d, f).float() for f in d.__dataclass_fields__))
    assert compose(name, single, advantage(), W).dtype == torch.float32  # the advantage is float64


# --- the normaliser ---------------------------------------------------------------------------------------------------


def test_normaliser_is_the_mean_absolute_displacement_of_each_row() -> None:
    o = shared_level()
    by_hand = torch.stack([(o.x[i] - o.guided[i]).abs().mean() for i in range(5)]).reshape(-1, 1, 1, 1)
    torch.testing.assert_close(abs_mean()(o.d, W), by_hand, **CLOSE)
    conditional = torch.stack([(o.x[i] - o.cond[i]).abs().mean() for i in range(5)]).reshape(-1, 1, 1, 1)
    torch.testing.assert_close(abs_mean(normaliser="cond")(o.d, W), conditional, **CLOSE)
    assert abs_mean(normaliser="none")(o.d, W) == 1


def test_normaliser_is_float32_or_better_and_never_zero() -> None:
    zero = torch.zeros(2, 4, dtype=torch.bfloat16)
    d = Displacements(zero, zero, zero, zero, zero)
    size = abs_mean()(d, W)
    assert size.dtype == torch.float32
    assert (size > 0).all()


# --- errors -----------------------------------------------------------------------------------------------------------


def test_unknown_method_is_refused_with_a_hint() -> None:
    d = shared_level().d
    with pytest.raises(ValueError, match=r"'amdd' is no method; did you mean 'amd'.*known:.*dmd2"):
        compose("amdd", d, None, W)


@pytest.mark.parametrize("name", ["amd", "naive"])
def test_a_missing_advantage_is_refused(name: str) -> None:
    d = shared_level().d
    with pytest.raises(ValueError, match="reads the advantage"):
        compose(name, d, None, W)


@pytest.mark.parametrize("name", METHODS)
def test_guidance_without_the_unconditional_teacher_is_refused(name: str) -> None:
    d = shared_level().d
    with pytest.raises(ValueError, match="needs the unconditional displacement"):
        compose(name, replace(d, uncond_dm=None, uncond_ca=None), advantage(), W)


@pytest.mark.parametrize("s", [-0.1, 1.0, 2.0, float("nan")])
def test_a_sensitivity_that_flips_a_term_is_refused(s: float) -> None:
    with pytest.raises(ValueError, match="0 <= s < 1"):
        row("amd", {"s": s})
