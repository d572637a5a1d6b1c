"""How good a clip is, in three parts as VideoAlign's (Liu et al. 2025, arXiv 2501.13918): how its frames look (VQ), how
it moves (MQ), how well it fits its caption (TA). A small network of video, trained here (`amd.rewards.clip_training`).

Each part is z = (x - mean) / std over the real clips of its training; the constants lie beside the weights. R is their
sum. TA is a cosine: which of the sprites is where is read from each frame, so that what moves where, and what grows,
are moments of it over time. Two architectures: "clip-plain" (strided, GELU) and "clip-residual" (residual, ReLU).
Shapes: pixels (B, 3, F, H, W) in [-1, 1], frames resized to 32; maps of G x G places, G = 8; S sprites; tokens
(T, L, W), mask (T, L) true where there is text; D = 512.
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

PARTS = ("vq", "mq", "ta")
ACTS = ("left", "right", "up", "down", "still", "growing", "shrinking", "steady")
COUNTED, ACTED = 128, 48  # D = COUNTED + 8 ACTED
CHANNELS, JUDGED = 48, 48
TEMPORAL = 5  # frames that a motion is judged by at a time
HIDDEN = 192
SHARP = 12.0  # of a displacement of the whole side in the choice among directions, at the start
PREPROCESSING = f"bilinear-antialias-{SIDE}-float32"


def plain() -> nn.Sequential:
    """(N, 3, 32, 32) -> (N, 48, 8, 8)."""
    return nn.Sequential(
        nn.Conv2d(3, 24, 4, 2, 1),
        nn.GELU(),
        nn.Conv2d(24, 40, 3, 2, 1),
        nn.GELU(),
        nn.Conv2d(40, CHANNELS, 3, 1, 1),
        nn.GELU(),
    )


def residual() -> nn.Sequential:
    """(N, 3, 32, 32) -> (N, 48, 8, 8)."""
    return nn.Sequential(
        nn.Conv2d(3, 24, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(24, 32, 3, 2, 1),  # a block of stride 2 would pass on one place of four at the start
        nn.ReLU(),
        Block(32, CHANNELS, 1),
    )


ARCHITECTURES = {"clip-plain": plain, "clip-residual": residual}


class ClipAlign(TwoTowers):
    """Three heads on one tower of frames, and a tower of texts."""

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: str, sprites: int, *, text_width: int = TEXT_WIDTH, seed: int = 0) -> None:
        """`sprites`: how many different objects, each colour one, the clips of its training show."""
        super().__init__()
        self.trunk = known_architecture(architecture, ARCHITECTURES)
        self.sprites, self.extent = nn.Conv2d(CHANNELS, sprites + 1, 1), nn.Conv2d(CHANNELS, 1, 1)
        self.looks = nn.Sequential(nn.Linear(2 * CHANNELS, JUDGED), nn.GELU())
        self.vq = nn.Linear(2 * JUDGED, 1)
        self.moves = nn.Sequential(
            nn.Conv3d(CHANNELS, JUDGED, (TEMPORAL, 1, 1), padding=(TEMPORAL // 2, 0, 0)), nn.GELU()
        )
        self.mq = nn.Sequential(nn.Linear(3 * JUDGED, JUDGED), nn.GELU(), nn.Linear(JUDGED, 1))
        self.clip_counted = nn.Sequential(nn.Linear(sprites, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, COUNTED))
        self.clip_acted = nn.Linear(sprites, ACTED, bias=False)
        self.sharpness = nn.Parameter(torch.tensor([SHARP, SHARP]))  # of directions, of changes of size
        self.rest = nn.Parameter(torch.ones(2))  # logits of standing still, of keeping the size
        self.reads(text_width, HIDDEN, COUNTED)
        self.acts = nn.Conv1d(VALUES, len(ACTS), FAR, padding=FAR // 2)
        self.text_acted = nn.Linear(VALUES, ACTED, bias=False)
        self.register_buffer("mean", torch.zeros(len(PARTS)))
        self.register_buffer("std", torch.ones(len(PARTS)))
        self.begin(seed, architecture)

    @property
    def marking(self) -> tuple[nn.Conv1d, nn.Linear]:
        return self.acts, self.text_acted

    def look(self, pixels: Tensor) -> Tensor:
        """(B, 3, F, H, W) in [-1, 1] -> what is seen at each place of each frame (B, F, C, G, G)."""
        frames = resized(pixels.transpose(1, 2).flatten(0, 1))
        return self.trunk(frames.contiguous(memory_format=torch.channels_last)).unflatten(0, (len(pixels), -1))

    def located(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F, C, G, G) -> logits of whose centre a place holds (B, F, S + 1, G, G), the last: nobody's; and the
        logarithm of how large it is, in a third of the side (B, F, G, G)."""
        frames = seen.float().flatten(0, 1)
        whose, extent = self.sprites(frames), self.extent(frames)[:, 0]
        return whose.unflatten(0, seen.shape[:2]), extent.unflatten(0, seen.shape[:2])

    def judged(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F, C, G, G) -> logits (B,) of right looks and of right motion."""
        seen = seen.float()
        looks = self.looks(torch.cat((seen.mean((3, 4)), seen.amax((3, 4))), 2))  # (B, F, J)
        moves = self.moves(seen.transpose(1, 2)).flatten(3)  # (B, J, F, G G)
        most = moves.amax(3)
        moved = torch.cat((moves.mean((2, 3)), most.amax(2), most.mean(2)), 1)
        return self.vq(torch.cat((looks.mean(1), looks.amax(1)), 1))[:, 0], self.mq(moved)[:, 0]

    def clips(self, whose: Tensor, extent: Tensor) -> Tensor:
        """What `located` gives -> unit embeddings (B, D) float32.

        Which sprites there are; and of each where it goes and whether it grows, by the moments over time of its places
        and its size: displacements as shares of the side, along x and y.
        """
        held = whose.softmax(2)[:, :, :-1]  # (B, F, S, G, G)
        frames = held.shape[1]
        line = (torch.arange(PLACES, device=held.device) + 0.5) / PLACES - 0.5
        time = torch.linspace(-0.5, 0.5, frames, device=held.device)
        time = time / time.square().sum()  # what a slope is measured with
        there = held.sum((3, 4))  # (B, F, S)
        along = torch.stack((held.sum(3) @ line, held.sum(4) @ line, (held * extent[:, :, None]).sum((3, 4))), -1)
        where = along / (there[..., None] + 0.1)  # (B, F, S, 3)
        x, y, growth = (where * time[:, None, None]).sum(1).unbind(-1)  # (B, S) over the whole clip
        turn, change = self.sharpness
        still, steady = (self.rest[i].expand_as(x) for i in range(2))
        goes = torch.stack((-turn * x, turn * x, -turn * y, turn * y, still), 1).softmax(1)
        grows = torch.stack((change * growth, -change * growth, steady), 1).softmax(1)
        present = there.mean(1)  # (B, S)
        acted = self.clip_acted(torch.cat((goes, grows), 1) * present[:, None])  # (B, 8, A)
        return F.normalize(torch.cat((self.clip_counted(present), acted.flatten(1)), 1), dim=1)

    def raw(self, pixels: Tensor, texts: Tensor) -> Tensor:
        """B clips with the embeddings (B, D) of their texts -> VQ, MQ, TA (B, 3), not normalised."""
        seen = self.look(pixels)
        vq, mq = self.judged(seen)
        return torch.stack((vq, mq, (self.clips(*self.located(seen)) * texts).sum(1)), 1)

    def forward(self, pixels: Tensor, texts: Tensor) -> Tensor:
        """The same, each z = (x - mean) / std: VideoAlign's `use_norm` (KwaiVGI/VideoAlign inference.py, _norm)."""
        return (self.raw(pixels, texts) - self.mean) / self.std


