"""The weights that are kept beside a module: its trainable part, and their exponential moving average.

Of a sharded module (`amd.train.sharding`) they are sharded alike; what is loaded is whole.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from amd.train.sharding import like, part


def _copy_into(own: dict[str, Tensor], state_dict: dict[str, Tensor]) -> None:
    if own.keys() != state_dict.keys():
        missing, unknown = sorted(own.keys() - state_dict.keys()), sorted(state_dict.keys() - own.keys())
        raise ValueError(f"weights do not fit: missing {missing[:5]}, unexpected {unknown[:5]}")
    with torch.no_grad():
        for name, tensor in own.items():
            if tensor.shape != state_dict[name].shape:
                raise ValueError(f"{name} has shape {tuple(state_dict[name].shape)}, wanted {tuple(tensor.shape)}")
            part(tensor).copy_(part(like(tensor, state_dict[name])))


def trainable(*modules: nn.Module) -> list[nn.Parameter]:
    """Parameters that an optimiser moves, each once."""
    found = {id(p): p for module in modules for p in module.parameters() if p.requires_grad}
    return list(found.values())


class Trainable:
    """The part of a module that training moves: what a state must hold of a LoRA on a frozen network."""

    def __init__(self, module: nn.Module) -> None:
        """Which parameters are trainable is read now."""
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise ValueError(f"{type(module).__name__} has no trainable parameter")

    def state_dict(self) -> dict[str, Tensor]:
        """Name -> values (not copies)."""
        return {name: p.detach() for name, p in self.parameters.items()}

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Copied in place; names and shapes must be the same."""
        _copy_into({name: p.detach() for name, p in self.parameters.items()}, state_dict)


def rising(decay: float, done: int) -> float:
    """The decay after `done` updates: min(decay, (1 + done) / (10 + done)), so that an average forgets a far start.

    A warm start begins as the teacher, whose one step is far from where some updates take it: a constant decay would
    leave a tenth of that network in the average of a short run.
    """
    return min(decay, (1 + done) / (10 + done))


class EMA:
    """shadow <- decay * shadow + (1 - decay) * weights, in float32, begun at the weights of the start."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        """`decay` per iteration, in [0, 1)."""
        if not 0 <= decay < 1:
            raise ValueError(f"an EMA decay of {decay} is not in [0, 1)")
        self.decay = decay
        self._live = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
        self.shadow = {name: p.float().clone() for name, p in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Once per optimiser step."""
        live = [part(p).float() for p in self._live.values()]
        torch._foreach_lerp_([part(shadow) for shadow in self.shadow.values()], live, 1 - self.decay)

    def state_dict(self) -> dict[str, Tensor]:
        """Name -> average (not copies)."""
        return self.shadow

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Copied in place; names and shapes must be the same."""
        _copy_into(self.shadow, state_dict)

    def complete(self, module: nn.Module) -> dict[str, Tensor]:
        """`module`'s state dict with the averages in place of the weights: what an artefact holds."""
        return {name: self.shadow.get(name, tensor) for name, tensor in module.state_dict().items()}


@contextmanager
def frozen(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Forward passes inside record no gradient for `parameters`, though it may flow through them to their inputs."""
    before = [p.requires_grad for p in parameters]
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p, flag in zip(parameters, before, strict=True):
            p.requires_grad_(flag)
