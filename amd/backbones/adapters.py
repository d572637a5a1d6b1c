"""A low-rank branch on a frozen network, and views of it: the same weights, each with its own share of the branch.

layer(x) = W x + b + scale * B(A x), B = 0 at first; of a convolution, A has its kernel and B is 1 x 1, as in peft.
The fake teacher is view(scale_f); a shrinking real teacher is another view of the same network, at a smaller scale that
goes to 0 (DMDR's DynaDG, MagicDistillation's weak branch). The scale belongs to the view and not to a call, so blocks
that are recomputed in the backward pass see the same one.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amd.backbones.base import Backbone
from amd.distill.noise import generator

M = TypeVar("M", bound=nn.Module)


class LowRank(nn.Linear):
    """A linear layer with a branch of rank r; its own weight and bias keep their names and do not train."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        nn.Module.__init__(self)  # the base's parameters are taken over, not made anew
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        device = base.weight.device
        self.lora_a = nn.Parameter(torch.empty(rank, base.in_features, dtype=torch.float32, device=device))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, rank, dtype=torch.float32, device=device))
        self.scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        out = F.linear(x, self.weight, self.bias)
        if self.scale == 0:
            return out
        return out + self.scale * F.linear(F.linear(x, self.lora_a), self.lora_b)


class LowRankConv(nn.Conv2d):
    """A convolution with a branch of rank r; its own weight and bias keep their names and do not train."""

    def __init__(self, base: nn.Conv2d, rank: int) -> None:
        nn.Module.__init__(self)
        for name in self.__constants__:  # stride, padding, ...: what a convolution is called with
            setattr(self, name, getattr(base, name))
        self._reversed_padding_repeated_twice = base._reversed_padding_repeated_twice
        self.transposed, self.weight, self.bias = base.transposed, base.weight, base.bias
        device = base.weight.device
        self.lora_a = nn.Parameter(torch.empty(rank, *base.weight.shape[1:], dtype=torch.float32, device=device))
        self.lora_b = nn.Parameter(torch.zeros(base.out_channels, rank, 1, 1, dtype=torch.float32, device=device))
        self.scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H', W')."""
        out = self._conv_forward(x, self.weight, self.bias)
        if self.scale == 0:
            return out
        return out + self.scale * F.conv2d(self._conv_forward(x, self.lora_a, None), self.lora_b)


BRANCHED = (LowRank, LowRankConv)


def add_lora(
    backbone: Backbone, rank: int, targets: Sequence[str] | None = None, *, seed: int = 0
) -> list[nn.Parameter]:
    """Freeze `backbone` and give the linear layers and convolutions called like one of `targets` a branch each.

    Returns the branches' parameters. Without `targets` they are the backbone's own. A layer narrower than `rank` gets a
    branch of its full rank. ValueError where no layer has such a name, or all are narrower than `rank`.
    """
    targets = backbone.lora_targets if targets is None else targets
    ends = tuple(f".{target}" for target in targets)
    found = [(name, layer) for name, layer in backbone.named_modules() if f".{name}".endswith(ends)]
    layers = [(name, layer) for name, layer in found if isinstance(layer, nn.Linear | nn.Conv2d)]
    if not layers:
        raise ValueError(f"no layer of {type(backbone).__name__} is called one of {tuple(targets)}")
    most = {name: min(layer.weight.shape[0], layer.weight[0].numel()) for name, layer in layers}
    if not 1 <= rank <= (widest := max(most.values())):
        raise ValueError(f"lora.rank {rank} is not in 1 .. {widest}, as the widest adapted layer allows")
    backbone.requires_grad_(False)
    draw = generator(seed, "lora", "weights")
    parameters: list[nn.Parameter] = []
    for name, layer in layers:
        if isinstance(layer, BRANCHED):
            raise ValueError(f"{name} has a low-rank branch already")
        own = min(rank, most[name])
        adapted = LowRank(layer, own) if isinstance(layer, nn.Linear) else LowRankConv(layer, own)
        if not adapted.lora_a.is_meta:
            nn.init.kaiming_uniform_(adapted.lora_a, a=math.sqrt(5), generator=draw)  # as nn.Linear draws its weights
        parent, _, leaf = name.rpartition(".")
        setattr(backbone.get_submodule(parent), leaf, adapted)
        parameters += [adapted.lora_a, adapted.lora_b]
    return parameters


def view(backbone: M, scale: float) -> M:
    """The same parameters and buffers (the very objects) in modules of its own, at its own scale."""
    shared = {id(tensor): tensor for tensor in (*backbone.parameters(), *backbone.buffers())}
    twin = copy.deepcopy(backbone, memo=dict(shared))
    set_scale(twin, scale)
    return twin


def merged(state: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """The state dict of an adapted network -> that of a plain one that computes the same: W + scale B A."""
    plain = {name: tensor for name, tensor in state.items() if not name.endswith((".lora_a", ".lora_b"))}
    for name, down in state.items():
        if name.endswith(".lora_a"):
            layer = name.removesuffix(".lora_a")
            weight = plain[f"{layer}.weight"]
            branch = state[f"{layer}.lora_b"].double().flatten(1) @ down.double().flatten(1)
            plain[f"{layer}.weight"] = (weight.double() + scale * branch.view_as(weight)).to(weight.dtype)
    return plain


def low_rank(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The branches alone of an adapted network's state dict."""
    return {name: tensor for name, tensor in state.items() if name.endswith((".lora_a", ".lora_b"))}


def set_scale(backbone: nn.Module, scale: float) -> None:
    """Set a view's share of the branch; ValueError where it has none."""
    layers = [layer for layer in backbone.modules() if isinstance(layer, BRANCHED)]
    if not layers:
        raise ValueError(f"{type(backbone).__name__} has no low-rank branch; add_lora gives it one")
    for layer in layers:
        layer.scale = scale
