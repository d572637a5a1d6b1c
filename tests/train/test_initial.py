"""Regression on the teacher's ODE: who is perfect, at which times chunks are asked, and that it learns."""

import pytest
import torch
from torch import Tensor

from amd.backbones.wan_streaming import StreamingWan
from amd.config.schema.sizes import Streaming, WanSize
from amd.distill.noise import Noise
from amd.distill.rollout import grid
from amd.distill.types import Condition
from amd.train.initial import Trajectories, regression

SIZE = WanSize(patch=2, width=24, depth=2, heads=2, ffn=40, context=16, frequencies=32)
SHAPE, CHUNK, CLIPS = (4, 6, 4, 4), 2, 12
TIMES = torch.tensor(grid(4, 2.0), dtype=torch.float64)


class Asked:
    """The clips' prompts: clip i is asked for by number i and by states of its own."""

    states = torch.randn(CLIPS, 5, SIZE.context, generator=torch.Generator().manual_seed(3))

    def of(self, index: Tensor) -> Condition:
        """(b,) -> what is asked."""
        return {"prompt": index, "tokens": self.states[index.cpu()]}


def student() -> StreamingWan:
    return StreamingWan(SIZE, SHAPE, Streaming(chunk=CHUNK, window=4, sink=0))


def constant(velocity: float) -> StreamingWan:
    """A student that says this velocity of everything: its head's matrix is zero."""
    module = student()
    head = module.network.proj_out
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(-velocity)  # Wan's own sign: eps - x
    return module


def straight(velocity: float) -> Trajectories:
    """Solutions of dx/dt = velocity: x_t = x - (1 - t) velocity."""
    x = torch.randn(CLIPS, *SHAPE, generator=torch.Generator().manual_seed(0))
    left = (1 - TIMES).float()[None, :, None, None, None, None]
    return Trajectories(torch.arange(CLIPS), x[:, None] - left * velocity, x, TIMES)


def loss(module: StreamingWan, found: Trajectories, iteration: int = 0, rows: int = 8) -> Tensor:
    return regression(module, found, Asked(), CHUNK, Noise(0, iteration, rows))  # type: ignore[arg-type]


def test_a_perfect_student_has_no_loss() -> None:
    """Whose velocity is the teacher's, if states, times and clips belong together; another's error is known."""
    with torch.no_grad():
        found = straight(0.7)
        assert float(loss(constant(0.7), found)) < 1e-12  # rounding of float32
        off = float(loss(constant(0.5), found))
        elsewhen = Trajectories(found.prompt, found.x_t, found.x, TIMES.flip(0))
        assert float(loss(constant(0.7), elsewhen)) > 0.01
    seen = asked_at(found, 8)
    assert off == pytest.approx(float(((1 - seen) * 0.2).square().mean()), rel=1e-4)


def asked_at(found: Trajectories, rows: int) -> Tensor:
    """t_frames (rows, F), checked against what else the student was given."""
    module, kept = student(), list[Tensor]()
    masked = module.masked

    def noted(clean: Tensor, x_t: Tensor, t_frames: Tensor, cond: Condition) -> Tensor:
        assert torch.equal(clean, found.x[cond["prompt"]])  # of the prompt that it is told
        for row, frame in torch.cartesian_prod(torch.arange(rows), torch.arange(SHAPE[1])).tolist():
            state = int((found.times == t_frames[row, frame]).nonzero())
            assert torch.equal(x_t[row, :, frame], found.x_t[cond["prompt"][row], state, :, frame])
        kept.append(t_frames)
        return masked(clean, x_t, t_frames, cond)

    module.masked = noted  # type: ignore[method-assign]
    with torch.no_grad():
        loss(module, found, rows=rows)
    return kept[0]


def test_every_chunk_is_asked_at_a_time_of_its_own_and_its_frames_together() -> None:
    at = asked_at(straight(0.7), 64).unflatten(1, (-1, CHUNK))  # (b, chunks, c)
    assert torch.equal(at, at[:, :, :1].expand_as(at))
    chunks = at[:, :, 0]
    for place in range(chunks.shape[1]):
        assert set(chunks[:, place].tolist()) == set(TIMES.tolist())
    for one in range(chunks.shape[1] - 1):  # of independent draws a quarter agree
        assert 0.05 < (chunks[:, one] == chunks[:, one + 1]).double().mean() < 0.5


def test_some_steps_lower_the_loss() -> None:
    draw = torch.Generator().manual_seed(1)
    v = Asked.states.mean(1)[:, :4, None, None, None] * 3 + 1  # the teacher's velocity: a colour of each prompt
    x = torch.randn(CLIPS, *SHAPE, generator=draw)
    left = (1 - TIMES).float()[None, :, None, None, None, None]
    found = Trajectories(torch.arange(CLIPS), x[:, None] - left * v[:, None], x, TIMES)
    module = student()
    optimiser = torch.optim.AdamW(module.parameters(), 3e-3)

    def held_out() -> float:
        with torch.no_grad():
            return float(loss(module, found, 1000, 64))

    before = held_out()
    for iteration in range(30):
        loss(module, found, iteration).backward()
        optimiser.step()
        optimiser.zero_grad()
    assert held_out() < 0.5 * before
