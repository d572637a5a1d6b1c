"""SiT: a diffusion transformer with adaLN-zero blocks that predicts the velocity of the linear path.

Own module in the parameter names of the public checkpoints (willisma/SiT models.py, sihyun-yu/REPA models/sit.py), so
that their files load by name. It differs in one thing: the public SiT-XL/2 also predicts a variance nobody reads;
`amd.backbones.keymaps` drops those rows when it loads. Ma et al., "SiT" (arXiv 2401.08740).

Shapes: B rows, C x H x H latents, N = (H / patch)^2 tokens, D width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from amd.backbones.base import Backbone
from amd.backbones.gelu import gelu
from amd.config.schema.sizes import SiTSize
from amd.distill.noise import generator
from amd.distill.path import Linear, to_x0
from amd.distill.types import Condition

FREQUENCIES = 256  # of the time embedding, half cosines and half sines
MAX_PERIOD = 10_000
NORM_EPS = 1e-6


def time_frequencies(t: Tensor) -> Tensor:
    """t (B,) -> (B, 256): cos(t w) then sin(t w), w from 1 down to 1/10000. t is in [0, 1] and not scaled."""
    half = FREQUENCIES // 2
    omega = torch.exp(torch.arange(half, dtype=torch.float32, device=t.device) * (-math.log(MAX_PERIOD) / half))
    angle = t.float()[:, None] * omega
    return torch.cat((angle.cos(), angle.sin()), dim=1)


def position_embedding(width: int, grid: int) -> Tensor:
    """(1, grid * grid, width) float32 sine-cosine table: half of the width codes the column, half the row."""
    quarter = width // 4
    omega = 10_000.0 ** (-torch.arange(quarter, dtype=torch.float64, device="cpu") / quarter)
    angle = torch.arange(grid, dtype=torch.float64, device="cpu")[:, None] * omega
    line = torch.cat((angle.sin(), angle.cos()), dim=1)  # (grid, width / 2)
    columns, rows = line.repeat(grid, 1), line.repeat_interleave(grid, 0)
    return torch.cat((columns, rows), dim=1).float()[None]


def modulated_norm(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (B, N, D), shift and scale (B, 1, D) -> norm(x) (1 + scale) + shift; the norm alone in float32."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=NORM_EPS).to(scale.dtype), 1 + scale)


class Attention(nn.Module):
    """Multi-head self-attention, no mask."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        batch, tokens, width = x.shape
        head = width // self.heads
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, head).permute(2, 0, 3, 1, 4)  # (3, B, h, N, d)
        if x.device.type == "cpu":  # the fused kernel's bfloat16 backward takes half of a training step there
            q, k, v = qkv.reshape(3, batch * self.heads, tokens, head).unbind(0)  # one copy instead of three
            mix = torch.bmm(q * head**-0.5, k.transpose(1, 2)).float().softmax(2)  # faster than in bfloat16, too
            out = torch.bmm(mix.to(v.dtype), v).unflatten(0, (batch, self.heads))
        else:
            out = F.scaled_dot_product_attention(*qkv.unbind(0))
        return self.proj(out.transpose(1, 2).reshape(batch, tokens, width))


class Mlp(nn.Module):
    """Two layers, four times the width between them, tanh-approximated GELU as published."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return self.fc2(gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention and MLP, each behind a norm whose shift, scale and gate come from (t, label)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(width, heads)
        self.mlp = Mlp(width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """x (B, N, D), c (B, D) already through the SiLU all blocks share -> (B, N, D)."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.adaLN_modulation[1](c)[:, None].chunk(6, dim=2)
        x = x + gate_a * self.attn(modulated_norm(x, shift_a, scale_a))
        return x + gate_m * self.mlp(modulated_norm(x, shift_m, scale_m))


class FinalLayer(nn.Module):
    """Norm, modulation, and the linear map to patch * patch * C values per token."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, out)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """x (B, N, D), c (B, D) through the shared SiLU -> (B, N, patch * patch * C)."""
        shift, scale = self.adaLN_modulation[1](c)[:, None].chunk(2, dim=2)
        return self.linear(modulated_norm(x, shift, scale))


class PatchEmbedder(nn.Module):
    """Patches to tokens: a convolution with stride = kernel, computed as the matrix product it is."""

    def __init__(self, channels: int, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, H) -> (B, N, D)."""
        return F.linear(patchify(x, self.proj.kernel_size[0]), self.proj.weight.flatten(1), self.proj.bias)


def patchify(x: Tensor, patch: int) -> Tensor:
    """(B, C, H, H) -> (B, N, C * patch * patch), row by row, channels outermost (a convolution's order)."""
    batch, channels, side, _ = x.shape
    grid = side // patch
    x = x.reshape(batch, channels, grid, patch, grid, patch)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(batch, grid * grid, channels * patch * patch)


def unpatchify(tokens: Tensor, patch: int, channels: int) -> Tensor:
    """(B, N, patch * patch * C), channels innermost as the final layer has them -> (B, C, H, H)."""
    batch, count, _ = tokens.shape
    grid = math.isqrt(count)
    x = tokens.reshape(batch, grid, grid, patch, patch, channels)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(batch, channels, grid * patch, grid * patch)