class ClipScorer(nn.Module):
    """R(clip, prompt) of a trained network, the sum of its parts; differentiable in the pixels, its weights fixed."""

    differentiable = True
    preprocessing = PREPROCESSING

    def __init__(self, network: ClipAlign, encode: Encode, revision: str) -> None:
        super().__init__()
        self.network, self.revision = network.eval().requires_grad_(False), revision
        self.embedded = Remembered(network, encode)

    def forward(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        """pixels (B, 3, F, H, W) in [-1, 1], B prompts -> (B,): VQ + MQ + TA."""
        return self._scored(pixels, prompts).sum(1)

    def parts(self, pixels: Tensor, prompts: Sequence[str]) -> dict[str, Tensor]:
        """The same -> {"vq", "mq", "ta"}, (B,) each."""
        return dict(zip(PARTS, self._scored(pixels, prompts).unbind(1), strict=True))

    def _scored(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        check(pixels, prompts, clips=True)
        return self.network(pixels, self.embedded(prompts, pixels.device))


def load(architecture: str, weights: Mapping[str, Tensor]) -> ClipAlign:
    """A trained network from its state dict, in eval mode."""
    return loaded(ClipAlign, architecture, weights)


def trained(material: TextMaterial) -> ClipScorer:
    """The scorer of a network trained here; settings: `architecture`, and `encode`, the text encoder of its training.

    ValueError where one of them or the weights were not brought.
    """
    weights, architecture, encode = settings_of("clip-align", material)
    return ClipScorer(load(architecture, weights), encode, digest(weights))
