"""VBench and VBench-I2V where their networks are not at hand: clips of sprites, a detector and ImageNet features.

Formulas, thresholds and totals are VBench's. What is another's: features are EfficientNet-Lite0's (DINO), motion is
found by block matching (RAFT; AMT between frames), objects and colours by a detector trained here (GRiT), and the
direction of motion stands where VBench recognises human actions. As there, motion is asked of clips in which something
is to move and flicker of those that are to stand still. Nobody measures the other dimensions.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from amd.measure import block_matching, sprite_clips, vbench_clips, vbench_i2v
from amd.measure.judge import to_float
from amd.measure.panel import Asked, Columns
from amd.measure.video import Clips, batches, frames
from amd.rewards.detection import Detection

MOVING = ("subject_consistency", "motion_smoothness", "dynamic_degree")
VBENCH = (*MOVING, "temporal_flickering", *sprite_clips.DIMENSIONS)
VBENCH_I2V = (*MOVING, "i2v_subject")


class SpriteVBench:
    """Clips -> a value per dimension, as far as they are asked it."""

    def __init__(
        self,
        features: Callable[[Tensor], Tensor],
        detect: Callable[[Tensor], list[list[Detection]]] | None,
        fps: float,
        batch: int,
        device: torch.device,
    ) -> None:
        """features: uint8 (n, 3, H, W) -> (n, D). detect: pixels in [-1, 1] -> what is where; None: for I2V."""
        self.features, self.detect, self.fps, self.batch, self.device = features, detect, fps, batch, device

    @torch.inference_mode()
    def __call__(self, clips: Clips, asked: Asked) -> Columns:
        """ValueError where prompts come without rows, or pictures are missing."""
        rows = asked.rows
        found: Columns = {name: [] for name in (VBENCH_I2V if self.detect is None else VBENCH)}
        for places, shown in batches(clips, self.batch):
            shown = shown.to(self.device)
            n, _, count, height, width = shown.shape
            seen = self.features(frames(shown)).unflatten(0, (n, count))  # (n, F, D)
            still = [sprite_clips.still(rows[place]) for place in places]
            likeness = vbench_clips.consistency(seen).tolist()
            steady = vbench_clips.steadiness(shown).tolist()
            for i in range(n):
                found["subject_consistency"].append(None if still[i] else likeness[i])
                found["motion_smoothness"].append(None if still[i] else smoothness(shown[i]))
                found["dynamic_degree"].append(None if still[i] else float(dynamic(shown[i], self.fps)))
            if self.detect is None:
                pictures = clips.pictures(places)
                if pictures is None:
                    raise ValueError("VBench-I2V compares clips with the pictures they begin with; these have none")
                first = self.features(pictures.to(self.device))
                found["i2v_subject"] += vbench_i2v.faithfulness(seen, first).tolist()
                continue
            found["temporal_flickering"] += [steady[i] if still[i] else None for i in range(n)]
            objects = self.detect(to_float(frames(shown)))
            for i, place in enumerate(places):
                of = objects[i * count : (i + 1) * count]
                for name, value in sprite_clips.semantics(rows[place], of, height, width).items():
                    found[name].append(value)
        return found


def dynamic(clip: Tensor, fps: float) -> bool:
    """Whether a clip uint8 (3, F, H, W) moves, by VBench's rule. ValueError where that is further than is searched."""
    _, count, height, width = clip.shape
    rule = vbench_clips.dynamic_rule(height, width, count, fps)
    if rule.threshold >= (far := block_matching.reach(height, width)):
        raise ValueError(
            f"a clip of {width} x {height} pixels moves from {rule.threshold:g} pixels a frame on, and block matching "
            f"looks {far} far; VBench's own package judges clips of this size (scorer: package)"
        )
    pictures = clip.transpose(0, 1)[:: rule.interval]
    if len(pictures) < 2:
        return False
    return vbench_clips.moves(vbench_clips.fastest(block_matching.flow(pictures[:-1], pictures[1:])).tolist(), rule)


def smoothness(clip: Tensor) -> float:
    """How near the odd frames of a clip uint8 (3, F, H, W) are to what block matching puts in their place."""
    even = clip.transpose(0, 1)[::2]
    return vbench_clips.likeness(clip[None], block_matching.between(even[:-1], even[1:]).transpose(0, 1)[None]).item()
