"""What every network family turns into: x0_hat = predict_x0(x_t, t, cond), and its own training loss.

Shapes: B rows, S the latent's shape (C, H, W) or (2,) on the plane. Time: t = 0 noise, t = 1 clean; a family whose
published weights run the other way is converted at its own door (amd.backbones.keymaps).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from typing import Literal

from torch import Tensor, nn

from amd.distill.path import Discrete, Linear
from amd.distill.types import Condition

Precision = Literal["float32", "bfloat16"]

BACKBONES: dict[str, str] = {
    "sit": "amd.backbones.sit:SiTBackbone",
    "mlp2d": "amd.backbones.toy:MLP2D",
    "unet": "amd.backbones.unet:UNetBackbone",
    "wan": "amd.backbones.wan:WanBackbone",
    "wan-streaming": "amd.backbones.wan_streaming:StreamingWan",
}
"""Name in a system's file -> module:class, imported when it is asked for."""


class Backbone(nn.Module, ABC):
    """A network at the door. Results are float32 whatever `precision` the network computes in."""

    path: Linear | Discrete
    precision: Precision
    width: int  # D of `features`
    depth: int  # `features` takes layers 0 .. depth - 1
    streams: bool = False  # makes a clip chunk by chunk (`amd.distill.types.Stream`)
    recompute: bool = False  # blocks are run again in the backward pass, for less memory
    lora_targets: tuple[str, ...] = ("attn.qkv", "attn.proj")
    """Ends of the names of the layers that `amd.backbones.adapters.add_lora` adapts: the attention's, in and out."""

    def forward(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """`predict_x0`."""
        return self.predict_x0(x_t, t, cond)

    @abstractmethod
    def predict_x0(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """x_t (B, *S), t (B,) -> x0_hat (B, *S)."""

    @abstractmethod
    def native_loss(self, x: Tensor, eps: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """x clean (B, *S), eps (B, *S), t (B,) -> (B,): the family's own loss, mean over S, unreduced."""

    @abstractmethod
    def features(self, x_t: Tensor, t: Tensor, cond: Condition, layers: tuple[int, ...]) -> tuple[Tensor, ...]:
        """Hidden states after the blocks `layers`, each (B, N, D), in the order asked for."""

    @abstractmethod
    def null(self, cond: Condition) -> Condition:
        """The condition of classifier-free guidance's unconditional half: same keys and shapes."""

    def critic(self, seed: int = 0) -> nn.Module:
        """A fresh discriminator: `critic(self.features(x_t, t, cond, critic.layers))` -> (B,) logits, 0 at first."""
        from amd.backbones.critic import Critic

        return Critic(self.width, self.depth, seed=seed)


def fill(module: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Load `weights`, which must fit exactly; they are assigned, so a module on the meta device becomes real.

    ValueError names `source` and the first keys that are missing, unexpected, or of another shape.
    """
    own = module.state_dict()
    shapes = [
        f"{name} is {tuple(weights[name].shape)} and should be {tuple(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    complaints = {"missing": sorted(own.keys() - weights.keys()), "unexpected": sorted(weights.keys() - own.keys())}
    found = [f"{len(names)} {kind}: {', '.join(names[:3])}" for kind, names in complaints.items() if names]
    if shapes:
        found.append(f"{len(shapes)} of another shape: {', '.join(shapes[:3])}")
    if found:
        raise ValueError(f"{source}: its weights are not those of this {type(module).__name__}; {'; '.join(found)}")
    module.load_state_dict(dict(weights), assign=True)


def backbone(name: str) -> type[Backbone]:
    """The class behind a name of BACKBONES."""
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}; known: {', '.join(sorted(BACKBONES))}")
    module, attribute = BACKBONES[name].split(":")
    return getattr(import_module(module), attribute)
