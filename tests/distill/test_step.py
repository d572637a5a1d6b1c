"""One step for every method: what moves, which way, how far; no cut of the batch matters."""

import copy
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from players import (
    BATCH,
    CLASSES,
    CLOSE,
    GROUP,
    ROWS,
    SHAPE,
    SIZE,
    Company,
    batch_of,
    draw,
    fixed,
    like,
    noise,
    play,
    same,
)
from torch import Tensor

from amd.distill.advantage import group_relative
from amd.distill.force import Context
from amd.distill.methods import METHODS, Method, row
from amd.distill.noise import generator
from amd.distill.operator import abs_mean, compose, naive
from amd.distill.path import Linear, rows
from amd.distill.step import Batch, step
from amd.distill.types import Displacements

MATCHING = [name for name, method in METHODS.items() if not method.external]
LABELS = torch.tensor([0, 0, 0, 0, 2, 2, 2, 2])


def theta() -> Tensor:
    """Samples that are parameters: (B, *S)."""
    return torch.randn(ROWS, *SHAPE, generator=generator("theta"), dtype=torch.float64).requires_grad_()


def displacements(company: Company, x: Tensor, t: Tensor, eps: Tensor) -> Displacements:
    """Both teachers at F_t(x), asked one by one."""
    x_t = Linear().add_noise(x, eps, t)
    null = {"label": torch.full((len(x),), CLASSES)}
    with torch.no_grad():
        real = x - company.teacher.x0(x_t, t, {"label": LABELS})
        uncond = x - company.teacher.x0(x_t, t, null)
        return Displacements(real, uncond, x - company.fake.x0(x_t, t, {"label": LABELS}, 1.0), real, uncond)


def push(name: str, numbers: dict[str, object]) -> tuple[Tensor, Tensor, Displacements]:
    """Samples, the gradient of the student's loss in them, and their displacements found by hand."""
    company, x, draws = Company(), theta(), noise()
    method = row(name, numbers)
    phase = next(step(method, company.cast(student=fixed(x)), batch_of(LABELS, GROUP), draws, progress=0.9))
    assert phase.role == "student"
    phase.loss.backward()
    t = method.renoise(draws, torch.zeros(ROWS), GROUP, 0.9).t_dm
    assert x.grad is not None
    return x.detach(), x.grad, displacements(company, x.detach(), t, draws.normal("eps", SHAPE))


# --- the push ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in MATCHING if n not in ("d-dmd", "magic")])
def test_the_gradient_in_a_sample_is_g_over_its_size_and_the_rows_and_the_normaliser(name: str) -> None:
    x, grad, d = push(name, {})
    advantage = group_relative()(like(x, {"label": LABELS}), GROUP)[0]
    size = abs_mean()(d, 3.0)
    torch.testing.assert_close(grad, compose(name, d, advantage, 3.0) / size / ROWS / SIZE, **CLOSE)


def test_the_normaliser_never_holds_alpha_or_beta() -> None:
    """Multiplied out, what is left depends on s exactly as Eq. 10 does: linearly."""
    grads = [push("amd", {"s": s})[1] for s in (0.0, 0.4, 0.8)]
    torch.testing.assert_close(grads[2] - grads[1], grads[1] - grads[0], rtol=0, atol=1e-12)
    assert not torch.allclose(grads[0], grads[1])


def test_amd_with_zero_sensitivity_pushes_as_dmd_does() -> None:
    torch.testing.assert_close(push("amd", {"s": 0.0})[1], push("dmd-pure", {})[1], **CLOSE)


@pytest.mark.parametrize("name", ["dmd-pure", "amd", "naive"])
def test_a_step_of_size_eta_descends_eq_3_in_the_samples(name: str) -> None:
    x, grad, d = push(name, {"normaliser": "none"})
    advantage = group_relative()(like(x, {"label": LABELS}), GROUP)[0]
    eta = 0.1
    moved = x - eta * ROWS * SIZE * grad
    torch.testing.assert_close(moved, x - eta * compose(name, d, advantage, 3.0), **CLOSE)


