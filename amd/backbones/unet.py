"""The UNet of Stable Diffusion: diffusers' own module at the door, so that every public SD1.5 and SDXL folder loads.

It predicts eps on the discrete path of 1,000 levels. The parameters are diffusers' own, under `network.`; the forward
pass is run block by block here, because a critic reads the bottleneck without the half behind it, and because the last
layer is to be in float32 (at the noisiest level x0 = (x_t - sigma eps) / alpha multiplies its rounding by 15).

Shapes: B rows, C x H x H latents, L text tokens of width D, P the pooled text's width.
Conditions: "tokens" (B, L, D); "mask" (B, L) bool, true where a token is to be read, where there is one; SDXL reads
"pooled" (B, P) and "time_ids" (B, 6) = (height, width, top, left, target height, target width) in pixels as well.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from amd.backbones.base import Backbone
from amd.backbones.bottleneck import BottleneckCritic
from amd.backbones.recompute import recomputed
from amd.config.schema.sizes import UNetSize
from amd.distill.noise import generator
from amd.distill.path import Discrete, to_x0
from amd.distill.types import Condition

LEVELS, FIRST, LAST = 1000, 0.00085, 0.012  # Stable Diffusion's table of betas, linear in their square root
TIME_IDS, TIME_ID_WIDTH = 6, 256  # SDXL's micro-conditioning: how many numbers, and the width each is embedded in
HIDDEN = -10_000.0  # added to the scores of tokens that are not to be read, as diffusers does


def stable_diffusion_path() -> Discrete:
    """The table of SD1.5 and SDXL, rounded as diffusers rounds it: schedulers compute it in float32."""
    betas = torch.linspace(FIRST**0.5, LAST**0.5, LEVELS, dtype=torch.float32, device="cpu") ** 2
    return Discrete(torch.cumprod(1 - betas, 0))


def settings(size: UNetSize, channels: int, side: int) -> dict[str, Any]:
    """The arguments of diffusers' UNet2DConditionModel; what is not named here is as in both published models."""
    crossed = [depth > 0 for depth in size.transformers]
    pooled = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": TIME_ID_WIDTH,
        "projection_class_embeddings_input_dim": (size.pooled or 0) + TIME_IDS * TIME_ID_WIDTH,
    }
    return {
        "sample_size": side,
        "in_channels": channels,
        "out_channels": channels,
        "block_out_channels": list(size.channels),
        "layers_per_block": size.layers,
        "down_block_types": ["CrossAttnDownBlock2D" if cross else "DownBlock2D" for cross in crossed],
        "up_block_types": ["CrossAttnUpBlock2D" if cross else "UpBlock2D" for cross in reversed(crossed)],
        # the bottleneck has as many as the innermost block, and at least one (SD1.5's innermost block has none)
        "transformer_layers_per_block": [max(depth, 1) for depth in size.transformers],
        "attention_head_dim": list(size.heads),  # diffusers' historical name for the number of heads
        "cross_attention_dim": size.context,
        "use_linear_projection": size.linear_projection,
        "norm_num_groups": size.groups,
        **(pooled if size.pooled else {}),
    }


class Attend:
    """A diffusers attention processor: their result; on a CPU with the softmax written out.

    The fused kernel's backward pass takes half of a training step there (as in amd.backbones.sit).
    """

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """hidden_states (B, N, D), what is read (B, L, E) or itself, mask (B, 1, L) to add to scores -> (B, N, D)."""
        read = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = attn.to_q(hidden_states), attn.to_k(read), attn.to_v(read)
        if query.device.type == "cpu":
            out = written_out(query, key, value, attn.heads, attention_mask)
        else:
            q, k, v = (x.unflatten(2, (attn.heads, -1)).transpose(1, 2) for x in (query, key, value))
            mask = None if attention_mask is None else attention_mask[:, None].to(q.dtype)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        return attn.to_out[0](out)


