"""R(x, label) = log p(label | x) of DINOv2 with its linear ImageNet head: what DMDR's SiT script calls its DINO reward.

torch.hub's dinov2_vitl14_lc reads the class tokens of the last four blocks and the mean patch token of the last one
(facebookresearch/dinov2, hub/classifiers.py, layers=4; a head for the last block alone exists too). Own module in the
parameter names of the published .pth files. Shapes: x (B, 3, H, H) in [-1, 1]; N = 1 + 16 * 16 tokens, D width.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amd.distill.types import Condition
from amd.rewards.base import Material
from amd.rewards.classifier import log_probability

SIDE = 224  # pixels the classifier looks at
PATCH = 14
HEAD_WIDTH = 64  # of attention, in every published DINOv2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
OFFSET = 0.1  # hub models resize their position table with scale (grid + 0.1) / 37
NORM_EPS = 1e-6


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        q, k, v = self.qkv(x).unflatten(2, (3, -1, HEAD_WIDTH)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two layers, exact GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    """x * gamma."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return x * self.gamma


class Block(nn.Module):
    """Pre-norm attention and MLP, each with a layer scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.attn, self.ls1 = nn.LayerNorm(width, NORM_EPS), Attention(width), LayerScale(width)
        self.norm2, self.mlp, self.ls2 = nn.LayerNorm(width, NORM_EPS), Mlp(width), LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """Pixels to patch tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, PATCH)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, H) -> (B, (H / 14)^2, D)."""
        return self.proj(x).flatten(2).transpose(1, 2)


class Dinov2(nn.Module):
    """The backbone; its size is read off the weights."""

    def __init__(self, width: int, depth: int, positions: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, positions, width))
        self.mask_token = nn.Parameter(torch.empty(1, width))  # in the file, never read here
        self.patch_embed = PatchEmbed(width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, NORM_EPS)

    def forward(self, x: Tensor, last: int) -> list[Tensor]:
        """Normalised (B, 3, H, H) -> the `last` blocks' states after the final norm, each (B, N, D)."""
        patches = self.patch_embed(x)
        tokens = torch.cat((self.cls_token.expand(len(x), -1, -1), patches), 1)
        tokens = tokens + self.positions(math.isqrt(patches.shape[1]))
        states = []
        for block in self.blocks:
            tokens = block(tokens)
            states.append(tokens)
        return [self.norm(state) for state in states[-last:]]

    def positions(self, grid: int) -> Tensor:
        """The position table resized to a grid, (1, 1 + grid * grid, D), exactly as the hub's models do it."""
        own = math.isqrt(self.pos_embed.shape[1] - 1)
        if own == grid:
            return self.pos_embed
        table = self.pos_embed[:, 1:].float().unflatten(1, (own, own)).permute(0, 3, 1, 2)
        factor = (grid + OFFSET) / own
        resized = F.interpolate(table, scale_factor=(factor, factor), mode="bicubic")
        return torch.cat((self.pos_embed[:, :1].float(), resized.flatten(2).transpose(1, 2)), 1)


class Dinov2Reward(nn.Module):
    """log p(label | x) over the head's classes; differentiable in x, its own weights are fixed."""

    differentiable = True

    def __init__(self, network: Dinov2, head: nn.Linear) -> None:
        super().__init__()
        width = network.pos_embed.shape[2]
        self.network, self.head = network, head
        self.layers = head.in_features // width - 1
        if head.in_features != (1 + self.layers) * width or not 1 <= self.layers <= len(network.blocks):
            raise ValueError(
                f"a head that reads {head.in_features} features does not fit a DINOv2 of width {width} and depth "
                f"{len(network.blocks)}: it reads the class tokens of the last n blocks and one mean, (1 + n) x {width}"
            )
        self.precision = "float32"
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor, cond: Condition) -> Tensor:
        """x (B, 3, H, H) in [-1, 1], cond {"label": (B,)} -> (B,), at most 0."""
        return log_probability(self.logits(x), cond["label"])

    def logits(self, x: Tensor) -> Tensor:
        """(B, classes) float32."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            states = self.network(preprocess(x), self.layers)
            tokens = [state[:, 0] for state in states] + [states[-1][:, 1:].mean(1)]
            return self.head(torch.cat(tokens, 1)).float()


def preprocess(x: Tensor) -> Tensor:
    """[-1, 1] -> what DINOv2 reads: to [0, 1] and clamped, ImageNet-normalised, then bicubic with antialias to 224.

    In this order, as DMDR has it (train_sitxl_refl_deepspeed.py:497, utils.py DINOv2ProcessorWithGrad).
    """
    unit = ((x.float() + 1) / 2).clamp(0, 1)
    mean, std = (unit.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return F.interpolate((unit - mean) / std, size=(SIDE, SIDE), mode="bicubic", antialias=True)


def published(material: Material) -> Dinov2Reward:
    """From the two public files: the backbone (dinov2_vitl14_pretrain.pth) and its linear head.

    ValueError names a file that is missing, holds other keys, or was made for other classes.
    """
    if len(material.files) != 2:
        raise ValueError(
            "reward 'dinov2' needs two assets in the domain's file: the backbone (dinov2_vitl14_pretrain.pth) and the "
            f"head (dinov2_vitl14_linear4_head.pth); got {[file.name for file in material.files]}"
        )
    backbone_file, head_file = material.files
    weights, linear = _tensors(backbone_file), _tensors(head_file)
    if set(linear) != {"weight", "bias"} or "pos_embed" not in weights:
        raise ValueError(f"{backbone_file} and {head_file} are not DINOv2's backbone and linear head, in this order")
    if linear["weight"].shape[0] != material.classes:
        raise ValueError(f"{head_file} is for {linear['weight'].shape[0]} classes, the domain has {material.classes}")
    positions, width = weights["pos_embed"].shape[1:]
    depth = len({name.split(".")[1] for name in weights if name.startswith("blocks.")})
    with torch.device("meta"):  # nothing is initialised only to be overwritten
        network = Dinov2(width, depth, positions)
        head = nn.Linear(linear["weight"].shape[1], linear["weight"].shape[0])
    _load(network, weights, backbone_file)
    _load(head, linear, head_file)
    return Dinov2Reward(network, head)


def _load(module: nn.Module, weights: Mapping[str, Tensor], file: Path) -> None:
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if wrong := sorted(dict(own.items() ^ given.items())):
        raise ValueError(f"{file}: {len(wrong)} weights are missing, unexpected or of another shape: {wrong[:3]}")
    module.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)


def _tensors(file: Path) -> dict[str, Tensor]:
    content = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{file}: not a state dict of tensors")
    return dict(content)
