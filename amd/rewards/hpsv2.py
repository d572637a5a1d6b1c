"""HPSv2: the cosine of a CLIP ViT-H/14 that was trained on human choices. No logit scale; tables print it x 100.

tgxs002/HPSv2 (Apache-2.0), hpsv2 1.2.0: img_score.py and src/open_clip/transform.py. The package's network is
open_clip's, so this one reads the published checkpoints with open_clip; DMDR and ReFL descend it.
Shapes: pixels (B, 3, H, W) in [-1, 1].
"""

from collections.abc import Sequence

from torch import Tensor, nn

from amd.rewards import resize
from amd.rewards.openclip import OpenClip, load
from amd.rewards.published import sha256
from amd.rewards.text import TextMaterial, check, precision

FILES = {"v2.0": "HPS_v2_compressed.pt", "v2.1": "HPS_v2.1_compressed.pt"}
"""Version -> checkpoint of huggingface.co/xswu/HPSv2. The two differ by 2 to 3 points: it is never guessed which."""


class HPSv2(nn.Module):
    """Differentiable in the pixels."""

    differentiable = True

    def __init__(self, clip: OpenClip, version: str, revision: str, precision: str = "float32") -> None:
        super().__init__()
        self.clip, self.version, self.revision = clip, version, revision
        self.preprocessing = f"longer-{clip.side}/zero-pad/bicubic/antialias/tensor/{precision}"

    def forward(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        """(B,) in [-1, 1], about 0.2 to 0.35."""
        check(pixels, prompts)
        images = resize.longer_side_padded(resize.unit(pixels), self.clip.side)
        return self.clip.cosine(resize.normalise(images), prompts)


def published(material: TextMaterial) -> HPSv2:
    """From the published checkpoint. settings: version (v2.0 | v2.1, required), precision, recompute, architecture.

    ValueError names a missing version, a file of the other version, or one that does not fit.
    """
    chosen = material.setting("hpsv2", version=None, precision="float32", recompute=False, architecture="ViT-H-14")
    version = chosen["version"]
    if version not in FILES:
        raise ValueError(f"text scorer 'hpsv2': settings: version is {version!r}; say {' or '.join(FILES)}")
    file, dtype = material.file("hpsv2", FILES[version]), precision("hpsv2", chosen["precision"])
    clip = load(chosen["architecture"], file, dtype, recompute=chosen["recompute"])
    return HPSv2(clip, version, sha256(file), chosen["precision"])