def written_out(query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt d + mask) v for (B, N, D), (B, L, D), (B, L, D), mask (B, 1, L) -> (B, N, D)."""
    batch, tokens, width = query.shape
    head = width // heads
    q, k, v = (
        x.view(batch, -1, heads, head).transpose(1, 2).reshape(batch * heads, -1, head) for x in (query, key, value)
    )
    scores = torch.bmm(q * head**-0.5, k.transpose(1, 2)).float()
    if mask is not None:
        scores = (scores.unflatten(0, (batch, heads)) + mask[:, None]).flatten(0, 1)
    out = torch.bmm(scores.softmax(2).to(v.dtype), v)
    return out.view(batch, heads, tokens, head).transpose(1, 2).reshape(batch, tokens, width)


class Encoded(NamedTuple):
    """What the first half leaves for the second."""

    state: Tensor  # (B, channels[-1], h, h), the bottleneck
    skips: tuple[Tensor, ...]
    time: Tensor  # (B, 4 channels[0])
    tokens: Tensor
    mask: Tensor | None


class UNetBackbone(Backbone):
    """diffusers' UNet2DConditionModel at the door: x0_hat in float32 from a network that computes in `precision`.

    `channels` and `side` are those of the latents the network sees. On the meta device nothing is initialised.
    """

    path: Discrete
    depth = 1  # the bottleneck is the only layer of `features`
    # DMD2's, sd_unified_model.py: all but the embeddings, stem and last layer. A branch on the attention alone cannot
    # follow a student's colours, which the outer block makes without any attention
    lora_targets = (
        *("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
        *("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj"),
    )

    def __init__(self, size: UNetSize, channels: int, side: int, *, seed: int = 0) -> None:
        super().__init__()
        halvings = len(size.channels) - 1
        if side % 2**halvings:
            raise ValueError(f"latent side {side} is not a multiple of {2**halvings}, as {halvings + 1} blocks need")
        self.size, self.channels, self.side = size, channels, side
        self.width, self.bottleneck = size.channels[-1], side >> halvings
        self.path = stable_diffusion_path()
        self.precision = "float32"
        self.network = UNet2DConditionModel(**settings(size, channels, side))
        self.network.set_attn_processor(Attend())
        if not self.network.conv_out.weight.is_meta:
            self.initialise(seed)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """torch's own initialisation from one seed, zeros where residual branches end (ADM), a way straight through."""
        draw = generator(seed, "unet", "weights")
        for name, module in self.network.named_modules():
            if not isinstance(module, nn.Linear | nn.Conv2d):
                continue
            if name == "conv_out" or name.endswith((".conv2", ".proj_out")):
                nn.init.zeros_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
                continue
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=draw)
            if module.bias is not None:
                bound = module.weight[0].numel() ** -0.5
                nn.init.uniform_(module.bias, -bound, bound, generator=draw)
        self._open()

    def _open(self) -> None:
        """Let a fresh network say eps = x_t / rms(x_t), which is right where t is small, and not 0.

        x0 is its error times 15 there, so that a short training would be spent on learning to copy. The way is x_t and
        -x_t in two channels of conv_in, the first skip, and silu(a) - silu(-a) = a in the last layer.
        """
        into, out, blocks = self.network.conv_in, self.network.conv_out, self.network.up_blocks
        shortcut = blocks[-1].resnets[-1].conv_shortcut  # reads (state, conv_in's output)
        skip = shortcut.in_channels - into.out_channels
        for channel in range(min(self.channels, into.out_channels // 2)):
            for place, sign in ((2 * channel, 1.0), (2 * channel + 1, -1.0)):
                for layer in (into, shortcut):
                    nn.init.zeros_(layer.weight[place])
                    nn.init.zeros_(layer.bias[place])
                into.weight[place, channel, 1, 1] = sign
                shortcut.weight[place, skip + place] = 1.0
                out.weight[channel, place, 1, 1] = sign

    @property
    def recompute(self) -> bool:
        """Trade time for memory: blocks are run again in the backward pass."""
        return self.network.is_gradient_checkpointing

    @recompute.setter
    def recompute(self, on: bool) -> None:
        if on:
            self.network.enable_gradient_checkpointing(recomputed)
        else:
            self.network.disable_gradient_checkpointing()

    def eps(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """The noise the network sees in x_t, (B, C, H, H) float32."""
        with self._autocast(x_t):
            state = self._decode(self._encode(x_t, t, cond))
        with torch.autocast(x_t.device.type, enabled=False):
            return self.network.conv_out(self.network.conv_act(self.network.conv_norm_out(state.float())))

    def predict_x0(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """x_t (B, C, H, H), t (B,) -> x0_hat = (x_t - sigma eps) / alpha, (B, C, H, H) float32."""
        return to_x0(self.path, self.eps(x_t, t, cond), x_t, t, "eps")

    def native_loss(self, x: Tensor, eps: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """x, eps (B, C, H, H), t (B,) -> (B,): mean squared error of the predicted noise at F_t(x)."""
        return (self.eps(self.path.add_noise(x, eps, t), t, cond) - eps).square().flatten(1).mean(1)

    def features(self, x_t: Tensor, t: Tensor, cond: Condition, layers: tuple[int, ...] = (0,)) -> tuple[Tensor, ...]:
        """The bottleneck (B, width, h, h) float32, as a tuple of one; the second half is not run."""
        if layers != (0,):
            raise ValueError(f"feature layers {layers}: a UNet has its bottleneck alone, (0,)")
        with self._autocast(x_t):
            return (self._encode(x_t, t, cond).state.float(),)

    def null(self, cond: Condition) -> Condition:
        """Refused: what stands for no text is the text encoder's to say."""
        raise NotImplementedError("a UNet has no null condition of its own: ask its text encoder's null(rows)")

    def critic(self, seed: int = 0) -> nn.Module:
        """DMD2's head on the bottleneck."""
        return BottleneckCritic(self.width, self.bottleneck, seed=seed)

    def _encode(self, x_t: Tensor, t: Tensor, cond: Condition) -> Encoded:
        """conv_in, the blocks on the way down and the middle one."""
        network, mask = self.network, cond.get("mask")
        with torch.autocast(
            x_t.device.type, enabled=False
        ):  # as in amd.backbones.sit: neighbouring levels differ by little
            time = network.time_embedding(network.get_time_embed(x_t, self.path.index(t)))
            if self.size.pooled:
                added = {"text_embeds": cond["pooled"], "time_ids": cond["time_ids"]}
                time = time + network.get_aug_embed(time, cond["tokens"], added)
        tokens, time = self._cast(cond["tokens"]), self._cast(time)  # once here, not in every layer
        bias = None if mask is None else HIDDEN * (~mask)[:, None].to(x_t.dtype)
        state = network.conv_in(x_t)
        skips: tuple[Tensor, ...] = (state,)
        for block in network.down_blocks:
            state, left = block(state, time, **_context(block, tokens, bias))
            skips += left
        return Encoded(
            network.mid_block(state, time, **_context(network.mid_block, tokens, bias)), skips, time, tokens, bias
        )

    def _decode(self, encoded: Encoded) -> Tensor:
        """The blocks on the way up -> (B, channels[0], H, H)."""
        state, skips, time, tokens, bias = encoded
        for block in self.network.up_blocks:
            count = len(block.resnets)
            state = block(state, skips[-count:], time, **_context(block, tokens, bias))
            skips = skips[:-count]
        return state

    def _cast(self, x: Tensor) -> Tensor:
        return x.to(torch.bfloat16 if self.precision == "bfloat16" else torch.float32)

    def _autocast(self, x: Tensor) -> torch.autocast:
        return torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")


def _context(block: nn.Module, tokens: Tensor, bias: Tensor | None) -> dict[str, Tensor | None]:
    """The arguments that only blocks with cross-attention take."""
    if not getattr(block, "has_cross_attention", False):
        return {}
    return {"encoder_hidden_states": tokens, "encoder_attention_mask": bias}
