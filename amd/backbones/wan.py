"""Wan2.1: diffusers' own transformer at the door, so that every public Wan folder loads.

It predicts eps - x on the linear path and is told 1000 (1 - t). The parameters are diffusers' own, under `network.`;
the forward pass is run block by block here, because a causal student reads frames of the past in its self-attention
(amd.backbones.wan_streaming), and because a critic reads hidden states without the half behind them.

Shapes: B rows, latents (B, C, F, H, W), patches of 1 x p x p: N = F (H / p) (W / p) tokens of width D, frame by frame.
Conditions: "tokens" (B, L, D'); "mask" (B, L) bool, true where a token is to be read, where there is one. Networks that
are told a first frame read "first" as well: its latents (B, C, H, W), zeros after it; or (B, C, F, H, W), a whole clip
of them (Wan2.1 encodes the frame with grey ones behind it). Those of a size with an image_context read its CLIP states,
"image" (B, M, D'').
"""

from abc import ABC
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import WanTransformer3DModel
from torch import Tensor, nn

from amd.backbones.base import Backbone
from amd.backbones.clip_critic import ClipCritic
from amd.backbones.recompute import recomputed
from amd.backbones.wan_block import HIDDEN, Block, Past, Read, Text, exact, modulated_norm, rotations
from amd.config.schema.sizes import WanSize
from amd.distill.noise import generator
from amd.distill.path import Linear, to_x0
from amd.distill.types import Condition

LEVELS = 1000  # Wan's time is 1000 (1 - t)
NARROWEST = 6  # a head's width: fewer channels have none that turn by row and column
MASK = 4  # channels that say which frames are given: one per frame of pixels that a latent frame stands for


def settings(size: WanSize, channels: int, first_frame: bool) -> dict[str, Any]:
    """The arguments of diffusers' WanTransformer3DModel; what is not named here is as in every published Wan2.1."""
    return {
        "patch_size": [1, size.patch, size.patch],
        "num_attention_heads": size.heads,
        "attention_head_dim": size.width // size.heads,
        "in_channels": 2 * channels + MASK if first_frame else channels,
        "out_channels": channels,
        "text_dim": size.context,
        "freq_dim": size.frequencies,
        "ffn_dim": size.ffn,
        "num_layers": size.depth,
        "image_dim": size.image_context,
        "added_kv_proj_dim": size.width if size.image_context else None,
    }


class States(NamedTuple):
    """What a pass through the blocks leaves."""

    x: Tensor  # (B, N, D), after the last block that was run
    time: Tensor  # (B, T, D)
    hidden: dict[int, Tensor]  # after the blocks that were asked for, (B, N, D) each
    own: tuple[Past, ...]  # keys and values of these tokens in each block, where they were asked for


