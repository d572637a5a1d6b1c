"""CLIP score: the cosine of an image and its prompt under a CLIP of open_clip's catalogue; tables print it x 100.

With architecture ViT-g-14, prefix "A photo depicts " and `through` 256 it is DMD2's (main/coco_eval/coco_evaluator.py,
after Hessel et al. 2021); with ViT-H-14-quickgelu and DFN5B's weights DMDR's second reward. Shapes: pixels
(B, 3, H, W) in [-1, 1].
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from amd.rewards import resize
from amd.rewards.openclip import OpenClip, load
from amd.rewards.published import sha256
from amd.rewards.text import TextMaterial, check, precision


class ClipScore(nn.Module):
    """Differentiable in the pixels unless they go `through` a PIL resize first."""

    def __init__(
        self, clip: OpenClip, revision: str, *, prefix: str = "", through: int | None = None, precision: str = "float32"
    ) -> None:
        super().__init__()
        self.clip, self.revision, self.prefix, self.through = clip, revision, prefix, through
        self.differentiable = through is None
        first = "" if through is None else f"crop/lanczos-{through}/8bit/"
        said = f"/prefix={prefix!r}" if prefix else ""
        self.preprocessing = f"{first}shorter-{clip.side}/crop/bicubic/antialias/tensor/{precision}{said}"

    def forward(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        """(B,) in [-1, 1]. RuntimeError where a gradient is asked of pixels that go through PIL."""
        check(pixels, prompts)
        unit = resize.unit(pixels)
        if self.through is not None:
            unit = _through_pil(unit, self.through)
        images = resize.centre_crop(resize.shorter_side(unit, self.clip.side), self.clip.side, "round")
        return self.clip.cosine(resize.normalise(images), [self.prefix + prompt for prompt in prompts])


def _through_pil(unit: Tensor, side: int) -> Tensor:
    if unit.requires_grad:
        raise RuntimeError("a CLIP score with `through` resizes with PIL and has no gradient; leave `through` out")
    # round() gives back the stored 8 bits exactly: 255 x (value / 255) misses them by an ulp
    stored = (unit * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    small = np.stack([resize.crop_lanczos(image, side) for image in stored])
    return torch.from_numpy(small).to(unit.device).permute(0, 3, 1, 2).float() / 255


def published(material: TextMaterial) -> ClipScore:
    """From one checkpoint file. settings: architecture (required), prefix, through (0: not), precision, recompute.

    ValueError names a missing architecture, no file or several, and a file that does not fit.
    """
    chosen = material.setting(
        "clip-score", architecture=None, prefix="", through=0, precision="float32", recompute=False
    )
    if chosen["architecture"] is None:
        raise ValueError("text scorer 'clip-score': settings: say the architecture, e.g. ViT-g-14")
    if len(material.files) != 1:
        given = [Path(file).name for file in material.files]
        raise ValueError(
            f"text scorer 'clip-score' needs one file, the weights of {chosen['architecture']}; got {given}"
        )
    file, dtype = material.files[0], precision("clip-score", chosen["precision"])
    clip = load(chosen["architecture"], file, dtype, recompute=chosen["recompute"])
    through, said = chosen["through"] or None, chosen["precision"]
    return ClipScore(clip, sha256(file), prefix=chosen["prefix"], through=through, precision=said)
