"""A discriminator on the hidden states of a clip: as amd.backbones.critic, with neighbours in space and in time.

Shapes: hidden states (B, N, D), N = F h w tokens, frame by frame. Positive logits mean real.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amd.backbones.critic import HIDDEN, spread
from amd.distill.noise import generator


class ClipHead(nn.Module):
    """(B, N, D) -> (B,): norm, per-token map with 3 x 3 neighbours and then 3 frames, mean over tokens, one number."""

    def __init__(self, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        hidden = min(HIDDEN, width)
        self.grid = grid
        self.norm = nn.LayerNorm(width)
        self.into = nn.Linear(width, hidden)
        self.near = nn.Conv2d(hidden, hidden, 3, 1, 1)
        self.along = nn.Conv1d(hidden, hidden, 3, 1, 1)
        self.out = nn.Linear(hidden, 1)

    def forward(self, state: Tensor) -> Tensor:
        """One layer's hidden states -> (B,)."""
        x = F.silu(self.into(self.norm(state.float()))).unflatten(1, (-1, *self.grid))  # (B, F, h, w, hidden)
        rows, frames = x.shape[:2]
        x = F.silu(self.near(x.permute(0, 1, 4, 2, 3).flatten(0, 1)))  # (B F, hidden, h, w)
        x = x.flatten(2).unflatten(0, (rows, frames)).permute(0, 3, 2, 1).flatten(0, 1)  # (B h w, hidden, F)
        x = F.silu(self.along(x)).unflatten(0, (rows, -1))
        return self.out(x.mean((1, 3))).squeeze(1)


class ClipCritic(nn.Module):
    """Heads on `layers` of a backbone of that width, depth and grid (h, w) of tokens in a frame.

    Call it on `backbone.features(x_t, t, cond, critic.layers)`. Clips may be of any length.
    """

    def __init__(self, width: int, depth: int, grid: tuple[int, int], *, seed: int = 0) -> None:
        super().__init__()
        self.layers = spread(depth)
        self.heads = nn.ModuleList(ClipHead(width, grid) for _ in self.layers)
        self.initialise(seed)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Xavier matrices, zero biases, and a zero last layer: the first logits are 0, undecided."""
        draw = generator(seed, "critic", "weights")
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d) and not module.weight.is_meta:
                assert module.bias is not None
                nn.init.zeros_(module.bias)
                if name.endswith(".out"):
                    nn.init.zeros_(module.weight)
                else:
                    nn.init.xavier_uniform_(module.weight.flatten(1), generator=draw)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Hidden states of `layers`, in order -> (B,) logits."""
        return torch.stack([head(state) for head, state in zip(self.heads, states, strict=True)]).mean(0)
