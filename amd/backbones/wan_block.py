"""A block of Wan's transformer: diffusers' own layers under their own names, with a forward pass that can be told what
self-attention reads. Norms, modulation and the residual stream are float32 whatever the matrices compute in.

Shapes: B rows; N tokens of width D, frame by frame; L text tokens; T is 1, or the number of frames where each has a
time of its own; d = D / heads. Source: diffusers transformer_wan.py; Wan-Video/Wan2.1 wan/modules/model.py.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from diffusers.models.transformers.transformer_wan import WanAttention, WanTransformerBlock
from torch import Tensor, nn

from amd.backbones.gelu import gelu
from amd.backbones.rms import rms_norm

MAX_PERIOD = 10_000.0
HIDDEN = -10_000.0  # added to the scores of text tokens that are not to be read


class Turn(NamedTuple):
    """Cosine and sine of every token's rotation, (1, N, 1, d / 2) each."""

    cosine: Tensor
    sine: Tensor


class Text(NamedTuple):
    """What cross-attention reads."""

    states: Tensor  # (B, L, D)
    bias: Tensor | None  # (B, 1, L), added to scores
    image: Tensor | None  # (B, M, D), the states of a first frame


class Past(NamedTuple):
    """Keys (rotated) and values of the tokens before, as one block's self-attention reads them: (B, M, D) each."""

    keys: Tensor
    values: Tensor


class Read(NamedTuple):
    """Tokens first .. last - 1 of the sequence read those of the spans, and no others."""

    first: int
    last: int
    spans: tuple[tuple[int, int], ...]


def exact(x: Tensor) -> torch.dtype:
    """The precision of what must not be rounded: float32, and float64 where x is."""
    return torch.promote_types(x.dtype, torch.float32)


