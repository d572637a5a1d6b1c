"""A small company for a training step, in float64: real networks of a few hundred weights.

B = P x K rows, S = SHAPE. All of them live on the linear path and answer to {"label": (B,)}; the null label is CLASSES.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amd.distill.methods import Method
from amd.distill.noise import Noise, generator
from amd.distill.path import Linear, rows, to_x0
from amd.distill.step import Batch, Phase, step
from amd.distill.types import Cast, Condition, Conditioning

SHAPE = (1, 2, 3)  # more than one axis, none of them equal
SIZE = 6
CLASSES = 3
ROWS, GROUP = 8, 4
WIDTH = 12
CLOSE = {"rtol": 1e-10, "atol": 1e-13}  # float64: sums of a few thousand products in another order


class Net(nn.Module):
    """A velocity network with a low-rank branch that can be scaled, and features for a critic."""

    def __init__(self, *key: object) -> None:
        super().__init__()
        source = generator("players", *key)

        def weight(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=source, dtype=torch.float64) / shape[0] ** 0.5)

        self.enter, self.leave = weight(SIZE + 1 + CLASSES + 1, WIDTH), weight(WIDTH, SIZE)
        self.down, self.up = weight(WIDTH, 2), weight(2, SIZE)
        self.head = weight(WIDTH, 1)

    def features(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """(B, *S) -> (B, WIDTH)."""
        label = F.one_hot(cond["label"], CLASSES + 1).to(x_t)
        return torch.tanh(torch.cat([x_t.flatten(1), t.to(x_t)[:, None], label], 1) @ self.enter)

    def velocity(self, x_t: Tensor, t: Tensor, cond: Condition, scale: float = 0.0) -> Tensor:
        """(B, *S) -> (B, *S); the branch counts `scale` times."""
        hidden = self.features(x_t, t, cond)
        return (hidden @ self.leave + scale * (hidden @ self.down @ self.up)).reshape(x_t.shape)

    def x0(self, x_t: Tensor, t: Tensor, cond: Condition, scale: float = 0.0) -> Tensor:
        """The clean sample that the velocity implies."""
        return to_x0(Linear(), self.velocity(x_t, t, cond, scale), x_t, t, "velocity")

    def logit(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """(B,): positive means real."""
        return (self.features(x_t, t, cond) @ self.head)[:, 0]


def like(x: Tensor, cond: Condition) -> Tensor:
    """A smooth reward that depends on the label: (B, *S) -> (B,)."""
    flat = x.flatten(1)
    return torch.tanh(flat[:, 0]) - 0.3 * (flat - 0.2 * cond["label"].to(x)[:, None]).square().mean(1)


@dataclass
class Company:
    """A cast, the networks behind it, and how often (and with how many rows) each was asked."""

    student: Net = field(default_factory=lambda: Net("student"))
    teacher: Net = field(default_factory=lambda: Net("teacher"))  # the fake is its low-rank branch plus its own copy
    fake: Net = field(default_factory=lambda: Net("fake"))
    cfg_weight: float = 3.0
    pull: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)

    def _count(self, name: str, call: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def counted(x: Tensor, *args: object) -> Tensor:
            self.calls[name] += 1
            self.rows[name] += len(x)
            return call(x, *args)

        return counted

    def _fake_loss(self, x: Tensor, eps: Tensor, t: Tensor, cond: Condition) -> Tensor:
        v = self.fake.velocity(Linear().add_noise(x, eps, t), t, cond, 1.0)
        return (v - (x - eps)).square().flatten(1).mean(1)

    def _pairs(self, noise: Noise) -> tuple[Tensor, Tensor, Condition]:
        z = noise.normal("pairs_z", SHAPE)
        return z, z.tanh(), {"label": noise.integers("pairs_label", CLASSES)}

    def _real_data(self, noise: Noise) -> tuple[Tensor, Condition]:
        return 0.5 * noise.normal("data", SHAPE) + 1, {"label": noise.integers("data_label", CLASSES)}

    def _set_pull(self, pull: float) -> None:
        self.pull = pull

    def cast(self, **changes: object) -> Cast:
        """Everybody, counted. A shrinking real teacher borrows the branch of the teacher's own network."""
        cast = Cast(
            student=self._count("student", self.student.x0),
            real=self._count("real", lambda x, t, cond: self.teacher.x0(x, t, cond, self.pull)),
            fake=self._count("fake", lambda x, t, cond: self.fake.x0(x, t, cond, 1.0)),
            fake_loss=self._count("fake_loss", self._fake_loss),
            path=Linear(),
            cfg_weight=self.cfg_weight,
            reward=self._count("reward", like),
            logit=self._count("logit", self.fake.logit),
            pairs=self._pairs,
            real_data=self._real_data,
            set_pull=self._set_pull,
        )
        return replace(cast, **changes)  # type: ignore[arg-type]

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """Every weight of every network, by name."""
        nets = {"student": self.student, "teacher": self.teacher, "fake": self.fake}
        return {f"{role}.{name}": p for role, net in nets.items() for name, p in net.named_parameters()}


def draw(group: int = GROUP) -> Callable[[Noise], Conditioning]:
    """Labels shared within groups."""

    def conditioning(noise: Noise) -> Conditioning:
        label = noise.integers("labels", CLASSES, shared=group)
        return Conditioning({"label": label}, {"label": torch.full_like(label, CLASSES)}, group)

    return conditioning


BATCH = Batch(draw(), SHAPE)


def noise(iteration: int = 0, batch: int = ROWS, **changes: object) -> Noise:
    """The iteration's draws, in float64."""
    return replace(Noise(7, iteration, batch, dtype=torch.float64), **changes)  # type: ignore[arg-type]


def play(
    method: Method,
    company: Company,
    draws: Noise | None = None,
    *,
    batch: Batch = BATCH,
    progress: float = 0.25,
    micro: int = 1,
    stats: bool = False,
    cast: Cast | None = None,
) -> list[tuple[Phase, dict[str, Tensor]]]:
    """One iteration without an optimiser: the last phase of every update, and the gradients its backwards summed up."""
    weights, updates = company.weights, []
    cast = company.cast() if cast is None else cast
    for phase in step(method, cast, batch, draws or noise(), progress=progress, micro=micro, stats=stats):
        phase.loss.backward()
        if phase.last:
            grads = {name: torch.zeros_like(w) if w.grad is None else w.grad.clone() for name, w in weights.items()}
            updates.append((phase, grads))
            for w in weights.values():
                w.grad = None
    return updates


def fixed(theta: Tensor) -> Callable[[Tensor, Tensor, Condition], Tensor]:
    """A student whose samples are its parameters: what happens to them is Eq. 3 itself."""
    return lambda z, t, cond: theta + 0 * rows(t, theta)


def batch_of(labels: Tensor, group: int, shape: tuple[int, ...] = SHAPE) -> Batch:
    """A batch that always asks for the same labels."""
    null = torch.full_like(labels, CLASSES)
    return Batch(lambda _: Conditioning({"label": labels}, {"label": null}, group), shape)


def same(first: dict[str, Tensor], second: dict[str, Tensor], scale: float = 1.0) -> None:
    """Gradients of one update are `scale` times those of another."""
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], scale * second[name], **CLOSE, msg=lambda m, name=name: f"{name}: {m}")
