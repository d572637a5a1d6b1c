"""An iteration as the training loop runs it, around any step; and networks whose every weight counts."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from amd.distill.methods import Method
from amd.distill.noise import Noise
from amd.distill.step import Batch, step
from amd.distill.types import Cast


class Loop:
    """`cast` with the optimisers of its student and its fake, on a batch of `rows`."""

    def __init__(self, cast: Cast, batch: Batch, rows: int, optimisers: Mapping[str, Optimizer]) -> None:
        self.cast, self.batch, self.rows, self.optimisers = cast, batch, rows, optimisers

    def noise(self, iteration: int) -> Noise:
        """The draws of an iteration."""
        return Noise(0, iteration, self.rows)

    def iterate(self, method: Method, iteration: int) -> None:
        """Every phase of one iteration: backward, and where a phase is its role's last, an update."""
        for phase in step(method, self.cast, self.batch, self.noise(iteration), progress=0.0):
            phase.loss.backward()
            if phase.last:
                self.update(phase.role)

    def update(self, role: str) -> None:
        """Clip, step, zero."""
        optimiser = self.optimisers[role]
        nn.utils.clip_grad_norm_(optimiser.param_groups[0]["params"], 1.0)
        optimiser.step()
        for each in self.optimisers.values():
            each.zero_grad(set_to_none=True)

    def update_alone(self) -> None:
        """The student's update, on gradients of which those that are missing are made."""
        for parameter in self.optimisers["student"].param_groups[0]["params"]:
            if parameter.grad is None:
                parameter.grad = torch.full_like(parameter, 1e-3)
        self.update("student")


@torch.no_grad()
def wake(network: nn.Module, seed: int = 7) -> None:
    """A fresh network ends its branches, or itself, in zeros, and computes nothing: move every weight off them."""
    draw = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.add_(0.02 * torch.randn(parameter.shape, generator=draw))


@torch.no_grad()
def without_graph(network: Callable[..., Tensor], *arguments: object) -> None:
    """A forward pass as a rollout, a teacher or a reward makes it."""
    network(*arguments)
