"""Motion without a network: where a block of one picture is found in another, for clips too small for RAFT or AMT.

Every place's surroundings are compared with those of the other picture under each shift, and the least mean squared
difference wins (full search); a parabola through it and its neighbours gives the fraction of a pixel. Flow (N, 2, H, W)
is by x and y in pixels, y downwards.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SAME = 64.0  # mean squared difference under which a place stands still: 8 levels of 255
GAIN = 0.4  # share of the difference that a shift may leave; noise alone leaves more
PER_PIXEL = 2.0  # what each pixel of a shift must gain, in the same measure: of equal matches the nearest


def reach(height: int, width: int) -> int:
    """Pixels that are searched each way: an eighth of the shorter side, and no more than 8, since all are tried."""
    return min(8, max(2, min(height, width) // 8))


def block(height: int, width: int) -> int:
    """Side of the surroundings that are compared, in pixels: odd, about a quarter of the shorter side."""
    return 2 * max(1, min(height, width) // 8) + 1


def flow(one: Tensor, other: Tensor) -> Tensor:
    """Pictures (N, 3, H, W) in [0, 255] -> how far each place of `one` has moved in `other`, (N, 2, H, W)."""
    far = reach(*one.shape[-2:])
    return _best(_costs(one.float(), other.float(), far, both=False), far)


def between(one: Tensor, other: Tensor) -> Tensor:
    """The picture halfway from `one` to `other`, (N, 3, H, W): the mean of both along the motion through each place.

    Bilateral: block x - d of `one` is compared with block x + d of `other`, so no place is left empty.
    """
    one, other = one.float(), other.float()
    far = max(1, reach(*one.shape[-2:]) // 2)
    shift = _best(_costs(one, other, far, both=True), far)
    return (_moved(one, -shift) + _moved(other, shift)) / 2


def _costs(one: Tensor, other: Tensor, far: int, both: bool) -> Tensor:
    """(N, S, S, H, W): mean squared difference of the blocks under shifts of -far ... far by y and x."""
    height, width = one.shape[-2:]
    side = block(height, width)
    padded = [F.pad(picture, (far,) * 4, mode="replicate") for picture in (one, other)]

    def shifted(picture: Tensor, y: int, x: int) -> Tensor:
        return picture[..., far + y : far + y + height, far + x : far + x + width]

    rows = []
    for y in range(-far, far + 1):
        for x in range(-far, far + 1):
            there = shifted(padded[1], y, x)
            here = shifted(padded[0], -y, -x) if both else one
            squares = (there - here).square().mean(1, keepdim=True)
            rows.append(F.avg_pool2d(squares, side, 1, side // 2, count_include_pad=False)[:, 0])
    return torch.stack(rows, 1).unflatten(1, (2 * far + 1, 2 * far + 1))


def _best(costs: Tensor, far: int) -> Tensor:
    """(N, S, S, H, W) -> shifts (N, 2, H, W), to a fraction of a pixel."""
    size = 2 * far + 1
    line = torch.arange(-far, far + 1, device=costs.device, dtype=costs.dtype)
    lengths = (line[:, None].square() + line.square()).sqrt()
    best = (costs + PER_PIXEL * lengths[:, :, None, None]).flatten(1, 2).argmin(1)  # (N, H, W)
    y, x = best // size, best % size
    flat = costs.flatten(1, 2)

    def cost(y: Tensor, x: Tensor) -> Tensor:
        return flat.gather(1, (y * size + x)[:, None])[:, 0]

    least = cost(y, x)

    def valley(before: Tensor, after: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        """Where the bottom is from the best whole shift, and how far below."""
        bend = before + after - 2 * least
        fits = inside & (bend > SAME / 8)  # a flat valley has no bottom
        at = torch.where(fits, (before - after) / (2 * bend.clamp_min(1e-6)), 0.0).clamp(-0.5, 0.5)
        return at, at * (before - after) / 4

    last = size - 1
    dy, below = valley(cost((y - 1).clamp_min(0), x), cost((y + 1).clamp_max(last), x), (y > 0) & (y < last))
    dx, beside = valley(cost(y, (x - 1).clamp_min(0)), cost(y, (x + 1).clamp_max(last)), (x > 0) & (x < last))
    nothing = costs[:, far, far]
    still = (nothing < SAME) | (least - below - beside > GAIN * nothing)
    found = torch.stack((line[x] + dx, line[y] + dy), 1)
    return torch.where(still[:, None], 0.0, found)


def _moved(picture: Tensor, by: Tensor) -> Tensor:
    """Picture (N, 3, H, W) read at each place + `by` (N, 2, H, W), bilinear; beyond the border as at it."""
    height, width = picture.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=picture.device, dtype=picture.dtype),
        torch.arange(width, device=picture.device, dtype=picture.dtype),
        indexing="ij",
    )
    at = torch.stack(((x + by[:, 0]) * 2 / (width - 1) - 1, (y + by[:, 1]) * 2 / (height - 1) - 1), -1)
    return F.grid_sample(picture, at, mode="bilinear", padding_mode="border", align_corners=True)
