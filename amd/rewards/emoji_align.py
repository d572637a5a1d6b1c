"""How well a picture fits its caption: a convolutional tower beside a tower of texts, trained in `emoji_training`.

R is the cosine of the two embeddings. Both have a part for what is there and how many, and one each for what is on
which side along x and y. Two architectures, so that who reports is not the twin of who rewards: "align-plain" (strided,
GELU) and "align-residual" (residual, ReLU). Shapes: pixels (B, 3, H, W) in [-1, 1], resized to 32; a map has G x G
places, G = 8; N sprites; tokens (T, L, W), mask (T, L) true where there is text; D = 288.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amd.rewards.sprite_detector import SIDE, digest, resized
from amd.rewards.text import TextMaterial, check
from amd.rewards.two_towers import (
    FAR,
    PLACES,
    TEXT_WIDTH,
    VALUES,
    Block,
    Encode,
    Remembered,
    TwoTowers,
    known_architecture,
    loaded,
    settings_of,
)

COUNTED, PLACED = 192, 48  # D = COUNTED + 2 PLACED
CHANNELS = 192  # of the map that a trunk ends in
HIDDEN = 256


def plain() -> nn.Sequential:
    """Strided convolutions with GELU: (B, 3, 32, 32) -> (B, 192, 8, 8)."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, 2, 1),
        nn.GELU(),
        nn.Conv2d(32, 64, 3, 1, 1),
        nn.GELU(),
        nn.Conv2d(64, 96, 3, 2, 1),
        nn.GELU(),
        nn.Conv2d(96, 96, 3, 1, 1),
        nn.GELU(),
        nn.Conv2d(96, CHANNELS, 1),
        nn.GELU(),
    )


def residual() -> nn.Sequential:
    """A stem and two residual blocks with ReLU: (B, 3, 32, 32) -> (B, 192, 8, 8)."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, 2, 1),
        nn.ReLU(),
        Block(32, 48, 1),
        Block(48, 96, 2),
        nn.Conv2d(96, CHANNELS, 1),
        nn.ReLU(),
    )


ARCHITECTURES = {"align-plain": plain, "align-residual": residual}


class EmojiAlign(TwoTowers):
    """Both towers and the scale."""

    def __init__(self, architecture: str, sprites: int, *, text_width: int = TEXT_WIDTH, seed: int = 0) -> None:
        """`sprites`: how many different objects, each colour one, the pictures of its training show."""
        super().__init__()
        self.trunk = known_architecture(architecture, ARCHITECTURES)
        self.sprites = nn.Conv2d(CHANNELS, sprites + 1, 1)  # whose centre a place holds; the last: nobody's
        self.image_counted = nn.Sequential(nn.Linear(CHANNELS + sprites, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, COUNTED))
        self.image_placed = nn.Linear(CHANNELS + sprites, PLACED, bias=False)
        self.reads(text_width, HIDDEN, COUNTED)
        self.sides = nn.Conv1d(VALUES, 2, FAR, padding=FAR // 2)  # -1 to 1 along x and y
        self.text_placed = nn.Linear(VALUES, PLACED, bias=False)
        self.begin(seed, architecture)

    @property
    def marking(self) -> tuple[nn.Conv1d, nn.Linear]:
        return self.sides, self.text_placed

    def look(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> what is seen at each place (B, C, G, G)."""
        return self.trunk(resized(pixels).contiguous(memory_format=torch.channels_last))

    def images(self, seen: Tensor) -> Tensor:
        """(B, C, G, G) -> unit embeddings (B, D) float32.

        Sums over places, of what is seen and of whose centre it is, so that numbers add up; weighted by x and by y, so
        that a difference of two is a relation.
        """
        seen = seen.float()
        whose = self.sprites(seen).softmax(1)[:, :-1] * PLACES
        told = torch.cat((seen, whose), 1) / PLACES
        line = torch.linspace(-1, 1, PLACES, device=seen.device)
        counted, along_x, along_y = (sums.sum((2, 3)) for sums in (told, told * line, told * line[:, None]))
        placed = self.image_placed(torch.stack((along_x, along_y), 1)).flatten(1)
        return F.normalize(torch.cat((self.image_counted(counted), placed), 1), dim=1)

    def forward(self, pixels: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """B pictures with B texts -> (B,)."""
        return self.scale * (self.images(self.look(pixels)) * self.texts(tokens, mask)).sum(1)


class AlignScorer(nn.Module):
    """R(pixels, prompt) of a trained network; differentiable in the pixels, its own weights are fixed."""

    differentiable = True
    preprocessing = f"bilinear-antialias-{SIDE}-float32"

    def __init__(self, network: EmojiAlign, encode: Encode, revision: str) -> None:
        super().__init__()
        self.network, self.revision = network.eval().requires_grad_(False), revision
        self.embedded = Remembered(network, encode)

    def forward(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        """pixels (B, 3, H, W) in [-1, 1], B prompts -> (B,), within [-1, 1]."""
        check(pixels, prompts)
        text = self.embedded(prompts, pixels.device)
        return (self.network.images(self.network.look(pixels)) * text).sum(1)


def load(architecture: str, weights: Mapping[str, Tensor]) -> EmojiAlign:
    """A trained network from its state dict, in eval mode."""
    return loaded(EmojiAlign, architecture, weights)


def trained(material: TextMaterial) -> AlignScorer:
    """The scorer of a network trained here; settings: `architecture`, and `encode`, the text encoder of its training.

    ValueError where one of them or the weights were not brought.
    """
    weights, architecture, encode = settings_of("emoji-align", material)
    return AlignScorer(load(architecture, weights), encode, digest(weights))
