"""A stack of methods is its runs alone, put side by side."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from players import SHAPE, Company, Net, draw, noise, play
from torch import Tensor

from amd.distill.methods import METHODS, Method, row
from amd.distill.noise import Noise
from amd.distill.stack import stack
from amd.distill.step import Batch
from amd.distill.types import Cast

ROWS_EACH = 8
RUNS: dict[str, Method] = {
    "dmd-pure": METHODS["dmd-pure"],
    "amd": METHODS["amd"],
    "amd again": METHODS["amd"],
    "sharper": row("amd", {"k": 3.0, "normalise": "group", "clip": 0.8}),
    "naive": METHODS["naive"],
    "without adaptation": METHODS["amd-without-adaptation"],
    "without sharpening": row("amd-without-sharpening", {"s": 0.2}),
    "d-dmd": METHODS["d-dmd"],
    "undivided": row("dmd-pure", {"normaliser": "none", "low": 0.1}),
    "dmd": METHODS["dmd"],
    "dmd2": METHODS["dmd2"],
    "rewarded": replace(METHODS["dmdr"], real=METHODS["dmd"].real),  # a stack's runs share their real teacher
}


@dataclass(frozen=True)
class Alone(Noise):
    """The draws that run `rank` of a stack of `world` gets, for a process that knows of no other."""

    def own(self, values: Tensor) -> Tensor:
        return values


class Chorus:
    """Networks side by side: the rows are in (run, row) order, and each run's go to its own network."""

    def __init__(self, runs: list[Company]) -> None:
        self.runs = runs

    def _each(self, pick: Callable[[Company], Callable[..., Tensor]]) -> Callable[..., Tensor]:
        def cut(value: object, i: int) -> object:
            if isinstance(value, dict):
                return {key: cut(inner, i) for key, inner in value.items()}
            assert isinstance(value, Tensor)
            return value.chunk(len(self.runs))[i]

        def call(*args: object) -> Tensor:
            return torch.cat([pick(run)(*(cut(arg, i) for arg in args)) for i, run in enumerate(self.runs)])

        return call

    def cast(self) -> Cast:
        return self.runs[0].cast(  # the real teacher, the pairs and the data are everybody's
            student=self._each(lambda run: run.student.x0),
            fake=self._each(lambda run: lambda x, t, cond: run.fake.x0(x, t, cond, 1.0)),
            fake_loss=self._each(lambda run: run._fake_loss),
            logit=self._each(lambda run: run.fake.logit),
        )

    @property
    def weights(self) -> dict[str, torch.nn.Parameter]:
        return {f"{i}.{name}": w for i, run in enumerate(self.runs) for name, w in run.weights.items()}


def companies(count: int) -> list[Company]:
    teacher = Net("teacher")
    return [Company(student=Net("student", i), teacher=teacher, fake=Net("fake", i)) for i in range(count)]


@pytest.mark.parametrize(
    "names",
    [
        ["amd", "amd again"],
        ["dmd-pure", "amd", "naive"],
        ["d-dmd", "dmd-pure"],
        ["dmd", "dmd2", "rewarded"],
        list(RUNS),
    ],
    ids=lambda names: "+".join(names) if len(names) < len(RUNS) else "all",
)
def test_a_stack_is_its_runs_alone(names: list[str]) -> None:
    """Each run's gradients are those it has alone, over the number of runs: the stack's loss is the runs' mean."""
    count, batch = len(names), Batch(draw(), SHAPE)
    chorus = Chorus(companies(count))
    draws = noise(batch=ROWS_EACH * count)
    together = play(stack([RUNS[n] for n in names], ROWS_EACH), chorus, draws, batch=batch, stats=True)  # type: ignore[arg-type]
    for i, (name, company) in enumerate(zip(names, companies(count), strict=True)):
        mine = Alone(draws.seed, draws.iteration, draws.batch, rank=i, world=count, dtype=torch.float64)
        alone = play(RUNS[name], company, mine, batch=batch)
        assert len(alone) == len(together) == 6
        for (_, stacked), (_, single) in zip(together, alone, strict=True):
            for weight, grad in single.items():
                found = count * stacked[f"{i}.{weight}"]
                # float64, sums in another order
                torch.testing.assert_close(
                    found, grad, rtol=1e-10, atol=1e-13, msg=lambda m, n=name, w=weight: f"{n} {w}: {m}"
                )


def test_a_stack_of_one_is_that_one() -> None:
    for name in ("dmd-pure", "amd", "d-dmd", "dmd2"):
        (one,), alone = [play(stack([METHODS[name]], 8), Company())], play(METHODS[name], Company())
        for (_, first), (_, second) in zip(one, alone, strict=True):
            for weight in first:
                torch.testing.assert_close(first[weight], second[weight], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("what", "other"),
    [("cadence", METHODS["amd-literal"]), ("real", METHODS["magic"]), ("rollout", row("amd", {"steps": 4}))],
)
def test_what_cannot_differ_within_a_batch_is_refused(what: str, other: Method) -> None:
    with pytest.raises(ValueError, match=f"must share their {what}"):
        stack([METHODS["amd"], other], 8)


def test_a_stack_reads_what_its_runs_read() -> None:
    both = stack([METHODS["dmd2"], METHODS["amd"]], 8)
    assert all(both.reads(what) for what in ("reward", "advantage", "logit", "real_data"))
    assert not both.reads("pairs")
    assert not stack([METHODS["dmd-pure"], METHODS["d-dmd"]], 8).reads("reward")
