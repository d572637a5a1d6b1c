"""VBench's measures of a clip's own pixels and features: steadiness, likeness of its frames, whether anything moves.

Source: Vchitect/VBench@45e79ec, vbench/{subject_consistency,temporal_flickering,dynamic_degree,motion_smoothness}.py
and static_filter.py. Clips are uint8 (n, 3, F, H, W), in [0, 255].
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

RATE = 8  # frames per second at which motion is looked for
FASTEST = 0.05  # share of a picture's places whose mean speed is the picture's


def consistency(features: Tensor) -> Tensor:
    """Features of frames (n, F, D) -> (n,): mean over frames of the likeness to the one before and to the first.

    subject_consistency reads DINO's features, background_consistency CLIP's. Similarities are cosines, none below 0.
    """
    if features.shape[1] < 2:
        raise ValueError("a clip of one frame has no neighbours to be like")
    frames = F.normalize(features.double(), dim=-1)
    to_last = (frames[:, 1:] * frames[:, :-1]).sum(-1).clamp_min(0)
    to_first = (frames[:, 1:] * frames[:, :1]).sum(-1).clamp_min(0)
    return ((to_last + to_first) / 2).mean(1)


def over_frames(values: Sequence[float], frames: Sequence[int]) -> float:
    """Consistencies of videos -> the number of one process, a mean over all frames but each video's first.

    Several processes average over videos instead: the same where all videos are of a length.
    """
    pairs = [count - 1 for count in frames]
    return sum(value * count for value, count in zip(values, pairs, strict=True)) / sum(pairs)


def steadiness(clips: Tensor) -> Tensor:
    """temporal_flickering: (255 - mean absolute difference of neighbours) / 255, (n,). Meant for still scenes."""
    _check(clips, 2)
    levels = clips.short()
    steps = (levels[:, :, 1:] - levels[:, :, :-1]).abs_()
    return (255 - steps.sum((1, 2, 3, 4), dtype=torch.int64).double() / steps[0].numel()) / 255


class Rule(NamedTuple):
    """From when on a video moves."""

    interval: int  # every so manieth frame is looked at
    frames: int  # that are left
    threshold: float  # pixels between two of them
    pairs: int  # that are faster, from which on it does


def dynamic_rule(height: int, width: int, frames: int, fps: float) -> Rule:
    """dynamic_degree: of 16 frames 4 pairs above 6 pixels per 256 of the shorter side."""
    interval = max(1, round(fps / RATE))
    left = -(-frames // interval)
    return Rule(interval, left, 6.0 * (min(height, width) / 256.0), round(4 * (left / 16.0)))


def moves(speeds: Sequence[float], rule: Rule) -> bool:
    """Whether as many pairs are above the threshold. Two frames need no pair, so they move whatever they show."""
    return bool(speeds) and sum(speed > rule.threshold for speed in speeds) >= rule.pairs


def static_rule(height: int, width: int, frames: int) -> Rule:
    """The filter of videos for temporal_flickering, of every frame."""
    return Rule(1, frames, 3.0 * (min(height, width) / 256.0), round(2 * (frames / 16.0)))


def is_static(speeds: Sequence[float], rule: Rule) -> bool:
    """Speeds of the pairs, then from the first frame to the last and back -> whether the video stands still."""
    *pairs, there, back = speeds
    far = rule.threshold * rule.pairs * 2
    return sum(speed > rule.threshold for speed in pairs) <= rule.pairs and there <= far and back <= far


def fastest(flow: Tensor, share: float = FASTEST) -> Tensor:
    """Flow (..., 2, H, W) in pixels -> (...): mean length of the longest vectors."""
    lengths = flow.double().norm(dim=-3).flatten(-2)
    return lengths.topk(int(lengths.shape[-1] * share), dim=-1).values.mean(-1)


def likeness(clips: Tensor, between: Tensor) -> Tensor:
    """motion_smoothness: (255 - mean absolute difference of the odd frames from those put in their place) / 255, (n,).

    `between` (n, 3, K, H, W) are interpolated between the even frames; clips have 2 K + 1 frames or one more.
    """
    _check(clips, 3)
    odd = clips[:, :, 1::2][:, :, : between.shape[2]]
    if odd.shape != between.shape:
        raise ValueError(f"{tuple(between.shape)} frames in the place of the odd ones of {tuple(clips.shape)}")
    return (255 - (odd.double() - between.double()).abs().mean((1, 2, 3, 4))) / 255


def _check(clips: Tensor, frames: int) -> None:
    if clips.ndim != 5 or clips.shape[1] != 3 or clips.dtype != torch.uint8 or clips.shape[2] < frames:
        wanted = f"uint8 (n, 3, F, H, W) with {frames} frames or more"
        raise ValueError(f"clips are {wanted}, not {clips.dtype} {tuple(clips.shape)}")
