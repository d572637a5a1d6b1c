"""The same AMD step written the way one writes it first: what `benchmarks/step.py` compares ours with.

Float32, torch's own attention and GELU, one forward per question, graphs wherever nothing switches them off, AdamW as a
loop over parameters. Nothing is slowed on purpose: batches, draws, losses and the number of updates are the step's own,
and `benchmarks/step.py` checks that both move the weights to the same place.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amd.backbones.sit import SiTBackbone, time_frequencies, unpatchify
from amd.distill.noise import Noise

EPS = 1e-6


class PlainAttention(nn.Module):
    """Multi-head self-attention by torch's fused kernel."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width))


class PlainMlp(nn.Module):
    """Two layers and torch's GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """LayerNorm without weights, then shift and scale per sample."""
    return F.layer_norm(x, x.shape[-1:], eps=EPS) * (1 + scale[:, None]) + shift[:, None]


class PlainBlock(nn.Module):
    """A SiT block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn, self.mlp = PlainAttention(width, heads), PlainMlp(width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """(B, N, D), (B, D) -> (B, N, D)."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.adaLN_modulation(c).chunk(6, dim=1)
        x = x + gate_a[:, None] * self.attn(modulated(x, shift_a, scale_a))
        return x + gate_m[:, None] * self.mlp(modulated(x, shift_m, scale_m))


class PlainSiT(nn.Module):
    """SiT with the same names of weights; x0_hat from (x_t, t, label)."""

    def __init__(self, like: SiTBackbone) -> None:
        super().__init__()
        size, network = like.size, like.network
        self.patch, self.channels = size.patch, network.channels
        self.x_embedder, self.t_embedder, self.y_embedder = nn.Module(), nn.Module(), nn.Module()
        self.x_embedder.proj = nn.Conv2d(network.channels, size.width, size.patch, size.patch)
        self.t_embedder.mlp = nn.Sequential(nn.Linear(256, size.width), nn.SiLU(), nn.Linear(size.width, size.width))
        self.y_embedder.embedding_table = nn.Embedding(like.classes + 1, size.width)
        self.pos_embed = nn.Parameter(torch.empty_like(network.pos_embed), requires_grad=False)
        self.blocks = nn.ModuleList(PlainBlock(size.width, size.heads) for _ in range(size.depth))
        self.final_layer = nn.Module()
        self.final_layer.linear = nn.Linear(size.width, size.patch**2 * network.channels)
        self.final_layer.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(size.width, 2 * size.width))
        self.load_state_dict(network.state_dict())

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor) -> Tensor:
        """(B, C, H, H), (B,), (B,) -> x0_hat."""
        x = self.x_embedder.proj(x_t).flatten(2).transpose(1, 2) + self.pos_embed
        c = self.t_embedder.mlp(time_frequencies(t)) + self.y_embedder.embedding_table(label)
        for block in self.blocks:
            x = block(x, c)
        shift, scale = self.final_layer.adaLN_modulation(c).chunk(2, dim=1)
        velocity = unpatchify(self.final_layer.linear(modulated(x, shift, scale)), self.patch, self.channels)
        return x_t + (1 - t).to(x_t)[:, None, None, None] * velocity


class Straightforward:
    """One AMD iteration (recommended preset: s, k, five fake updates) on three PlainSiT."""

    def __init__(self, student: SiTBackbone, real: SiTBackbone, fake: SiTBackbone, reward: Callable, *, w: float):
        self.student, self.real, self.fake = PlainSiT(student), PlainSiT(real), PlainSiT(fake)
        self.reward, self.w, self.null = reward, w, student.classes
        self.optimiser_student = torch.optim.AdamW(self.student.parameters(), 2e-4, weight_decay=0.01, foreach=False)
        self.optimiser_fake = torch.optim.AdamW(self.fake.parameters(), 2e-4, weight_decay=0.0, foreach=False)

    def advantage(self, x: Tensor, label: Tensor, group: int) -> Tensor:
        """Eq. 12, group by group."""
        reward = self.reward(x, {"label": label}).double()
        parts = []
        for r in reward.split(group):
            sigma = r.std(correction=0)
            parts.append(((r - r.mean()) / sigma).clamp(-1, 1) if sigma > 1e-6 else torch.zeros_like(r))
        return torch.cat(parts).detach()

    def noised(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """t x + (1 - t) eps."""
        t = t.to(x)[:, None, None, None]
        return t * x + (1 - t) * eps

    def iterate(self, noise: Noise, shape: tuple[int, int, int], group: int, s: float, k: float, updates: int) -> None:
        """One student update, then `updates` fake updates, each on its own samples."""
        label = noise.integers("label", self.null, shared=group)
        start = torch.zeros(len(label), dtype=torch.float64)
        x = self.student(noise.normal("z", shape), start, label)
        a = self.advantage(x, label, group)
        t, eps = 0.02 + 0.96 * noise.uniform("t"), noise.normal("eps", shape)
        x_t = self.noised(x, eps, t)
        x_c = self.real(x_t, t, label)
        x_u = self.real(x_t, t, torch.full_like(label, self.null))
        x_f = self.fake(x_t, t, label)
        alpha, beta = (c.to(x)[:, None, None, None] for c in (1 + s * a, 1 - s * a))
        g = beta * (x_f - x_c) + alpha * (self.w - 1) * (x_u - x_c)
        n = (x - (x_u + self.w * (x_c - x_u))).abs().mean((1, 2, 3), keepdim=True)
        loss = 0.5 * ((x - (x - g / n).detach()) ** 2).mean()
        self.update(loss, self.optimiser_student)
        for index in range(updates):
            draw = noise.at(f"fake{index}")
            label = draw.integers("label", self.null, shared=group)
            x = self.student(draw.normal("z", shape), start, label)
            weight = torch.exp(-k * self.advantage(x, label, group))
            t, eps = 0.02 + 0.96 * draw.uniform("t"), draw.normal("eps", shape)
            x = x.detach()
            x_t = self.noised(x, eps, t)
            velocity = (self.fake(x_t, t, label) - x_t) / (1 - t).to(x)[:, None, None, None]
            each = ((velocity - (x - eps)) ** 2).mean((1, 2, 3))
            self.update((weight / weight.mean() * each).mean(), self.optimiser_fake)

    def update(self, loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
        """Backward, clip, step, zero."""
        loss.backward()
        torch.nn.utils.clip_grad_norm_(optimiser.param_groups[0]["params"], 1.0)
        optimiser.step()
        self.optimiser_student.zero_grad()
        self.optimiser_fake.zero_grad()
