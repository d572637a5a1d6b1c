"""Backward simulation: against DMD2's by hand (eta = 1), Euler's ODE step (eta = 0), and who gets the gradient."""

import math
from collections import Counter

import pytest
import torch
from players import BATCH, ROWS, SHAPE, Company, draw, noise
from torch import Tensor

from amd.distill.noise import generator
from amd.distill.path import Linear
from amd.distill.rollout import backward_simulation, grid, renoise_between
from amd.distill.types import Trajectory

CLOSE = {"rtol": 0, "atol": 1e-12}  # float64, three small networks deep


def roll(steps: int, eta: float = 1.0, *, iteration: int = 0, grad: bool = False, full: bool = True) -> Trajectory:
    draws = noise(iteration)
    company = Company()
    return backward_simulation(steps=steps, eta=eta)(company.cast(), draw()(draws), SHAPE, draws, grad, full)


def at(value: float) -> Tensor:
    return torch.full((ROWS,), value, dtype=torch.float64)


def test_grid() -> None:
    assert grid(1) == [0.0]
    assert grid(4) == [0.0, 0.25, 0.5, 0.75]
    longlive = [1000, 937.5, 2500 / 3, 625]  # [1000, 750, 500, 250], warped by 5; its times count noise
    assert [1000 * (1 - t) for t in grid(4, 5.0)] == pytest.approx(longlive, abs=1e-9)


def test_a_shift_moves_every_time_but_the_first() -> None:
    company, draws = Company(), noise()
    asked = []
    student = company.student.x0
    cast = company.cast(student=lambda x_t, t, cond: asked.append(float(t[0])) or student(x_t, t, cond))
    backward_simulation(steps=4, shift=5.0, first=0.01)(cast, BATCH.draw(draws), SHAPE, draws, False, True)
    assert asked == [0.01, *grid(4, 5.0)[1:]]


def test_one_step_is_the_student_at_pure_noise() -> None:
    draws = noise()
    student, cond = Company().student, draw()(draws).cond
    trajectory = roll(1)
    torch.testing.assert_close(trajectory.x, student.x0(draws.normal("z", SHAPE), at(0), cond), **CLOSE)
    assert torch.equal(trajectory.t_g, at(0))


def test_fresh_noise_is_dmd2s_backward_simulation() -> None:
    draws = noise()
    student, cond = Company().student, draw()(draws).cond
    x_t = draws.normal("z", SHAPE)
    x0 = student.x0(x_t, at(0), cond)
    for k, t in enumerate((0.25, 0.5, 0.75), start=1):
        x_t = t * x0 + (1 - t) * draws.normal(f"z{k}", SHAPE)  # the clean prediction, noised anew
        x0 = student.x0(x_t, at(t), cond)
    torch.testing.assert_close(roll(4).x, x0, **CLOSE)


def test_no_fresh_noise_is_eulers_step_of_the_ode() -> None:
    draws = noise()
    student, cond = Company().student, draw()(draws).cond
    x_t = draws.normal("z", SHAPE)
    for t in (0.0, 0.25, 0.5):
        x_t = x_t + 0.25 * student.velocity(x_t, at(t), cond)
    torch.testing.assert_close(roll(4, eta=0.0).x, student.x0(x_t, at(0.75), cond), **CLOSE)
    assert not torch.allclose(roll(4, eta=0.5).x, roll(4, eta=0.0).x)


@pytest.mark.parametrize("eta", [0.0, 0.3, 0.9, 1.0])
def test_between_two_steps_the_noise_keeps_its_variance(eta: float) -> None:
    """cos^2 + sin^2 = 1: where x0_hat is the truth, x at the next time has the path's own law."""
    n = 200000
    source = generator("renoise", eta)
    x0 = torch.full((n, 1), 0.4, dtype=torch.float64)
    eps, z = torch.randn(2, n, 1, generator=source, dtype=torch.float64)
    t, t_next = torch.full((n,), 0.25, dtype=torch.float64), torch.full((n,), 0.5, dtype=torch.float64)
    moved = renoise_between(Linear(), x0, Linear().add_noise(x0, eps, t), t, t_next, z, eta)
    assert moved.mean().item() == pytest.approx(0.5 * 0.4, abs=4 * 0.5 / math.sqrt(n))
    assert moved.std().item() == pytest.approx(0.5, rel=4 / math.sqrt(2 * n))
    expected = 0.5 * x0 + 0.5 * (math.cos(eta * math.pi / 2) * eps + math.sin(eta * math.pi / 2) * z)  # CPS
    torch.testing.assert_close(moved, expected, **CLOSE)


def test_the_exit_step_is_drawn_once_for_all_rows_ranks_and_parts() -> None:
    for iteration in range(6):
        exits = set()
        for rank in range(2):
            for part in range(2):
                draws = noise(iteration, rank=rank, world=2).at("student", (part, 2))
                roll = backward_simulation(steps=4)(Company().cast(), draw()(draws), SHAPE, draws, False, False)
                exits |= set(roll.t_g.tolist())
        assert len(exits) == 1


def test_every_exit_step_is_equally_likely() -> None:
    exits = Counter(noise(i).integer("exit", 4) for i in range(2000))
    assert set(exits) == {0, 1, 2, 3}
    assert all(abs(count - 500) < 4 * math.sqrt(500 * 0.75) for count in exits.values())  # four standard deviations


def test_states_are_the_students_inputs_up_to_the_exit() -> None:
    for iteration in range(8):
        trajectory = roll(4, iteration=iteration, full=False)
        exit_step = round(trajectory.t_g[0].item() * 4)
        assert len(trajectory.states) == exit_step + 1
        last = Company().student.x0(trajectory.states[-1], trajectory.t_g, draw()(noise(iteration)).cond)
        torch.testing.assert_close(trajectory.x, last, **CLOSE)
    assert len(roll(4).states) == 4  # `full` goes to the end


def test_the_gradient_is_that_of_the_last_prediction_alone() -> None:
    iteration = next(i for i in range(20) if noise(i).integer("exit", 4) == 3)
    draws, company = noise(iteration), Company()
    conditioning = draw()(draws)
    trajectory = backward_simulation(steps=4)(company.cast(), conditioning, SHAPE, draws, True, False)
    weights = list(company.student.parameters())
    found = torch.autograd.grad(trajectory.x.sum(), weights, allow_unused=True)
    alone = company.student.x0(trajectory.states[-1].detach(), trajectory.t_g, conditioning.cond)
    expected = torch.autograd.grad(alone.sum(), weights, allow_unused=True)
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, **CLOSE)
    assert not any(state.requires_grad for state in trajectory.states)


def test_without_gradient_there_is_no_graph() -> None:
    assert not roll(4).x.requires_grad
    assert roll(4, grad=True).x.requires_grad


def test_a_rollout_asks_the_student_once_per_step() -> None:
    for iteration in range(4):
        company, draws = Company(), noise(iteration)
        trajectory = backward_simulation(steps=4)(company.cast(), BATCH.draw(draws), SHAPE, draws, False, False)
        assert company.calls["student"] == len(trajectory.states)


def test_pure_noise_may_be_asked_for_at_another_time() -> None:
    company, draws = Company(), noise()
    trajectory = backward_simulation(first=0.6)(company.cast(), BATCH.draw(draws), SHAPE, draws, True, False)
    assert trajectory.t_g.tolist() == [0.6] * len(trajectory.t_g)
    assert trajectory.states[0].equal(draws.normal("z", SHAPE))  # the input is pure noise all the same