def rotations(frames: Sequence[int], height: int, width: int, head: int, like: Tensor) -> Turn:
    """Of the tokens of `frames` (absolute numbers, any), each of height x width places, for heads of that width.

    A third of the width turns by the row, a third by the column, and what is left by the frame.
    """
    place = 2 * (head // 6)
    parts, here = [], torch.device("cpu")  # whatever the default is: of a network without values too
    for positions, share, view in (
        (torch.tensor(list(frames), device=here), head - 2 * place, (-1, 1, 1)),
        (torch.arange(height, device=here), place, (1, -1, 1)),
        (torch.arange(width, device=here), place, (1, 1, -1)),
    ):
        speed = MAX_PERIOD ** (-torch.arange(0, share, 2, dtype=torch.float64, device=here) / max(share, 1))
        angle = positions.to(speed).outer(speed).view(*view, share // 2)
        parts.append(angle.expand(len(frames), height, width, -1))
    angles = torch.cat(parts, 3).reshape(1, -1, 1, head // 2)
    return Turn(angles.cos().to(like.device, exact(like)), angles.sin().to(like.device, exact(like)))


def rotate(x: Tensor, heads: int, turn: Turn) -> Tensor:
    """(B, N, D) with pairs of neighbouring channels turned."""
    pairs = x.unflatten(2, (heads, -1, 2))
    if x.device.type == "cpu":  # one pass; as seven over every second number they took a twelfth of a training step
        return torch.view_as_real(torch.view_as_complex(pairs) * torch.complex(*turn)).flatten(2)
    even, odd = pairs.unbind(-1)
    turned = even * turn.cosine - odd * turn.sine, even * turn.sine + odd * turn.cosine
    return torch.stack(turned, -1).flatten(2)


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt d + bias) v for (B, N, D), (B, L, D), (B, L, D), bias (B, 1, L) -> (B, N, D).

    On a CPU the softmax is written out: the fused kernel's backward pass takes half of a training step there.
    """
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    if query.device.type != "cpu":
        mask = None if bias is None else bias[:, None].to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
    q, k, v = (x.flatten(0, 1) for x in (q * q.shape[-1] ** -0.5, k, v))
    scores = torch.bmm(q, k.transpose(1, 2))
    scores = scores.to(exact(scores))
    if bias is not None:
        scores = (scores.unflatten(0, (-1, heads)) + bias[:, None]).flatten(0, 1)
    out = torch.bmm(scores.softmax(2).to(v.dtype), v)
    return out.unflatten(0, (-1, heads)).transpose(1, 2).flatten(2)


def modulated_norm(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    """x (B, N, D), shift and scale (B, T, D) -> norm(x) (1 + scale) + shift."""
    frames = F.layer_norm(x, x.shape[-1:], eps=eps).unflatten(1, (shift.shape[1], -1))
    return torch.addcmul(shift[:, :, None], frames, 1 + scale[:, :, None]).flatten(1, 2)


def gated(x: Tensor, gate: Tensor, out: Tensor) -> Tensor:
    """x (B, N, D), gate (B, T, D), out (B, N, D) -> x + gate out."""
    return x + (out.unflatten(1, (gate.shape[1], -1)) * gate[:, :, None]).flatten(1, 2)


def normed(x: Tensor, norm: nn.RMSNorm) -> Tensor:
    """(B, N, D) -> the same over its root mean square, times the layer's weight, unrounded."""
    x = x.to(exact(x))
    assert norm.eps is not None
    return rms_norm(x, norm.weight.to(x.dtype), norm.eps)


class Block(nn.Module):
    """Self-attention, cross-attention and MLP: the layers of a diffusers block, taken over by their names."""

    def __init__(self, block: WanTransformerBlock) -> None:
        super().__init__()
        self.heads, self.eps = block.attn1.heads, block.norm1.eps
        self.attn1, self.attn2, self.norm2, self.ffn = block.attn1, block.attn2, block.norm2, block.ffn
        self.scale_shift_table = block.scale_shift_table

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        text: Text,
        turn: Turn,
        past: Past | None = None,
        reads: Sequence[Read] | None = None,
        keep: bool = False,
    ) -> tuple[Tensor, Past | None]:
        """x (B, N, D), time (B, T, 6, D) -> x, and the tokens' own keys (rotated) and values where they are to be kept.

        Every token reads all of `past` and of its own sequence; where there are `reads`, they say who reads what.
        """
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (self.scale_shift_table + time).unbind(2)
        seen, own = self._self_attention(modulated_norm(x, shift_a, scale_a, self.eps), turn, past, reads)
        x = gated(x, gate_a, seen)
        norm = self.norm2
        x = x + self._cross_attention(
            F.layer_norm(x, x.shape[-1:], norm.weight.to(x.dtype), norm.bias.to(x.dtype), norm.eps), text
        )
        up, down = self.ffn.net[0].proj, self.ffn.net[2]
        x = gated(x, gate_m, down(gelu(up(modulated_norm(x, shift_m, scale_m, self.eps)))))
        return x, own if keep else None

    def _self_attention(
        self, x: Tensor, turn: Turn, past: Past | None, reads: Sequence[Read] | None
    ) -> tuple[Tensor, Past]:
        attn: WanAttention = self.attn1
        values = attn.to_v(x)
        query, keys = (
            rotate(normed(layer(x), norm), self.heads, turn).to(values.dtype)
            for layer, norm in ((attn.to_q, attn.norm_q), (attn.to_k, attn.norm_k))
        )
        read = own = Past(keys, values)
        if past is not None:
            read = Past(torch.cat((past.keys, keys), 1), torch.cat((past.values, values), 1))
        if reads is None:
            out = attend(query, *read, self.heads)
        else:
            parts = [
                attend(query[:, r.first : r.last], _taken(read.keys, r.spans), _taken(read.values, r.spans), self.heads)
                for r in reads
            ]
            out = torch.cat(parts, 1)
        return attn.to_out[0](out), own

    def _cross_attention(self, x: Tensor, text: Text) -> Tensor:
        attn: WanAttention = self.attn2
        values = attn.to_v(text.states)
        query = normed(attn.to_q(x), attn.norm_q).to(values.dtype)
        keys = normed(attn.to_k(text.states), attn.norm_k).to(values.dtype)
        out = attend(query, keys, values, self.heads, text.bias)
        if text.image is not None:
            keys = normed(attn.add_k_proj(text.image), attn.norm_added_k).to(values.dtype)
            out = out + attend(query, keys, attn.add_v_proj(text.image), self.heads)
        return attn.to_out[0](out)


def _taken(x: Tensor, spans: Sequence[tuple[int, int]]) -> Tensor:
    """The tokens of the spans, in their order."""
    return torch.cat([x[:, first:last] for first, last in spans], 1)