def gaussian(mean: float, std: float) -> Callable[..., Tensor]:
    """E[x | x_t] for x ~ N(mean, std^2)."""

    def x0(x_t: Tensor, t: Tensor, cond: object) -> Tensor:
        alpha, sigma = (rows(c, x_t) for c in Linear().coefficients(t))
        return mean + alpha * std**2 / (alpha**2 * std**2 + sigma**2) * (x_t - alpha * mean)

    return x0


def test_one_step_moves_a_gaussian_student_towards_the_teacher_by_the_closed_form() -> None:
    """Teacher N(2, 1/4), student N(0, 1/4): E[d_real - d_fake] = -1.30, so the mean rises by 1.30 eta."""
    mean = torch.zeros((), dtype=torch.float64, requires_grad=True)
    company = Company()
    cast = company.cast(student=lambda z, t, cond: mean + 0.5 * z, real=gaussian(2.0, 0.5), fake=gaussian(0.0, 0.5))
    cast = replace(cast, cfg_weight=1.0)
    n = 20000
    batch = batch_of(torch.zeros(n, dtype=torch.int64), GROUP, (1,))
    method = row("dmd-pure", {"normaliser": "none"})
    optimiser = torch.optim.SGD([mean], lr=0.1)
    next(step(method, cast, batch, noise(batch=n), progress=0.0)).loss.backward()
    optimiser.step()
    t = torch.linspace(0.02, 0.98, 100001, dtype=torch.float64)
    expected = torch.trapezoid(-2 * (1 - t) ** 2 / (t**2 / 4 + (1 - t) ** 2), t).item() / 0.96
    assert expected == pytest.approx(-1.30, abs=0.005)
    # both teachers have one variance, so neither x nor eps is left in g, only t: its standard deviation is 0.72
    assert mean.item() == pytest.approx(-0.1 * expected, abs=0.1 * 4 * 0.72 / n**0.5)


@pytest.mark.parametrize("name", [n for n in METHODS if n != "dmd2"])
def test_nothing_reaches_the_teachers_from_the_push(name: str) -> None:
    """(DMD2's adversarial force does reach the fake teacher: its critic sits there.)"""
    updates = play(METHODS[name], Company())
    assert updates[0][0].role == "student"
    for weight, grad in updates[0][1].items():
        if not weight.startswith("student."):
            assert not grad.any(), weight
    assert any(grad.any() for weight, grad in updates[0][1].items() if weight.startswith("student."))


@pytest.mark.parametrize("name", METHODS)
def test_a_fake_update_moves_the_fake_teacher_alone(name: str) -> None:
    for phase, grads in play(METHODS[name], Company())[1:]:
        assert phase.role == "fake"
        moved = {weight.split(".")[0] for weight, grad in grads.items() if grad.any()}
        assert moved == {"fake"}


def test_an_external_force_adds_to_the_push() -> None:
    for name in ("dmd", "dmd2", "dmdr"):
        settings = {"pull": 0.0, "anneal": 0.0, "lam": 0.2} if name == "dmdr" else {"lam": 0.2}
        method = row(name, settings)
        silent = row(name, settings | {"lam": 0.0})
        bare = replace(method, external=())
        with_force, without = play(method, Company())[0][1], play(bare, Company())[0][1]
        same(play(silent, Company())[0][1], without)
        company, draws = Company(), noise()
        conditioning = BATCH.draw(draws)
        x = company.student.x0(draws.normal("z", SHAPE), torch.zeros(ROWS, dtype=torch.float64), conditioning.cond)
        value = method.external[0].value(Context(company.cast(), draws, x, conditioning.cond)).mean()
        alone = torch.autograd.grad(value, list(company.student.parameters()), allow_unused=True)
        for (weight, _), force in zip(company.student.named_parameters(), alone, strict=True):
            both = with_force[f"student.{weight}"] - without[f"student.{weight}"]
            torch.testing.assert_close(both, torch.zeros_like(both) if force is None else force, **CLOSE)


