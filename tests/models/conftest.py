"""The published SiT written out a second time, in float64 and in the public files' own terms, to hold ours against.

Formulas: willisma/SiT models.py (t = 1 clean, v = x - eps, variance channels thrown away) and sihyun-yu/REPA
models/sit.py (t = 1 noise, v = eps - x). Weights are dicts in the public key names.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from amd.backbones.unet import UNetBackbone
from amd.config.schema.sizes import SiTSize

sys.path.insert(0, str(Path(__file__).parent))  # makes pipelines.py, unets.py and wans.py importable

import unets
import wans

SIZE = SiTSize(patch=2, width=16, depth=3, heads=2)
CLASSES, CHANNELS, SIDE = 5, 3, 8
GRID = SIDE // SIZE.patch


def table() -> Tensor:
    """The 2-D sine-cosine position table, entry by entry."""
    width, out = SIZE.width, torch.zeros(1, GRID * GRID, SIZE.width)
    for row in range(GRID):
        for column in range(GRID):
            for part, place in enumerate((column, row)):  # MAE's meshgrid has the column first
                for i in range(width // 4):
                    angle = place / 10_000 ** (i / (width / 4))
                    out[0, row * GRID + column, part * width // 2 + i] = math.sin(angle)
                    out[0, row * GRID + column, part * width // 2 + width // 4 + i] = math.cos(angle)
    return out


def public_shapes(variance: bool) -> dict[str, tuple[int, ...]]:
    """Every key of a public file and its shape."""
    d, p, out = SIZE.width, SIZE.patch, SIZE.patch**2 * CHANNELS * (2 if variance else 1)
    shapes: dict[str, tuple[int, ...]] = {
        "pos_embed": (1, GRID * GRID, d),
        "x_embedder.proj.weight": (d, CHANNELS, p, p),
        "x_embedder.proj.bias": (d,),
        "t_embedder.mlp.0.weight": (d, 256),
        "t_embedder.mlp.0.bias": (d,),
        "t_embedder.mlp.2.weight": (d, d),
        "t_embedder.mlp.2.bias": (d,),
        "y_embedder.embedding_table.weight": (CLASSES + 1, d),
        "final_layer.linear.weight": (out, d),
        "final_layer.linear.bias": (out,),
        "final_layer.adaLN_modulation.1.weight": (2 * d, d),
        "final_layer.adaLN_modulation.1.bias": (2 * d,),
    }
    for i in range(SIZE.depth):
        for name, rows, columns in (
            ("attn.qkv", 3 * d, d),
            ("attn.proj", d, d),
            ("mlp.fc1", 4 * d, d),
            ("mlp.fc2", d, 4 * d),
            ("adaLN_modulation.1", 6 * d, d),
        ):
            shapes |= {f"blocks.{i}.{name}.weight": (rows, columns), f"blocks.{i}.{name}.bias": (rows,)}
    return shapes


def random_weights(seed: int, variance: bool) -> dict[str, Tensor]:
    """A file's worth of random weights; nothing is zero, so every path is felt."""
    draw = torch.Generator().manual_seed(seed)
    weights = {name: 0.3 * torch.randn(shape, generator=draw) for name, shape in public_shapes(variance).items()}
    return weights | {"pos_embed": table()}


def network(weights: dict[str, Tensor], x: Tensor, t: Tensor, label: Tensor) -> Tensor:
    """The public forward pass, (B, C, H, H), in float64: what the network says, in its own convention."""
    w = {name: tensor.double() for name, tensor in weights.items()}
    patch, width, heads = SIZE.patch, SIZE.width, SIZE.heads

    def linear(name: str, value: Tensor) -> Tensor:
        return value @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(value: Tensor) -> Tensor:
        centred = value - value.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()

    def silu(value: Tensor) -> Tensor:
        return value * value.sigmoid()

    def gelu(value: Tensor) -> Tensor:  # the tanh approximation
        return 0.5 * value * (1 + torch.tanh(math.sqrt(2 / math.pi) * (value + 0.044715 * value**3)))

    omega = torch.tensor([10_000 ** (-i / 128) for i in range(128)], dtype=torch.float64)
    angle = t.double()[:, None] * omega
    time = linear("t_embedder.mlp.2", silu(linear("t_embedder.mlp.0", torch.cat((angle.cos(), angle.sin()), 1))))
    c = silu(time + w["y_embedder.embedding_table.weight"][label])
    h = torch.nn.functional.conv2d(x.double(), w["x_embedder.proj.weight"], w["x_embedder.proj.bias"], stride=patch)
    h = h.flatten(2).transpose(1, 2) + w["pos_embed"]
    rows, tokens, _ = h.shape
    for i in range(SIZE.depth):
        block = f"blocks.{i}."
        parts = linear(block + "adaLN_modulation.1", c)[:, None].split(width, 2)
        a = linear(block + "attn.qkv", norm(h) * (1 + parts[1]) + parts[0]).reshape(rows, tokens, 3, heads, -1)
        q, k, v = (a[:, :, j].transpose(1, 2) for j in range(3))
        mixed = (q @ k.transpose(2, 3) / math.sqrt(width / heads)).softmax(-1) @ v
        h = h + parts[2] * linear(block + "attn.proj", mixed.transpose(1, 2).reshape(rows, tokens, width))
        inner = gelu(linear(block + "mlp.fc1", norm(h) * (1 + parts[4]) + parts[3]))
        h = h + parts[5] * linear(block + "mlp.fc2", inner)
    shift, scale = linear("final_layer.adaLN_modulation.1", c)[:, None].split(width, 2)
    out = linear("final_layer.linear", norm(h) * (1 + scale) + shift)
    image = torch.zeros(rows, out.shape[2] // patch**2, SIDE, SIDE, dtype=torch.float64)
    for n in range(tokens):
        square = out[:, n].reshape(rows, patch, patch, -1).permute(0, 3, 1, 2)
        top, left = n // GRID * patch, n % GRID * patch
        image[:, :, top : top + patch, left : left + patch] = square
    return image[:, :CHANNELS]


@pytest.fixture
def public() -> SimpleNamespace:
    """The second implementation and its size."""
    return SimpleNamespace(
        size=SIZE,
        classes=CLASSES,
        channels=CHANNELS,
        side=SIDE,
        shapes=public_shapes,
        weights=random_weights,
        network=network,
        table=table,
    )


@pytest.fixture
def batch() -> Callable[[int], tuple[Tensor, Tensor, Tensor, Tensor]]:
    """rows -> x, eps (B, C, H, H), t (B,) float64 kept off the ends, label (B,) with the null label among them."""

    def make(rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        draw = torch.Generator().manual_seed(7)
        x, eps = torch.randn(2, rows, CHANNELS, SIDE, SIDE, generator=draw).unbind(0)
        t = 0.05 + 0.9 * torch.rand(rows, generator=draw, dtype=torch.float64)
        return x, eps, t, torch.arange(rows) % (CLASSES + 1)

    return make


@pytest.fixture(params=[unets.LARGE, unets.SMALL], ids=["sdxl", "sd15"])
def unet(request: pytest.FixtureRequest) -> UNetBackbone:
    """SDXL and SD1.5, small, of random weights."""
    return wans.stirred(UNetBackbone(request.param, unets.CHANNELS, unets.SIDE))
