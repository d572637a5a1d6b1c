"""Self-forcing: a student that streams is rolled chunk by chunk, each reading the clean ones before it."""

from dataclasses import dataclass, field
from itertools import islice

import pytest
import torch
from players import BATCH, ROWS, Company, draw, noise, play
from torch import Tensor

from amd.distill.methods import METHODS
from amd.distill.path import Linear
from amd.distill.rollout import backward_simulation, chunks, grid
from amd.distill.types import Condition, Trajectory

SHAPE = (2, 6, 3)  # C, F, W
CLOSE = {"rtol": 0, "atol": 1e-12}  # float64


@dataclass
class Causal:
    """x0_hat = w x_t + mean of what it remembers + t, and a note of everything it is asked. It remembers two chunks."""

    chunk: int = 2
    weight: Tensor = field(default_factory=lambda: torch.tensor(0.7, dtype=torch.float64, requires_grad=True))
    asked: list[tuple[str, Tensor, tuple[Tensor, ...], bool]] = field(default_factory=list)

    def empty(self, rows: int) -> tuple[Tensor, ...]:
        return ()

    def predict(self, x_t: Tensor, t: Tensor, cond: Condition, context: tuple[Tensor, ...]) -> Tensor:
        self.asked.append(("predict", x_t, context, torch.is_grad_enabled()))
        told = sum((c.mean((1, 2, 3), keepdim=True) for c in context), torch.zeros(len(x_t), 1, 1, 1).double())
        return self.weight * x_t + self.weight**2 * told + t[:, None, None, None]

    def remember(self, x0: Tensor, cond: Condition, context: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        self.asked.append(("remember", x0, context, torch.is_grad_enabled()))
        return (*context, x0)[-2:]


def nobody(*_: object) -> Tensor:
    raise AssertionError("a streaming student is not asked for whole clips")


def roll(
    stream: Causal, steps: int, *, iteration: int = 0, grad: bool = False, full: bool = True, **numbers: float
) -> Trajectory:
    draws = noise(iteration)
    cast = Company().cast(stream=stream, student=nobody)
    return backward_simulation(steps=steps, **numbers)(cast, draw()(draws), SHAPE, draws, grad, full)


@pytest.mark.parametrize("numbers", [{"steps": 1}, {"steps": 4}, {"steps": 3, "eta": 0.3, "shift": 5.0}])
def test_one_chunk_as_long_as_the_clip_is_the_rollout_of_any_student(numbers: dict[str, float]) -> None:
    stream, draws = Causal(chunk=6), noise()
    plain = Company().cast(student=lambda x_t, t, cond: stream.predict(x_t, t, cond, ()))
    for full in (True, False):
        rolled = [
            backward_simulation(**numbers)(cast, draw()(draws), SHAPE, draws, False, full)
            for cast in (plain, Company().cast(stream=stream, student=nobody))
        ]
        assert torch.equal(rolled[0].x, rolled[1].x)
        assert torch.equal(rolled[0].t_g, rolled[1].t_g)
        assert all(torch.equal(a, b) for a, b in zip(rolled[0].states, rolled[1].states, strict=True))


def test_every_chunk_is_denoised_to_one_exit_and_reads_the_predictions_before_it() -> None:
    for iteration in range(6):
        stream = Causal()
        rolled = roll(stream, 4, iteration=iteration, full=False)
        exit_step = noise(iteration).integer("exit", 4)
        assert torch.equal(rolled.t_g, torch.full((ROWS,), exit_step / 4, dtype=torch.float64))
        kinds = "".join(kind[0] for kind, *_ in stream.asked)
        assert kinds == "r".join(["p" * (exit_step + 1)] * 3)  # nothing is remembered after the last
        parts = rolled.x.split(2, 2)
        contexts = [context for kind, _, context, _ in stream.asked if kind == "predict"]
        for chunk in range(3):
            for context in contexts[chunk * (exit_step + 1) : (chunk + 1) * (exit_step + 1)]:
                assert len(context) == chunk
                assert all(torch.equal(a, b) for a, b in zip(context, parts, strict=False))
        assert len(rolled.states) == exit_step + 1
        assert all(state.shape == rolled.x.shape for state in rolled.states)


def test_the_noise_of_every_chunk_and_step_is_its_own() -> None:
    stream = Causal()
    roll(stream, 2, shift=5.0)
    first = [x_t for kind, x_t, _, _ in stream.asked if kind == "predict"][::2]
    assert len({float(x_t.sum()) for x_t in first}) == 3
    draws = noise()
    assert torch.equal(first[0], draws.normal("z", (2, 2, 3)))
    time = grid(2, 5.0)[1]
    x0 = stream.predict(first[1], torch.zeros(ROWS).double(), {}, stream.asked[3][2])
    second = stream.asked[4][1]
    torch.testing.assert_close(second, time * x0 + (1 - time) * draws.normal("z1/1", (2, 2, 3)), **CLOSE)


def test_the_gradient_is_that_of_each_chunks_last_prediction_alone() -> None:
    iteration = next(i for i in range(20) if noise(i).integer("exit", 4) == 2)
    stream = Causal()
    rolled = roll(stream, 4, iteration=iteration, grad=True, full=False)
    (found,) = torch.autograd.grad(rolled.x.square().sum(), stream.weight)
    asked = [(x_t, context, grad) for kind, x_t, context, grad in stream.asked if kind == "predict"]
    assert [grad for *_, grad in asked] == [False, False, True] * 3
    assert not any(x0.requires_grad for kind, x0, _, _ in stream.asked if kind == "remember")
    t = torch.full((ROWS,), 0.5, dtype=torch.float64)
    alone = [stream.predict(x_t.detach(), t, {}, context) for x_t, context, grad in asked if grad]
    (expected,) = torch.autograd.grad(sum(x0.square().sum() for x0 in alone), stream.weight)
    torch.testing.assert_close(found, expected, **CLOSE)
    assert not any(state.requires_grad for state in rolled.states)


def test_ranks_and_parts_make_slices_of_the_same_clips() -> None:
    whole = roll(Causal(), 3, full=False).x
    for rank in range(2):
        draws = noise(rank=rank, world=2)
        cast = Company().cast(stream=Causal(), student=nobody)
        mine = backward_simulation(steps=3)(cast, draw()(draws), SHAPE, draws, False, False).x
        assert torch.equal(mine, whole[draws.rows])


def test_a_long_clip_begins_as_a_short_one_and_holds_no_more_of_its_past() -> None:
    stream, draws = Causal(), noise()
    cond, times = draw()(draws).cond, grid(2)
    endless = chunks(stream, Linear(), cond, SHAPE, draws, times)
    made = [x0 for x0, _ in islice(endless, 30)]  # ten times the clip
    torch.testing.assert_close(torch.cat(made[:3], 2), roll(Causal(), 2).x, **CLOSE)
    assert {len(context) for _, _, context, _ in stream.asked[6:]} == {2}
    assert len({float(x0.sum()) for x0 in made}) == 30
    assert all(bool(x0.isfinite().all()) for x0 in made)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_a_streaming_student(name: str) -> None:
    company, stream = Company(), Causal(chunk=1)
    student = nobody if name != "dmd" else company.student.x0  # the tether asks it for whole samples
    cast = company.cast(stream=stream, student=student)
    play(METHODS[name], company, batch=BATCH, cast=cast)
    assert stream.weight.grad is not None
    assert bool(stream.weight.grad.isfinite())
    assert float(stream.weight.grad) != 0


def test_a_clip_of_no_whole_number_of_chunks_is_refused() -> None:
    with pytest.raises(ValueError, match="6 latent frames is not made in chunks of 4"):
        roll(Causal(chunk=4), 1)
