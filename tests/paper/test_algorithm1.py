"""The step of `amd-literal` against Algorithm 1's own loops: gradients, and three iterations of both networks.

Known constant factors: the paper sums over the group (lines 16, 19) and over the S dimensions (norm of line 18), the
step takes means, so both of its gradients are the paper's over B S. A learning rate absorbs it.
"""

from dataclasses import replace

import pytest
import torch
from algorithm1 import Draw, Gradients, iteration
from players import CLASSES, GROUP, ROWS, SHAPE, SIZE, Company, draw, like, noise, play
from torch import Tensor

from amd.distill.methods import METHODS, Method, row
from amd.distill.noise import Noise
from amd.distill.path import Linear, from_x0
from amd.distill.step import Batch, step
from amd.distill.types import Cast, Condition

W = 3.0
PRINTED = row("amd-literal", {"normaliser": "none"})  # the listing divides g by nothing


class NoiseNets:
    """The small company seen as the paper's networks: they predict eps, and the fake learns it (Eq. 14)."""

    def __init__(self) -> None:
        self.company = Company(cfg_weight=W)

    def one(self, role: str, x_t: Tensor, t: float, label: int) -> Tensor:
        """eps_hat of one sample."""
        net = getattr(self.company, role)
        time, cond = torch.tensor([t], dtype=torch.float64), {"label": torch.tensor([label])}
        x0 = net.x0(x_t[None], time, cond, 1.0 if role == "fake" else 0.0)
        return from_x0(Linear(), x0, x_t[None], time, "eps")[0]

    def eps_loss(self, x: Tensor, eps: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """||eps - eps_psi(x_t, t)||^2 per sample, mean over S."""
        x_t = Linear().add_noise(x, eps, t)
        guess = from_x0(Linear(), self.company.fake.x0(x_t, t, cond, 1.0), x_t, t, "eps")
        return (eps - guess).square().flatten(1).mean(1)

    def cast(self) -> Cast:
        return self.company.cast(fake_loss=self.eps_loss)

    def transcribed(self, draws: Noise, group: int, *, divide: bool, line_19_again: bool = False) -> Gradients:
        """Algorithm 1 with the step's own draws."""
        label = draw(group)(draws).cond["label"]
        t = 1e-3 + (1 - 2e-3) * draws.uniform("t", shared=group)
        z, eps = draws.normal("z", SHAPE), draws.normal("eps", SHAPE)
        rows = [slice(start, start + group) for start in range(0, len(z), group)]
        zero = torch.zeros(1, dtype=torch.float64)
        return iteration(
            lambda z_i, y: self.company.student.x0(z_i[None], zero, {"label": torch.tensor([y])})[0],
            list(self.company.student.parameters()),
            lambda x_t, t_i, y: self.one("teacher", x_t, t_i, y),
            lambda x_t, t_i, y: self.one("teacher", x_t, t_i, CLASSES),
            lambda x_t, t_i, y: self.one("fake", x_t, t_i, y),
            list(self.company.fake.parameters()),
            lambda x_i, y: like(x_i[None], {"label": torch.tensor([y])}).item(),
            [Draw(int(label[r][0]), list(z[r]), t[r][0].item(), list(eps[r])) for r in rows],
            s=0.5,
            w=W,
            divide=divide,
            line_19_again=line_19_again,
        )

    def stepped(self, method: Method, draws: Noise, group: int) -> Gradients:
        """The vectorised step."""
        student, fake = play(method, self.company, draws, batch=Batch(draw(group), SHAPE), cast=self.cast())
        return Gradients(
            [grad for name, grad in student[1].items() if name.startswith("student.")],
            [grad for name, grad in fake[1].items() if name.startswith("fake.")],
        )


def agree(found: list[Tensor], sums: list[Tensor]) -> None:
    for mean, total in zip(found, sums, strict=True):
        # float64; eps_hat divides by 1 - t and x0 by t, at most 1000 each way
        torch.testing.assert_close(ROWS * SIZE * mean, total, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("group", [ROWS, GROUP, 2])
@pytest.mark.parametrize("divide", [False, True], ids=["printed", "divided"])
def test_the_literal_preset_is_algorithm_1(group: int, divide: bool) -> None:
    """One group per iteration as printed, and several of them; without a normaliser as printed, and with ours."""
    for index in range(3):
        nets, draws = NoiseNets(), noise(index)
        paper = nets.transcribed(draws, group, divide=divide)
        ours = nets.stepped(METHODS["amd-literal"] if divide else PRINTED, draws, group)
        agree(ours.student, paper.student)
        agree(ours.fake, paper.fake)
        assert any(part.abs().max() > 1e-3 for part in paper.student)
        assert any(part.abs().max() > 1e-3 for part in paper.fake)


def test_the_second_factor_of_line_19_would_be_a_doubled_k() -> None:
    """w_i in line 19 is defined nowhere; read as W_i it squares Eq. 14's weight, which is k = 2."""
    nets, draws = NoiseNets(), noise()
    twice = nets.transcribed(draws, GROUP, divide=False, line_19_again=True)
    agree(nets.stepped(row("amd-literal", {"normaliser": "none", "k": 2.0}), draws, GROUP).fake, twice.fake)
    once = nets.stepped(PRINTED, draws, GROUP).fake
    assert any(not torch.allclose(ROWS * SIZE * a, b, rtol=0.01) for a, b in zip(once, twice.fake, strict=True))


def test_three_iterations_of_both_end_at_the_same_networks() -> None:
    """Lines 21 and 22: both gradients are taken before either network moves."""
    ours, paper, rate = NoiseNets(), NoiseNets(), 1e-3
    for index in range(3):
        draws = noise(index)
        for nets, gradients, scale in (
            (ours, ours.stepped(PRINTED, draws, GROUP), ROWS * SIZE),
            (paper, paper.transcribed(draws, GROUP, divide=False), 1),
        ):
            with torch.no_grad():
                for p, g in zip(nets.company.student.parameters(), gradients.student, strict=True):
                    p -= rate * scale * g
                for p, g in zip(nets.company.fake.parameters(), gradients.fake, strict=True):
                    p -= rate * scale * g
    for (name, mine), theirs in zip(ours.company.weights.items(), paper.company.weights.values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9, msg=lambda m, name=name: f"{name}: {m}")
    moved = (ours.company.student.leave - Company().student.leave).abs().max()
    assert moved > 1e-3


def test_the_updates_may_be_taken_in_either_order() -> None:
    """The fake's phase rests on samples made before the student moved: an optimiser in between changes nothing."""
    draws, batch = noise(), Batch(draw(), SHAPE)
    still, moving = NoiseNets(), NoiseNets()
    expected = still.stepped(PRINTED, draws, GROUP).fake
    for phase in step(PRINTED, moving.cast(), batch, draws, progress=0.0):
        for p in moving.company.weights.values():
            p.grad = None
        phase.loss.backward()
        if phase.role == "student":
            with torch.no_grad():
                for p in moving.company.student.parameters():
                    p -= 0.1 * (torch.ones_like(p) if p.grad is None else p.grad)
    for p, e in zip(moving.company.fake.parameters(), expected, strict=True):
        torch.testing.assert_close(torch.zeros_like(p) if p.grad is None else p.grad, e, rtol=1e-12, atol=1e-14)


def test_the_presets_differ_where_they_say_they_do() -> None:
    literal, recommended = METHODS["amd-literal"], METHODS["amd"]
    assert (
        literal.numbers
        | {"low": 0.02, "high": 0.98, "share": "sample", "ratio": 5, "samples": "fresh", "normalise": "batch"}
        == recommended.numbers
    )
    same = ("operator", "external", "real", "rollout", "advantage", "normaliser")
    assert replace(recommended, **{f: getattr(literal, f) for f in same}) == recommended
