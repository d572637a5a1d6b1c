"""What every network family turns into: x0_hat = predict_x0(x_t, t, cond), and its own training loss.

Shapes: B rows, S the latent's shape (C, H, W) or (2,) on the plane. Time: t = 0 noise, t = 1 clean; a family whose
published weights run the other way is converted at its own door (amd.backbones.keymaps).
"""

from importlib import import_module
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from amd.distill.path import Linear
from amd.distill.types import Condition

Precision = Literal["float32", "bfloat16"]

BACKBONES: dict[str, str] = {
    "sit": "amd.backbones.sit:SiTBackbone",
    "mlp2d": "amd.backbones.toy:MLP2D",
}
"""Name in a system's file -> module:class, imported when it is asked for."""


@runtime_checkable
class Backbone(Protocol):
    """A network at the door. Results are float32 whatever `precision` the network computes in."""

    path: Linear
    precision: Precision

    def predict_x0(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """x_t (B, *S), t (B,) -> x0_hat (B, *S)."""
        ...

    def native_loss(self, x: Tensor, eps: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """x clean (B, *S), eps (B, *S), t (B,) -> (B,): the loss the family was trained with, mean over S, unreduced."""
        ...

    def features(self, x_t: Tensor, t: Tensor, cond: Condition, layers: tuple[int, ...]) -> tuple[Tensor, ...]:
        """Hidden states after the blocks `layers`, each (B, N, D), in the order asked for."""
        ...

    def null(self, cond: Condition) -> Condition:
        """The condition of classifier-free guidance's unconditional half: same keys and shapes."""
        ...


def backbone(name: str) -> type:
    """The class behind a name of BACKBONES."""
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}; known: {', '.join(sorted(BACKBONES))}")
    module, attribute = BACKBONES[name].split(":")
    return getattr(import_module(module), attribute)
