"""The fake teacher's updates: what they are fitted to, where they are asked, and with which weights."""

import pytest
import torch
from players import BATCH, CLOSE, GROUP, ROWS, SHAPE, Company, like, noise, play, same
from torch import Tensor

from amd.distill.advantage import group_relative
from amd.distill.methods import METHODS, row
from amd.distill.step import step


@pytest.mark.parametrize("numbers", [{"k": 0.0}, {"k": 0.0, "normalise": "none"}, {"k": 0.0, "normalise": "group"}])
def test_weights_of_one_are_the_unweighted_loss(numbers: dict[str, object]) -> None:
    sharp, plain = play(row("amd", numbers), Company()), play(METHODS["amd-without-sharpening"], Company())
    assert len(sharp) == len(plain) == 6
    for (one, first), (two, second) in zip(sharp, plain, strict=True):
        assert one.loss.item() == pytest.approx(two.loss.item(), rel=1e-13)
        same(first, second)


def test_the_fakes_loss_is_eq_14_row_by_row() -> None:
    company, draws = Company(), noise()
    fresh = draws.at("fake0")
    conditioning = BATCH.draw(fresh)
    with torch.no_grad():
        x = company.student.x0(fresh.normal("z", SHAPE), torch.zeros(ROWS, dtype=torch.float64), conditioning.cond)
    advantage = group_relative()(like(x, conditioning.cond), GROUP)[0]
    weight = torch.exp(-advantage)
    t, eps = 0.02 + 0.96 * fresh.uniform("t"), fresh.normal("eps", SHAPE)
    total = 0.0
    for i in range(ROWS):
        x_t = t[i] * x[i] + (1 - t[i]) * eps[i]
        v = company.fake.velocity(x_t[None], t[i : i + 1], {"label": conditioning.cond["label"][i : i + 1]}, 1.0)[0]
        total += weight[i] / weight.mean() * (v - (x[i] - eps[i])).square().mean()
    assert play(METHODS["amd"], company, draws)[1][0].loss.item() == pytest.approx((total / ROWS).item(), rel=1e-12)


def test_a_fake_update_sees_a_fresh_rollout_of_the_student_as_it_is_now() -> None:
    """Also where the student moved between its own update and the fake's."""
    company = Company()
    phases = step(METHODS["dmd-pure"], company.cast(), BATCH, noise(), progress=0.0)
    next(phases)
    with torch.no_grad():
        company.student.leave += 1.0
    moved = next(phases).loss.item()
    other = Company()
    with torch.no_grad():
        other.student.leave += 1.0
    assert moved == pytest.approx(play(METHODS["dmd-pure"], other)[1][0].loss.item(), rel=1e-13)
    assert moved != pytest.approx(play(METHODS["dmd-pure"], Company())[1][0].loss.item(), rel=1e-3)


def test_the_literal_cadence_fits_the_fake_to_what_the_student_was_pushed_at() -> None:
    company, draws, seen = Company(), noise(), []

    def spy(x: Tensor, eps: Tensor, t: Tensor, cond: object) -> Tensor:
        seen.append((x, eps, t))
        return company._fake_loss(x, eps, t, cond)  # type: ignore[arg-type]

    play(METHODS["amd-literal"], company, draws, cast=company.cast(fake_loss=spy))
    ((x, eps, t),) = seen
    conditioning = BATCH.draw(draws)
    made = company.student.x0(draws.normal("z", SHAPE), torch.zeros(ROWS, dtype=torch.float64), conditioning.cond)
    torch.testing.assert_close(x, made.detach(), **CLOSE)
    assert torch.equal(eps, draws.normal("eps", SHAPE))
    assert torch.equal(t, 1e-3 + (1 - 2e-3) * draws.uniform("t", shared=GROUP))
    assert not x.requires_grad


def test_ddmds_fake_teacher_is_fitted_where_it_is_asked() -> None:
    """At the DM term's times, over the whole range, and not at the CA term's."""
    company, draws, seen = Company(), noise(), []

    def spy(x: Tensor, eps: Tensor, t: Tensor, cond: object) -> Tensor:
        seen.append(t)
        return company._fake_loss(x, eps, t, cond)  # type: ignore[arg-type]

    play(METHODS["d-dmd"], company, draws, cast=company.cast(fake_loss=spy))
    for update, t in enumerate(seen):
        assert torch.equal(t, 0.02 + (0.98 - 0.02) * draws.at(f"fake{update}").uniform("t"))


def test_reused_samples_are_seen_at_new_times_and_noise() -> None:
    company, draws, seen = Company(), noise(), []

    def spy(x: Tensor, eps: Tensor, t: Tensor, cond: object) -> Tensor:
        seen.append((x, eps, t))
        return company._fake_loss(x, eps, t, cond)  # type: ignore[arg-type]

    play(row("amd", {"samples": "reused", "ratio": 2}), company, draws, cast=company.cast(fake_loss=spy))
    conditioning = BATCH.draw(draws)
    made = company.student.x0(draws.normal("z", SHAPE), torch.zeros(ROWS, dtype=torch.float64), conditioning.cond)
    for update, (x, eps, t) in enumerate(seen):
        torch.testing.assert_close(x, made.detach(), **CLOSE)
        assert torch.equal(eps, draws.at(f"fake{update}").normal("eps", SHAPE))
        assert torch.equal(t, 0.02 + 0.96 * draws.at(f"fake{update}").uniform("t"))
    assert company.rows["student"] == company.rows["reward"] == ROWS  # one rollout, one look of the reward