# --- no cut of the batch matters --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_micro_batches_add_up_to_the_whole_update(name: str) -> None:
    whole, parts = play(METHODS[name], Company()), play(METHODS[name], Company(), micro=2)
    assert len(whole) == len(parts)
    for (_, first), (_, second) in zip(whole, parts, strict=True):
        same(first, second)


def on_ranks(name: str, world: int, micro: int = 1, group: int = GROUP) -> list[dict[str, Tensor]]:
    """Gradients of every update, averaged over `world` ranks that run side by side and gather each other's rewards."""
    batch = Batch(draw(group), SHAPE)
    barrier = threading.Barrier(world, timeout=20)
    table: list[Tensor] = [torch.empty(0)] * world
    found: list[list[dict[str, Tensor]]] = [[] for _ in range(world)]
    origin = Company()

    def gather(rank: int) -> Callable[[Tensor], Tensor]:
        def call(mine: Tensor) -> Tensor:
            table[rank] = mine
            barrier.wait()
            everyone = torch.cat(table)
            barrier.wait()
            return everyone

        return call

    def run(rank: int) -> None:
        company = copy.deepcopy(origin)
        cast = company.cast(gather=gather(rank))
        draws = noise(rank=rank, world=world)
        try:
            found[rank] = [
                grads for _, grads in play(METHODS[name], company, draws, batch=batch, micro=micro, cast=cast)
            ]
        except BaseException:
            barrier.abort()
            raise

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [{w: sum(g[w] for g in update) / world for w in update[0]} for update in zip(*found, strict=True)]  # type: ignore[misc]


@pytest.mark.parametrize(("world", "micro", "group"), [(2, 1, 4), (4, 1, 4), (2, 2, 4), (2, 1, 8)])
@pytest.mark.parametrize("name", METHODS)
def test_ranks_average_to_the_single_process(name: str, world: int, micro: int, group: int) -> None:
    """Groups that span ranks included: (4, 1, 4), (2, 2, 4) and (2, 1, 8)."""
    alone = play(METHODS[name], Company(), batch=Batch(draw(group), SHAPE))
    together = on_ranks(name, world, micro, group)
    assert len(alone) == len(together)
    for (_, first), second in zip(alone, together, strict=True):
        same(first, second)


# --- what is observed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_observed_numbers_are_finite_and_complete(name: str) -> None:
    updates = play(METHODS[name], Company(), stats=True)
    student, fakes = updates[0][0].stats, [phase.stats for phase, _ in updates[1:]]
    assert {"g", "d_real", "d_fake", "cosine", "x_mean", "x_std"} <= set(student)
    assert "fake_loss" in fakes[0]
    assert all(not later for later in fakes[1:])  # the first fake update speaks for the iteration
    for key, value in (student | fakes[0]).items():
        assert torch.isfinite(value).all(), key
    if "advantage" in METHODS[name].operator.reads:
        assert {"reward", "reward_sigma", "clipped", "w_eff"} <= set(student)
        histogram = sum(value for key, value in student.items() if key.startswith("w_eff>="))
        assert float(histogram) == pytest.approx(1)  # every sample is in one bin
    assert ("critic_loss0" in fakes[0]) == (name == "dmd2")


def test_stats_are_empty_unless_asked_for() -> None:
    assert all(phase.stats == {} for phase, _ in play(METHODS["amd"], Company()))


def test_naive_may_run_with_any_slot_of_its_own() -> None:
    """A row is made of parts: one nobody named runs as well."""
    own = Method(operator=naive(s=0.25), real=METHODS["magic"].real, fake=METHODS["amd"].fake)
    assert len(play(own, Company())) == 6


def test_noise_of_another_iteration_is_another_step() -> None:
    first, second = play(METHODS["dmd-pure"], Company(), noise(0)), play(METHODS["dmd-pure"], Company(), noise(1))
    assert not torch.allclose(first[0][1]["student.leave"], second[0][1]["student.leave"])
    again = play(METHODS["dmd-pure"], Company(), noise(0))
    for (_, one), (_, two) in zip(first, again, strict=True):
        assert all(torch.equal(one[w], two[w]) for w in one)  # bitwise
