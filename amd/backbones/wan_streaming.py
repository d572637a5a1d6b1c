"""Wan as a causal student: a clip comes chunk by chunk, and each chunk reads the clean frames before it.

What is remembered of the past is a value and not a buffer: a tuple of tensors without graph, handed to the blocks as an
ordinary input. So no gradient reaches an earlier chunk, a block that is computed again in the backward pass reads what
it read before, and a clip may be of any length. Keys are kept after their rotation by the absolute number of their
frame. A chunk reads the first `sink` frames, the last ones before it, and itself, `window` frames in all
(Self-Forcing, arXiv 2506.08009; the sink is LongLive's, arXiv 2509.22622, NVlabs/LongLive wan/modules/causal_model.py).

Shapes as in amd.backbones.wan, whose parameters and names these are; c = `streaming.chunk` frames.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from amd.backbones.wan import States, Wan
from amd.backbones.wan_block import Past, Read
from amd.config.schema.sizes import Streaming, WanSize
from amd.distill.path import to_x0
from amd.distill.types import Condition


class Memory(NamedTuple):
    """What is known of the frames before: at most window - chunk of them, the sink's first."""

    start: int  # number of the frame that comes next
    blocks: tuple[Past, ...]


class StreamingWan(Wan):
    """The causal network. A `Stream` of amd.distill.types, and a backbone for whole clips.

    `predict_x0` of a clip runs it chunk by chunk, each reading the network's own prediction of the frames before.
    `native_loss` is teacher forcing: every chunk reads the clean frames before it, in one forward pass (`masked`).
    """

    streams = True

    def __init__(
        self,
        size: WanSize,
        shape: tuple[int, int, int, int],
        streaming: Streaming,
        *,
        first_frame: bool | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(size, shape, first_frame=first_frame, seed=seed)
        self.streaming, self.chunk = streaming, streaming.chunk
        self.recent = streaming.window - streaming.sink - streaming.chunk  # frames before a chunk besides the sink
        self.places = self.grid[0] * self.grid[1]  # tokens of a frame
        self._chunks(self.frames)

    # --- chunk by chunk ----------------------------------------------------------------------------------------------

    def empty(self, rows: int) -> Memory:
        """What is known before the first frame of `rows` clips."""
        weight = self.network.proj_out.weight
        dtype = torch.bfloat16 if self.precision == "bfloat16" else weight.dtype
        nothing = torch.empty(rows, 0, self.width, device=weight.device, dtype=dtype)
        return Memory(0, (Past(nothing, nothing),) * self.depth)

    def predict(self, x_t: Tensor, t: Tensor, cond: Condition, context: Memory) -> Tensor:
        """x_t (B, C, c, H, W), the next chunk at t (B,) -> x0_hat of it, float32."""
        return self._x0(self._next(x_t, t, cond, context), x_t, t)

    def remember(self, x0: Tensor, cond: Condition, context: Memory) -> Memory:
        """The chunk (B, C, c, H, W), looked at as clean, joins what is known; what leaves the window is forgotten."""
        return self._remembered(x0, cond, context)

    def _x0(self, states: States, x_t: Tensor, t: Tensor) -> Tensor:
        return to_x0(self.path, self.last(states), x_t, t, "velocity")

    @torch.no_grad()
    def _remembered(self, x0: Tensor, cond: Condition, context: Memory) -> Memory:
        clean = torch.ones(x0.shape[0], dtype=torch.float64, device=x0.device)
        own = self._next(x0.detach(), clean, cond, context, keep=True).own
        blocks = (
            Past(*(self._kept(torch.cat(pair, 1)) for pair in zip(past, new, strict=True)))
            for past, new in zip(context.blocks, own, strict=True)
        )
        return Memory(context.start + self.chunk, tuple(blocks))

    def _next(
        self,
        x: Tensor,
        t: Tensor,
        cond: Condition,
        context: Memory,
        *,
        layers: tuple[int, ...] = (),
        keep: bool = False,
    ) -> States:
        if x.shape[2] != self.chunk:
            raise ValueError(f"a chunk of {x.shape[2]} frames: streaming.chunk is {self.chunk}")
        frames = range(context.start, context.start + self.chunk)
        return self.run(x, t, cond, frames=frames, past=context.blocks, layers=layers, keep=keep)

    def _kept(self, tokens: Tensor) -> Tensor:
        """(B, M, D) -> those of the sink, and of as many frames before the next chunk as are left of the window."""
        sink = min(self.streaming.sink * self.places, tokens.shape[1])
        recent = max(sink, tokens.shape[1] - self.recent * self.places)
        return torch.cat((tokens[:, :sink], tokens[:, recent:]), 1)

    # --- in one pass -------------------------------------------------------------------------------------------------

    def masked(self, clean: Tensor, x_t: Tensor, t_frames: Tensor, cond: Condition) -> Tensor:
        """Teacher forcing: clean, x_t (B, C, F, H, W), t_frames (B, F) -> x0_hat of every chunk, (B, C, F, H, W).

        One forward pass over the clean clip and the noisy one behind it: a clean chunk reads clean frames up to itself,
        a noisy one the clean frames before it and itself, within the window. Equal to `predict` on each chunk after
        `remember` of the clean chunks before it; only that here the weights get a gradient by the clean frames too.
        """
        sigma = (1 - t_frames)[:, None, :, None, None].to(x_t)
        return x_t + sigma * self._masked(clean, x_t, t_frames, cond)

    def _masked(self, clean: Tensor, x_t: Tensor, t_frames: Tensor, cond: Condition) -> Tensor:
        """x - eps of the noisy clip."""
        frames = range(clean.shape[2])
        times = torch.cat((torch.ones_like(t_frames), t_frames), 1)
        x = torch.cat((clean, x_t), 2)
        states = self.run(x, times, cond, frames=[*frames, *frames], reads=self.reads(len(frames)))
        return self.last(states)[:, :, len(frames) :]

    def reads(self, frames: int) -> tuple[Read, ...]:
        """Who reads whom among the tokens of `frames` clean frames and as many noisy ones behind them."""
        found = []
        for behind in (0, frames):
            for chunk in range(self._chunks(frames)):
                start = chunk * self.chunk
                sink = min(self.streaming.sink, start)
                own = (behind + start, behind + start + self.chunk)
                spans = ((0, sink), (max(sink, start - self.recent), start), own)
                found.append(Read(*self._tokens_of(own), tuple(self._tokens_of(span) for span in spans)))
        return tuple(found)

    def _tokens_of(self, span: tuple[int, int]) -> tuple[int, int]:
        return span[0] * self.places, span[1] * self.places

    def _chunks(self, frames: int) -> int:
        if frames % self.chunk:
            raise ValueError(f"{frames} latent frames are not whole chunks of {self.chunk} (streaming.chunk)")
        return frames // self.chunk

    # --- as a backbone -----------------------------------------------------------------------------------------------

    def predict_x0(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """x_t (B, C, F, H, W), t (B,) -> x0_hat (B, C, F, H, W) float32, of any number of chunks.

        Each chunk reads the prediction of those before it, without gradient: at t = 0 a clip from noise in one step.
        """
        return torch.cat([x0 for x0, _ in self._along(x_t, t, cond, ())], 2)

    def native_loss(self, x: Tensor, eps: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """x, eps (B, C, F, H, W), t (B,) of all frames -> (B,): mean squared velocity error under teacher forcing."""
        x_t = self.path.add_noise(x, eps, t)
        v = self._masked(x, x_t, t[:, None].expand(-1, x.shape[2]), cond)
        return (v - (x - eps)).square().flatten(1).mean(1)

    def features(self, x_t: Tensor, t: Tensor, cond: Condition, layers: tuple[int, ...]) -> tuple[Tensor, ...]:
        """Hidden states after the blocks `layers` as `predict_x0` makes them, each (B, N, D) float32."""
        self.check_layers(layers)
        states = [hidden for _, hidden in self._along(x_t, t, cond, layers)]
        return tuple(torch.cat([hidden[layer] for hidden in states], 1) for layer in layers)

    def _along(
        self, x_t: Tensor, t: Tensor, cond: Condition, layers: tuple[int, ...]
    ) -> list[tuple[Tensor, dict[int, Tensor]]]:
        """x0_hat of every chunk, and its hidden states."""
        context, found = self.empty(x_t.shape[0]), []
        every = tuple(range(self.depth)) if layers else ()
        last = self._chunks(x_t.shape[2]) - 1
        for chunk in range(last + 1):
            x = x_t[:, :, chunk * self.chunk : (chunk + 1) * self.chunk]
            states = self._next(x, t, cond, context, layers=every)
            x0 = self._x0(states, x, t)
            found.append((x0, {layer: states.hidden[layer] for layer in layers}))
            if chunk < last:  # nobody reads the last one
                context = self._remembered(x0, cond, context)
        return found
