"""R independent runs trained as one: one batch, one backward, one optimiser step for all of them.

Shapes: R runs of B rows, rows in (run, row) order. A run is a method and a seed; what it is stacked with does not
change it (up to the rounding of a batched matrix product): its weights and its draws follow from its own seed, its W is
normalised over its own rows, Adam moves each weight by itself, and the loss is the sum of the runs' own.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from amd.backbones.toy import MLP2D, Mixture, Student2D
from amd.config.schema.sizes import PlaneSizes
from amd.distill.methods import Method
from amd.distill.noise import generator
from amd.distill.stack import stack
from amd.distill.step import Batch, Phase, step
from amd.distill.types import Cast, Condition, Conditioning, Denoiser
from amd.rewards.toy import Reward
from amd.train.optimise import NonFinite
from amd.train.weights import EMA, trainable

BETAS = (0.9, 0.99)  # of Adam: the targets move, a second moment over 1,000 steps would be stale
LAST_RATE = 0.03  # of the cosine that both learning rates follow
TEACHER_BATCH = 1024  # of a trained real teacher
NULL_SHARE = 0.25  # of its batch that is drawn without a class, for guidance


@dataclass(frozen=True)
class StackedNoise:
    """Draws of R runs: each run's are those of its seed alone, so methods of one seed share theirs."""

    seeds: tuple[int, ...]  # of each run
    iteration: int
    rows_each: int  # B
    phase: str = "student"
    dtype: torch.dtype = torch.float32

    def at(self, phase: str, part: tuple[int, int] = (0, 1)) -> "StackedNoise":
        """The draws of another phase; a stack is one process and one micro-batch."""
        assert part == (0, 1)
        return replace(self, phase=phase)

    def own(self, values: Tensor) -> Tensor:
        """All of them."""
        return values

    def _each(self, purpose: str, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
        made: dict[int, Tensor] = {}
        for seed in self.seeds:
            if seed not in made:
                made[seed] = draw(generator(seed, self.iteration, self.phase, purpose))
        return torch.cat([made[seed] for seed in self.seeds])

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """(R * B, *shape) standard normal."""
        return self._each(purpose, lambda g: torch.randn(self.rows_each, *shape, generator=g, dtype=self.dtype))

    def _shared(self, shared: int, draw: Callable[[int], Tensor]) -> Tensor:
        if self.rows_each % shared:
            raise ValueError(f"a run of {self.rows_each} rows does not split into groups of {shared}")
        return draw(self.rows_each // shared).repeat_interleave(shared)

    def uniform(self, purpose: str, *, shared: int = 1) -> Tensor:
        """(R * B,) float64 in [0, 1), one value per `shared` consecutive rows."""
        return self._each(
            purpose, lambda g: self._shared(shared, lambda n: torch.rand(n, generator=g, dtype=torch.float64))
        )

    def integers(self, purpose: str, high: int, *, shared: int = 1) -> Tensor:
        """(R * B,) int64 in [0, high), one value per `shared` consecutive rows."""
        return self._each(purpose, lambda g: self._shared(shared, lambda n: torch.randint(high, (n,), generator=g)))

    def integer(self, purpose: str, high: int) -> int:
        """One integer for all runs, which no seed decides: it may not depend on what is stacked."""
        return int(torch.randint(high, (1,), generator=generator(self.iteration, self.phase, purpose)))


def cosine(progress: float) -> float:
    """Share of the learning rate left at `progress` in [0, 1]: from 1 to LAST_RATE."""
    return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * progress))