class Wan(Backbone, ABC):
    """What the bidirectional network and the causal one share: parameters, stem, blocks, last layer.

    `shape` is that of the latents, (C, F, H, W). `first_frame`: whether it is told one; None: where the size has an
    image_context. On the meta device nothing is initialised.
    """

    path = Linear()
    lora_targets = ("to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2")

    def __init__(
        self, size: WanSize, shape: tuple[int, int, int, int], *, first_frame: bool | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        self.channels, self.frames, *sides = shape
        if any(side % size.patch for side in sides):
            raise ValueError(f"network.patch {size.patch} does not divide latents of {sides[0]} x {sides[1]}")
        if size.width // size.heads < NARROWEST:
            raise ValueError(f"a head of width {size.width // size.heads} is too narrow for three axes: {NARROWEST}")
        self.size, self.shape = size, tuple(shape)
        self.width, self.depth, self.patch = size.width, size.depth, size.patch
        self.grid = (sides[0] // size.patch, sides[1] // size.patch)
        self.first_frame = size.image_context is not None if first_frame is None else first_frame
        self.precision = "float32"
        self.recompute = False
        self.network = WanTransformer3DModel(**settings(size, self.channels, self.first_frame))
        del self.network.rope  # a table of 1,024 frames; amd.backbones.wan_block.rotations has all of them
        self.network.blocks = nn.ModuleList(Block(block) for block in self.network.blocks)
        if not self.network.proj_out.weight.is_meta:
            self.initialise(seed)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Wan's own initialisation from one seed: Xavier matrices, zero biases, and a zero last layer."""
        draw = generator(seed, "wan", "weights")
        for name, module in self.network.named_modules():
            if not isinstance(module, nn.Linear | nn.Conv3d):
                continue
            if name == "proj_out":
                nn.init.zeros_(module.weight)
            elif "text_embedder" in name or "time_embedder" in name:
                nn.init.normal_(module.weight, std=0.02, generator=draw)
            else:
                nn.init.xavier_uniform_(module.weight.flatten(1), generator=draw)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
        for name, table in self.network.named_parameters():
            if name.endswith("scale_shift_table"):
                nn.init.normal_(table, std=self.width**-0.5, generator=draw)

    def null(self, cond: Condition) -> Condition:
        """Refused: what stands for no text is the text encoder's to say."""
        raise NotImplementedError("a Wan has no null condition of its own: ask its text encoder's null(rows)")

    def critic(self, seed: int = 0) -> nn.Module:
        """Heads on the tokens of a clip."""
        return ClipCritic(self.width, self.depth, self.grid, seed=seed)

    def run(
        self,
        x: Tensor,
        t: Tensor,
        cond: Condition,
        *,
        frames: Sequence[int],
        past: Sequence[Past] | None = None,
        reads: Sequence[Read] | None = None,
        layers: Sequence[int] = (),
        keep: bool = False,
    ) -> States:
        """x (B, C, F, H, W) of the frames with these numbers, t (B,) or (B, F) -> what the blocks leave.

        `past`: what self-attention reads before, block by block; `reads`: who reads what, as in a Block. `layers`: the
        states that are wanted, after whose last the pass ends; none: all blocks are run. `keep`: give keys and values.
        """
        network, hidden, own = self.network, {}, []
        with torch.autocast(x.device.type, enabled=False):  # neighbouring levels differ by little
            state, (time, modulation) = self._tokens(self._told(x, cond, frames)), self._time(t, exact(x))
        turn = rotations(frames, *self.grid, self.width // self.size.heads, x)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            text = self._text(cond, x)
            for index, block in enumerate(network.blocks[: max(layers) + 1] if layers else network.blocks):
                inputs = (state, modulation, text, turn, None if past is None else past[index], reads, keep)
                again = self.recompute and torch.is_grad_enabled()
                state, kept = recomputed(block, *inputs) if again else block(*inputs)
                if index in layers:
                    hidden[index] = state
                if keep:
                    own.append(kept)
        return States(state, time, hidden, tuple(own))

    def last(self, states: States) -> Tensor:
        """The last layer: what the blocks left -> x - eps, (B, C, F, H, W)."""
        network, patch = self.network, self.patch
        with torch.autocast(states.x.device.type, enabled=False):
            shift, scale = (network.scale_shift_table + states.time[:, :, None]).unbind(2)
            out = network.proj_out(modulated_norm(states.x, shift, scale, network.norm_out.eps))
        out = out.unflatten(2, (patch, patch, self.channels)).unflatten(1, (-1, *self.grid))
        return -out.permute(0, 6, 1, 2, 4, 3, 5).flatten(5).flatten(3, 4)

    def check_layers(self, layers: Sequence[int]) -> None:
        """ValueError for hidden states that there are none of."""
        if not layers or not all(0 <= layer < self.depth for layer in layers):
            raise ValueError(f"feature layers {tuple(layers)}: a Wan of depth {self.depth} has 0 .. {self.depth - 1}")

    def _told(self, x: Tensor, cond: Condition, frames: Sequence[int]) -> Tensor:
        """(B, C, F, H, W) -> (B, 2 C + 4, F, H, W): with it, which frames are given, and them."""
        if not self.first_frame:
            return x
        if "first" not in cond:
            raise ValueError("this Wan is told a first frame: cond['first'] is missing")
        given = cond["first"].to(x)
        given = given[:, :, None] if given.ndim == 4 else given
        mask, shown = x.new_zeros(x.shape[0], MASK, *x.shape[2:]), torch.zeros_like(x)
        for place, frame in enumerate(frames):
            mask[:, :, place] = float(frame == 0)
            if frame < given.shape[2]:
                shown[:, :, place] = given[:, :, frame]
        return torch.cat((x, mask, shown), 1)

    def _tokens(self, x: Tensor) -> Tensor:
        """(B, C', F, H, W) -> (B, N, D): a convolution with stride = kernel, computed as the matrix product it is."""
        stem, patch = self.network.patch_embedding, self.patch
        patches = x.unflatten(4, (-1, patch)).unflatten(3, (-1, patch)).permute(0, 2, 3, 5, 1, 4, 6).flatten(4)
        return F.linear(patches.flatten(1, 3), stem.weight.flatten(1), stem.bias)

    def _time(self, t: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """t (B,) or (B, F) -> (B, T, D), and what every block makes its modulation of, (B, T, 6, D)."""
        embedder = self.network.condition_embedder
        t = t[:, None] if t.ndim == 1 else t
        steps = (LEVELS * (1 - t.double())).flatten().float()
        time = embedder.time_embedder(embedder.timesteps_proj(steps).to(dtype)).unflatten(0, t.shape)
        return time, embedder.time_proj(F.silu(time)).unflatten(2, (6, -1))

    def _text(self, cond: Condition, x: Tensor) -> Text:
        """The states as cross-attention reads them, once for all blocks."""
        embedder, mask, image = self.network.condition_embedder, cond.get("mask"), None
        if self.size.image_context is not None:
            if "image" not in cond:
                raise ValueError("this Wan reads the CLIP states of a first frame: cond['image'] is missing")
            image = embedder.image_embedder(cond["image"].to(exact(x)))
        bias = None if mask is None else HIDDEN * (~mask)[:, None].to(exact(x))
        return Text(embedder.text_embedder(cond["tokens"].to(exact(x))), bias, image)


class WanBackbone(Wan):
    """The bidirectional network: teacher, fake teacher, and a student that makes a clip at once."""

    def velocity(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """x - eps as the network sees it, (B, C, F, H, W) float32."""
        return self.last(self.run(x_t, t, cond, frames=range(x_t.shape[2])))

    def predict_x0(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """x_t (B, C, F, H, W), t (B,) -> x0_hat = x_t + (1 - t) v, (B, C, F, H, W) float32."""
        return to_x0(self.path, self.velocity(x_t, t, cond), x_t, t, "velocity")

    def native_loss(self, x: Tensor, eps: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """x, eps (B, C, F, H, W), t (B,) -> (B,): mean squared velocity error at F_t(x)."""
        v = self.velocity(self.path.add_noise(x, eps, t), t, cond)
        return (v - (x - eps)).square().flatten(1).mean(1)

    def features(self, x_t: Tensor, t: Tensor, cond: Condition, layers: tuple[int, ...]) -> tuple[Tensor, ...]:
        """Hidden states after the blocks `layers`, each (B, N, D) float32; later blocks are not run."""
        self.check_layers(layers)
        hidden = self.run(x_t, t, cond, frames=range(x_t.shape[2]), layers=layers).hidden
        return tuple(hidden[layer] for layer in layers)
