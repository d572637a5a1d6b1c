"""What passes between the parts of a training step.

Shapes: B = P x K rows (P prompts, K consecutive rows share one), S = the latent's shape, e.g. (C, H, W).
Time: t in [0, 1], t = 0 is noise and t = 1 is clean (the paper's Sec. 2). Backbones convert at their own door.
Displacements: d = x - x0_hat points from the target to the sample; g is what x descends: x <- x - eta g (Eq. 3, 4).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

Condition = Mapping[str, Tensor]
"""What a network is told besides x_t and t: named tensors, each (B, ...), e.g. {"label": (B,)}."""


@dataclass(frozen=True)
class Conditioning:
    """What a batch asks for."""

    cond: Condition
    uncond: Condition  # the null condition of classifier-free guidance, same keys and shapes
    group: int  # K

    @property
    def rows(self) -> int:
        """B."""
        return next(iter(self.cond.values())).shape[0]


class Denoiser(Protocol):
    """A network at the door: it predicts the clean sample, whatever it was trained to predict."""

    def __call__(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """x_t (B, *S), t (B,) -> x0_hat (B, *S)."""
        ...


class Stream(Protocol):
    """A causal student at the door: it makes clips (B, C, F, H, W) chunk by chunk, c frames at a time."""

    @property
    def chunk(self) -> int:
        """c."""
        ...

    def empty(self, rows: int) -> Any:
        """What is known before the first frame. Contexts are values: nothing changes one that was given."""
        ...

    def predict(self, x_t: Tensor, t: Tensor, cond: Condition, context: Any) -> Tensor:
        """x_t (B, C, c, H, W), the next chunk at t (B,) -> x0_hat of it."""
        ...

    def remember(self, x0: Tensor, cond: Condition, context: Any) -> Any:
        """The context after the clean chunk x0 (B, C, c, H, W), without graph."""
        ...


@dataclass(frozen=True)
class Trajectory:
    """How the student made x."""

    x: Tensor  # (B, *S), with the student's graph where gradients are on
    t_g: Tensor  # (B,) the time at which the student was asked for x: 0 for one step
    states: tuple[Tensor, ...]  # the student's inputs, first to last, without graph


@dataclass(frozen=True)
class Diagnosis:
    """What the reward says of the batch."""

    reward: Tensor  # (B,)
    advantage: Tensor  # (B,) in [-clip, clip], Eq. 12
    sigma: Tensor  # (B,) standard deviation of the reward within each row's group


@dataclass(frozen=True)
class Displacements:
    """d = x - x0_hat of both teachers, at the level of the DM term and at that of the CA term, each (B, *S), no graph.

    Where a method does not split the levels, the ca fields are the dm fields. `uncond_*` may be None where it is not
    needed: cfg_weight = 1, or the dm level of a method that splits.
    """

    real_dm: Tensor
    uncond_dm: Tensor | None
    fake_dm: Tensor
    real_ca: Tensor
    uncond_ca: Tensor | None


@dataclass(frozen=True)
class Cast:
    """Everybody a step talks to. Networks are callables: `amd.train` builds them, this package never sees a module."""

    student: Denoiser
    real: Denoiser  # a shrinking real teacher is told its pull by `set_pull`
    fake: Denoiser
    fake_loss: Callable[[Tensor, Tensor, Tensor, Condition], Tensor]
    """(x clean (B, *S), eps (B, *S), t (B,), cond) -> (B,): the network's native loss, unreduced, at F_t(x)."""
    path: "Path"
    cfg_weight: float
    reward: Callable[[Tensor, Condition], Tensor] | None = None  # (x (B, *S), cond) -> (B,), higher is better
    logit: Callable[[Tensor, Tensor, Condition], Tensor] | None = None
    """Discriminator on the fake's features: (x_t, t, cond) -> (B,) logits, positive means real."""
    pairs: Callable[["Noise"], tuple[Tensor, Tensor, Condition]] | None = None
    """Teacher ODE pairs for the tether: noise -> (z (B, *S), x (B, *S), cond)."""
    real_data: Callable[["Noise"], tuple[Tensor, Condition]] | None = None
    """Real samples for the discriminator: noise -> (x (B, *S), cond)."""
    set_pull: Callable[[float], None] | None = None
    stream: Stream | None = None  # the student, where it makes clips chunk by chunk: rollouts ask it and not `student`
    gather: Callable[[Tensor], Tensor] = lambda rows: rows
    """(b,) of this rank -> the rows of all ranks in rank order; the identity in one process."""


class Path(Protocol):
    """alpha_t and sigma_t; see amd.distill.path."""

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """t (B,) -> alpha (B,), sigma (B,), float64."""
        ...

    def add_noise(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """F_t(x) = alpha_t x + sigma_t eps."""
        ...


class Noise(Protocol):
    """Every random number of a step; see amd.distill.noise."""

    def at(self, phase: str, part: tuple[int, int] = (0, 1)) -> "Noise":
        """The draws of another phase of the same iteration, cut to one micro-batch (index, of how many)."""
        ...

    def own(self, values: Tensor) -> Tensor:
        """(rows of the part over all ranks,) -> (b,): this rank's."""
        ...

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """(b, *shape), this rank's rows of the global draw."""
        ...

    def uniform(self, purpose: str, *, shared: int = 1) -> Tensor:
        """(b,) float64 in [0, 1), one value per `shared` consecutive rows of the global batch."""
        ...

    def integers(self, purpose: str, high: int, *, shared: int = 1) -> Tensor:
        """(b,) int64 in [0, high), one value per `shared` consecutive rows of the global batch."""
        ...

    def integer(self, purpose: str, high: int) -> int:
        """One integer in [0, high), the same on every rank and in every part."""
        ...
