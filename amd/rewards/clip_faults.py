"""Clips spoiled on purpose, so that what is wrong with them is known: faults of the look, and faults of the motion.

Shapes: B clips x (B, 3, F, H, W) float in [-1, 1]; boxes (B, F, 4) of one object each, as shares of width and height.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from amd.distill.noise import Noise


class Given(NamedTuple):
    """What a fault is made of, one row each."""

    x: Tensor
    other: Tensor  # another clip
    mate: Tensor  # the clip's twin
    boxes: Tensor
    strength: Tensor  # (B, 1, 1, 1, 1) in [0, 1)
    field: Tensor  # (B, 3, 4, 4) normal
    grain: Tensor  # (B, 3, F, H, W) normal
    order: Tensor  # (B, F) normal


def _blurred(it: Given) -> Tensor:
    frames = it.x.transpose(1, 2).flatten(0, 1)
    height, width = frames.shape[2:]
    small = F.interpolate(frames, (height // 4, width // 4), mode="area")
    soft = F.interpolate(small, (height, width), mode="bilinear", align_corners=False)
    soft = soft.unflatten(0, (len(it.x), -1)).transpose(1, 2)
    return it.x.lerp(soft, 0.5 + 0.5 * it.strength)


def _noisy(it: Given) -> Tensor:
    return it.x + (0.1 + 0.3 * it.strength) * it.grain


def _double(it: Given) -> Tensor:
    """A second exposure."""
    return it.x.lerp(it.other, 0.25 + 0.25 * it.strength)


def _halved(it: Given) -> Tensor:
    """Half of the object is the background, whose colour the border tells."""
    height, width = it.x.shape[3:]
    row, column = torch.arange(height).to(it.x) + 0.5, torch.arange(width).to(it.x) + 0.5
    x0, y0, x1, y1 = (it.boxes * it.boxes.new_tensor([width, height, width, height])).unbind(-1)  # (B, F)
    middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
    side = (it.strength.flatten() * 4).long()[:, None]  # which half goes: left, right, upper, lower
    x0, x1 = torch.where(side == 1, middle_x, x0), torch.where(side == 0, middle_x, x1)
    y0, y1 = torch.where(side == 3, middle_y, y0), torch.where(side == 2, middle_y, y1)
    inside = ((row >= y0[..., None] - 1) & (row <= y1[..., None] + 1))[..., :, None] & (
        (column >= x0[..., None] - 1) & (column <= x1[..., None] + 1)
    )[..., None, :]  # (B, F, H, W)
    border = torch.cat((it.x[..., 0], it.x[..., -1], it.x[..., 0, :], it.x[..., -1, :]), -1)  # (B, 3, F, .)
    ground = border.flatten(2).median(2).values[:, :, None, None, None]
    return torch.where(inside[:, None], ground, it.x)


def _blotched(it: Given) -> Tensor:
    """A smooth field of wrong colours."""
    field = F.interpolate(it.field, it.x.shape[3:], mode="bicubic", align_corners=False)
    return it.x + (0.2 + 0.3 * it.strength) * field[:, :, None]


def _shuffled(it: Given) -> Tensor:
    return _reordered(it.x, it.order.argsort(1))


def _stuck(it: Given) -> Tensor:
    """It stands, then jumps to where it would be."""
    frames = it.x.shape[2]
    time = torch.arange(frames, device=it.x.device)
    until = ((1 / 3 + it.strength.view(-1, 1) / 3) * frames).ceil()
    return _reordered(it.x, torch.where(time < until, 0, time))


def _bounced(it: Given) -> Tensor:
    """There and back again, twice as fast."""
    frames = it.x.shape[2]
    time = torch.arange(frames, device=it.x.device)
    there = torch.minimum(2 * time, 2 * (frames - 1 - time) + 1).clamp(0, frames - 1)
    return _reordered(it.x, there.expand(len(it.x), -1))


def _shaken(it: Given) -> Tensor:
    """Every frame is up to a tenth of the side off, the border repeated."""
    height, width = it.x.shape[3:]
    # two random numbers of each frame out of its two first pixels of grain
    off = (it.grain[:, :2, :, 0, 0] * (0.03 + 0.03 * it.strength[..., 0, 0])).clamp(-0.1, 0.1)  # (B, 2, F)
    row = torch.arange(height, device=it.x.device) + (off[:, 0, :, None] * height).round().long()
    column = torch.arange(width, device=it.x.device) + (off[:, 1, :, None] * width).round().long()
    batch = torch.arange(len(it.x), device=it.x.device)[:, None, None, None]
    frame = torch.arange(it.x.shape[2], device=it.x.device)[None, :, None, None]
    row, column = row.clamp(0, height - 1)[..., None], column.clamp(0, width - 1)[:, :, None]
    return it.x.movedim(1, -1)[batch, frame, row, column].movedim(-1, 1)


def _spliced(it: Given) -> Tensor:
    """Midway it becomes its twin: another thing, or one that moves otherwise."""
    half = it.x.shape[2] // 2
    return torch.cat((it.x[:, :, :half], it.mate[:, :, half:]), 2)


def _reordered(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(2, index[:, None, :, None, None].expand_as(x))


LOOKS: dict[str, Callable[[Given], Tensor]] = {
    "blurred": _blurred,
    "noisy": _noisy,
    "double": _double,
    "halved": _halved,
    "blotched": _blotched,
}
"""Each frame is wrong; the motion is the clip's."""
MOTIONS: dict[str, Callable[[Given], Tensor]] = {
    "shuffled": _shuffled,
    "stuck": _stuck,
    "bounced": _bounced,
    "shaken": _shaken,
    "spliced": _spliced,
}
"""Each frame is right; how they follow each other is wrong."""
FAULTS = LOOKS | MOTIONS
STILL = ("shaken", "spliced")  # what can be wrong with the motion of what stands still


def spoil(x: Tensor, boxes: Tensor, moves: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
    """B clips, of which rows 2 i and 2 i + 1 are twins; `moves` (B,): whether anything does -> clips of the same shapes
    with a fault each, and which (B,) int64 into FAULTS."""
    kinds, rows = list(FAULTS), torch.arange(len(x), device=x.device)
    fault = noise.integers("fault", len(kinds))
    still = torch.tensor([kinds.index(each) for each in STILL], device=x.device)[noise.integers("still", len(STILL))]
    nothing = torch.tensor([kind in MOTIONS and kind not in STILL for kind in kinds], device=x.device)[fault] & ~moves
    fault = torch.where(nothing, still, fault)
    given = Given(
        x,
        x.roll(2, 0),
        x[rows ^ 1],
        boxes,
        noise.uniform("strength").to(x.dtype)[:, None, None, None, None],
        noise.normal("field", (3, 4, 4)),
        noise.normal("grain", tuple(x.shape[1:])),
        noise.normal("order", (x.shape[2],)),
    )
    spoiled = torch.empty_like(x)
    for number, kind in enumerate(kinds):
        own = (fault == number).nonzero()[:, 0]
        if len(own):
            spoiled[own] = FAULTS[kind](Given(*(part[own] for part in given)))
    return spoiled.clamp(-1, 1), fault
