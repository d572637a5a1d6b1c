"""A discriminator on the fake teacher's hidden states: one small head per layer, their logits averaged.

DMD2 puts a convolutional head on the bottleneck of its fake UNet; a transformer has no bottleneck, so heads read the
tokens after a few blocks, as GANs on transformer features do. Positive logits mean real.
Shapes: hidden states (B, N, D), N = grid * grid tokens.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amd.distill.noise import generator

HIDDEN = 128  # at most; a narrower network has narrower heads


class Head(nn.Module):
    """(B, N, D) -> (B,): norm, per-token map with its 3 x 3 neighbourhood, mean over tokens, one number."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = min(HIDDEN, width)
        self.norm = nn.LayerNorm(width)
        self.into = nn.Linear(width, hidden)
        self.near = nn.Conv2d(hidden, hidden, 3, 1, 1)
        self.out = nn.Linear(hidden, 1)

    def forward(self, state: Tensor) -> Tensor:
        """One layer's hidden states -> (B,)."""
        batch, tokens, _ = state.shape
        side = round(tokens**0.5)
        x = F.silu(self.into(self.norm(state.float())))
        x = x.transpose(1, 2).reshape(batch, -1, side, side)
        return self.out(F.silu(self.near(x)).mean((2, 3))).squeeze(1)


class Critic(nn.Module):
    """Heads on `layers` of a backbone of that width and depth; call it on `backbone.features(x_t, t, cond, layers)`."""

    def __init__(self, width: int, depth: int, *, seed: int = 0) -> None:
        super().__init__()
        self.layers = spread(depth)
        self.heads = nn.ModuleList(Head(width) for _ in self.layers)
        self.initialise(seed)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Xavier matrices, zero biases, and a zero last layer: the first logits are 0, undecided."""
        draw = generator(seed, "critic", "weights")
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d) and not module.weight.is_meta:
                nn.init.xavier_uniform_(module.weight.flatten(1), generator=draw)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        for head in self.heads:
            assert isinstance(head, Head)
            nn.init.zeros_(head.out.weight)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Hidden states of `layers`, in order -> (B,) logits."""
        return torch.stack([head(state) for head, state in zip(self.heads, states, strict=True)]).mean(0)


def spread(depth: int) -> tuple[int, ...]:
    """Up to three layers, evenly spaced, the last one included: 0-based, ascending."""
    count = min(3, depth)
    return tuple((depth * (i + 1)) // count - 1 for i in range(count))