class TimeEmbedder(nn.Module):
    """t -> (B, D), in float32 always: t is not scaled, so nearby times differ by little."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        """(B,) -> (B, D)."""
        with torch.autocast(t.device.type, enabled=False):
            return self.mlp(time_frequencies(t))


class LabelEmbedder(nn.Module):
    """Label -> (B, D); the row after the last class is the null label."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(classes + 1, width)

    def forward(self, label: Tensor) -> Tensor:
        """(B,) int64 -> (B, D)."""
        return self.embedding_table(label)


class SiT(nn.Module):
    """The network: (x_t, t, label) -> velocity x - eps."""

    def __init__(self, size: SiTSize, classes: int, channels: int, side: int) -> None:
        super().__init__()
        if side % size.patch:
            raise ValueError(f"network.patch {size.patch} does not divide the latent side {side}")
        if size.width % 4:
            raise ValueError(f"network.width {size.width} is not a multiple of 4, as the position table needs")
        self.patch, self.channels, self.grid = size.patch, channels, side // size.patch
        self.recompute = False  # trade time for memory: blocks are run again in the backward pass
        self.x_embedder = PatchEmbedder(channels, size.patch, size.width)
        self.t_embedder = TimeEmbedder(size.width)
        self.y_embedder = LabelEmbedder(classes, size.width)
        self.pos_embed = nn.Parameter(torch.empty(1, self.grid**2, size.width), requires_grad=False)
        self.blocks = nn.ModuleList(Block(size.width, size.heads) for _ in range(size.depth))
        self.final_layer = FinalLayer(size.width, size.patch**2 * channels)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """The published initialisation: Xavier matrices, zero biases, and zeros where adaLN-zero wants them."""
        draw = generator(seed, "sit", "weights")
        for name, module in self.named_modules():
            if not isinstance(module, nn.Linear | nn.Conv2d):
                continue
            if "adaLN_modulation" in name or name == "final_layer.linear":
                nn.init.zeros_(module.weight)
            elif name.startswith("t_embedder"):
                nn.init.normal_(module.weight, std=0.02, generator=draw)
            else:
                nn.init.xavier_uniform_(module.weight.flatten(1), generator=draw)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
        nn.init.normal_(self.y_embedder.embedding_table.weight, std=0.02, generator=draw)
        self.pos_embed.copy_(position_embedding(self.pos_embed.shape[-1], self.grid))

    def tokens(self, x_t: Tensor, t: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """The stem: residual stream (B, N, D) and the condition every block reads (B, D), both float32."""
        c = F.silu(self.t_embedder(t) + self.y_embedder(label))
        return self.x_embedder(x_t) + self.pos_embed, c

    def block(self, index: int, x: Tensor, c: Tensor) -> Tensor:
        """One block, (B, N, D) -> (B, N, D)."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self.blocks[index], x, c, use_reentrant=False, preserve_rng_state=False)
        return self.blocks[index](x, c)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor) -> Tensor:
        """x_t (B, C, H, H), t (B,) in [0, 1], label (B,) -> (B, C, H, H)."""
        x, c = self.tokens(x_t, t, label)
        for index in range(len(self.blocks)):
            x = self.block(index, x, c)
        return unpatchify(self.final_layer(x, c), self.patch, self.channels)


class SiTBackbone(Backbone):
    """SiT at the door: x0_hat in float32 from a network that computes in `precision`.

    `channels` and `side` are those of the latents the network sees. On the meta device nothing is initialised.
    """

    path = Linear()

    def __init__(self, size: SiTSize, classes: int, channels: int, side: int, *, seed: int = 0) -> None:
        super().__init__()
        self.size, self.classes, self.channels, self.side = size, classes, channels, side
        self.width, self.depth = size.width, size.depth
        self.precision = "float32"
        self.network = SiT(size, classes, channels, side)
        if not self.network.pos_embed.is_meta:
            self.network.initialise(seed)

    def velocity(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """x - eps as the network sees it, (B, C, H, H) float32."""
        with self._autocast(x_t):
            return self.network(x_t, t, cond["label"]).float()

    def predict_x0(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """x_t (B, C, H, H), t (B,) -> x0_hat = x_t + (1 - t) v, (B, C, H, H) float32."""
        return to_x0(self.path, self.velocity(x_t, t, cond), x_t, t, "velocity")

    def native_loss(self, x: Tensor, eps: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """x, eps (B, C, H, H), t (B,) -> (B,): mean squared velocity error at F_t(x)."""
        v = self.velocity(self.path.add_noise(x, eps, t), t, cond)
        return (v - (x - eps)).square().flatten(1).mean(1)

    def features(self, x_t: Tensor, t: Tensor, cond: Condition, layers: tuple[int, ...]) -> tuple[Tensor, ...]:
        """Hidden states after the blocks `layers`, each (B, N, D) float32; later blocks are not run."""
        if not layers or not all(0 <= layer < self.depth for layer in layers):
            raise ValueError(f"feature layers {layers}: a SiT of depth {self.depth} has 0 .. {self.depth - 1}")
        states: dict[int, Tensor] = {}
        with self._autocast(x_t):
            x, c = self.network.tokens(x_t, t, cond["label"])
            for index in range(max(layers) + 1):
                states[index] = x = self.network.block(index, x, c)
        return tuple(states[layer].float() for layer in layers)

    def null(self, cond: Condition) -> Condition:
        """{"label": (B,)} filled with the null label, which is the number of classes."""
        return {"label": torch.full_like(cond["label"], self.classes)}

    def _autocast(self, x: Tensor) -> torch.autocast:
        return torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")
