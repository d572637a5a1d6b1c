"""One update of one role: backward, average over ranks, clip, and a step of its optimiser only where all is finite."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from amd.config.load import Run
from amd.distill.step import Phase
from amd.train.cast import Company, optimiser_of
from amd.train.devices import Ranks
from amd.train.weights import rising

CLIP = 1.0  # of the gradient's norm per update (DMDR, train_sitxl_refl_deepspeed.py), but where a track has its own


class NonFinite(FloatingPointError):
    """A loss or a gradient that is not a number; no weight has moved since the last good state plus whole updates."""


def learning_rate(base: float, iteration: int, iterations: int, warmup: float) -> float:
    """Constant after a linear rise over the first `warmup` of the run; iteration 0 is not at rate 0."""
    rising = warmup * iterations
    return base if iteration + 1 >= rising else base * (iteration + 1) / rising


def clip_of(run: Run) -> float:
    """The gradient's greatest norm."""
    own = optimiser_of(run)
    return own.clip if own else CLIP


def averaging(run: Run, done: int) -> float:
    """The decay of the student's average after `done` updates: `rising`; where the track says when an average begins, 0
    before that, so that it is the student itself, and the system's own from there."""
    own = optimiser_of(run)
    if own is None or own.averaged_from is None:
        return rising(run.system.ema, done)
    return run.system.ema if done >= round(own.averaged_from * run.stage_iterations) else 0.0


@dataclass
class Optimise:
    """Moves one role at a time, and only where everything is finite."""

    company: Company
    ranks: Ranks
    clip: float = CLIP
    where: str = ""  # for the message: what is being trained, at which iteration
    last_good: Path | None = None
    _loss: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, phase: Phase) -> dict[str, float]:
        """Backward; after an update's last micro-batch average over ranks, clip, check, step, forget all gradients.

        Returns the update's loss and gradient norm, or nothing before the last micro-batch.
        """
        phase.loss.backward()
        so_far = self._loss.pop(phase.role, None)
        loss = phase.loss.detach() if so_far is None else so_far + phase.loss.detach()
        if not phase.last:
            self._loss[phase.role] = loss
            return {}
        parameters = self.parameters(phase.role)
        loss = self.ranks.average(parameters, loss)
        norm = nn.utils.clip_grad_norm_(parameters, self.clip)
        if isinstance(norm, DTensor):  # of all ranks' parts
            norm = norm.full_tensor()
        values = {"loss": float(loss), "gradient": float(norm)}
        for what, value in values.items():
            if not math.isfinite(value):
                last = f"the last good state is {self.last_good}" if self.last_good else "there is no state yet"
                raise NonFinite(
                    f"{self.where}: the {phase.role}'s {what} is {value}; stopped before its optimiser moved; {last}"
                )
        self.company.optimisers[phase.role].step()
        for optimiser in self.company.optimisers.values():  # also of what a force leaked into
            optimiser.zero_grad(set_to_none=True)
        return values

    def parameters(self, role: str) -> list[nn.Parameter]:
        """What the role's optimiser moves."""
        return [p for group in self.company.optimisers[role].param_groups for p in group["params"]]