def labels(rows: int, classes: int, group: int) -> Tensor:
    """(rows,) int64: consecutive groups of `group` rows take the classes in turn, so that each has its equal part."""
    return (torch.arange(rows) // group) % classes


def group_of(wanted: int | None, batch: int, classes: int) -> int:
    """K: as asked for, or the whole batch of each prompt. Raises ValueError where the batch does not split."""
    group = wanted or batch // classes
    if batch % (group * classes):
        raise ValueError(
            f"plane.batch {batch} does not split into groups of {group} for each of {classes} classes: "
            f"take a multiple of {group * classes}"
        )
    return group


class Stack:
    """Students and fake teachers of R runs, their optimisers and averages; `advance` is one iteration of all."""

    def __init__(
        self,
        methods: Sequence[Method],
        seeds: Sequence[int],
        sizes: PlaneSizes,
        real: Denoiser,
        mixture: Mixture,
        reward: Reward,
        *,
        cfg_weight: float,
        ema: float,
        group: int,
        titles: Sequence[str] = (),
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """One entry per run in `methods`, `seeds`, `titles`. Raises ValueError where methods cannot share a batch."""
        self.seeds, self.sizes, self.runs, self.dtype = tuple(seeds), sizes, len(seeds), dtype
        self.titles = list(titles) or [f"run {index}" for index in range(self.runs)]
        self.classes = mixture.classes
        shape = (sizes.width, sizes.depth, self.classes)
        self.modules: dict[str, nn.Module] = {
            "student": Student2D(sizes.latent, *shape, [generator(seed, "student") for seed in seeds]).to(dtype),
            "fake": MLP2D(*shape, [generator(seed, "fake") for seed in seeds]).to(dtype),
        }
        self.optimisers = {
            role: torch.optim.Adam(module.parameters(), betas=BETAS, fused=True)
            for role, module in self.modules.items()
        }
        self.ema = EMA(self.modules["student"], ema)
        self.method = stack(list(methods), sizes.batch)
        label = labels(sizes.batch, self.classes, group).repeat(self.runs)
        asked = Conditioning({"label": label}, {"label": torch.full_like(label, self.classes)}, group)
        self.batch = Batch(lambda noise: asked, (sizes.latent,))
        fake = self.modules["fake"]
        assert isinstance(fake, MLP2D)
        self.cast = Cast(
            student=self.modules["student"],
            real=real,
            fake=fake,
            fake_loss=fake.native_loss,
            path=mixture.path,
            cfg_weight=cfg_weight,
            reward=reward,
        )

    def advance(self, iteration: int, iterations: int) -> None:
        """One student update and its fake updates, of every run. Raises NonFinite before an optimiser moves."""
        progress = iteration / iterations
        for role, base in (("student", self.sizes.lr), ("fake", self.sizes.fake_lr)):
            self.optimisers[role].param_groups[0]["lr"] = base * cosine(progress)
        noise = StackedNoise(self.seeds, iteration, self.sizes.batch, dtype=self.dtype)
        for phase in step(self.method, self.cast, self.batch, noise, progress=progress):
            self._update(phase, iteration)
            if phase.role == "student":
                self.ema.update()

    def _update(self, phase: Phase, iteration: int) -> None:
        (phase.loss * self.runs).backward()  # the mean over all rows, back to a sum over runs of each one's mean
        parameters = trainable(self.modules[phase.role])
        norms = torch.stack(torch._foreach_norm([p.grad for p in parameters if p.grad is not None]))
        if not torch.isfinite(norms.sum()):
            raise NonFinite(
                f"iteration {iteration}: the {phase.role}'s gradient is not finite in {self._blame(parameters)}; "
                "stopped before its optimiser moved"
            )
        self.optimisers[phase.role].step()
        for optimiser in self.optimisers.values():
            optimiser.zero_grad(set_to_none=True)

    def _blame(self, parameters: list[nn.Parameter]) -> str:
        """Which runs: the first dimension of every weight."""
        finite = torch.stack([p.grad.flatten(1).isfinite().all(1) for p in parameters if p.grad is not None]).all(0)
        return ", ".join(title for title, good in zip(self.titles, finite.tolist(), strict=True) if not good)

    @torch.no_grad()
    def sample(self, label: Tensor) -> Tensor:
        """(n,) labels -> (R, n, 2): every run's averaged student on the noise of its seed, the same at every call."""
        n = label.shape[0]
        noise = StackedNoise(self.seeds, 0, n, "evaluation", dtype=self.dtype)
        z, asked = noise.normal("z", (self.sizes.latent,)), {"label": label.repeat(self.runs)}
        student = self.modules["student"]
        weights = {name: tensor.to(self.dtype) for name, tensor in self.ema.complete(student).items()}
        x = torch.func.functional_call(student, weights, (z, torch.zeros(len(z)), asked))
        return x.reshape(self.runs, n, 2)


def train_teacher(mixture: Mixture, sizes: PlaneSizes, seed: int = 0) -> MLP2D:
    """A real teacher that was trained on samples of the mixture: velocity matching, a share of them without a class."""
    network = MLP2D(sizes.width, sizes.depth, mixture.classes, [generator(seed, "teacher")])
    optimiser = torch.optim.Adam(network.parameters(), betas=BETAS, fused=True)
    ema = EMA(network, 0.99)
    label = torch.arange(TEACHER_BATCH) % mixture.classes
    label[torch.arange(TEACHER_BATCH) < NULL_SHARE * TEACHER_BATCH] = mixture.classes
    cond: Condition = {"label": label}
    for iteration in range(sizes.teacher_iterations):
        optimiser.param_groups[0]["lr"] = sizes.fake_lr * cosine(iteration / sizes.teacher_iterations)
        source = generator(seed, "teacher", iteration)
        x, eps = mixture.sample(label, source), torch.randn(TEACHER_BATCH, 2, generator=source)
        t = torch.rand(TEACHER_BATCH, generator=source, dtype=torch.float64)
        loss = network.native_loss(x, eps, t, cond).mean()
        if not torch.isfinite(loss):
            raise NonFinite(f"the plane's teacher, iteration {iteration}: its loss is {float(loss)}")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        ema.update()
    network.load_state_dict(ema.complete(network))
    return network.requires_grad_(False)
