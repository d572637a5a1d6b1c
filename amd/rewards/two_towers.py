"""Networks of two towers, one of texts and one of what they are about: the embeddings' cosine says how well both fit.

As CLIP's (Radford et al. 2021). The tower of texts is the same for pictures (`emoji_align`) and clips (`clip_align`):
what a few learned queries find, and every token with its marks, such as on which side it is or how it moves. Shapes: T
texts, tokens (T, L, W), mask (T, L) true where there is text; D numbers in an embedding.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amd.distill.noise import generator
from amd.distill.types import Condition
from amd.rewards.text import TextMaterial

QUERIES, VALUES = 6, 96
NEAR, FAR = 5, 9  # tokens around one that say its number and colour; that say its marks
PLACES = 8  # G: a map of what is seen has G x G places
SCALE, LIMIT = 10.0, 100.0  # of the cosine: at the start, and CLIP's limit
TEXT_WIDTH = 384  # MiniLM's

Encode = Callable[[Sequence[str]], Condition]
"""Texts -> {"tokens", "mask"}."""


class Block(nn.Module):
    """Two 3 x 3 convolutions around a shortcut, which is all there is at the start: the second one begins at zero."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(into, out, 3, stride, 1), nn.Conv2d(out, out, 3, 1, 1)
        self.shortcut = nn.Conv2d(into, out, 1, stride, bias=False)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, H, H) -> (B, out, H / stride, H / stride)."""
        return F.relu(self.gain * self.second(F.relu(self.first(x))) + self.shortcut(x))


class TwoTowers(nn.Module, ABC):
    """The tower of texts, the scale, and how weights begin. What sees is its subclass's."""

    @property
    @abstractmethod
    def marking(self) -> tuple[nn.Conv1d, nn.Linear]:
        """What reads each token's marks from the values around it, and what says which token it is that has them."""

    def reads(self, width: int, hidden: int, told: int) -> None:
        """Make the layers that find `told` numbers by queries in states of `width`."""
        self.text_norm, self.values = nn.LayerNorm(width), nn.Linear(width, VALUES)
        self.near = nn.Conv1d(VALUES, VALUES, NEAR, padding=NEAR // 2)
        self.queries = nn.Linear(VALUES, QUERIES)
        self.text_counted = nn.Sequential(nn.Linear(QUERIES * VALUES, hidden), nn.GELU(), nn.Linear(hidden, told))

    def begin(self, seed: int, architecture: str) -> None:
        """Make the scale, and draw all weights: Kaiming normal, biases zero, in the order of the layers."""
        self.log_scale = nn.Parameter(torch.tensor(math.log(SCALE)))
        draw = generator(seed, architecture, "weights")
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=draw)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @property
    def scale(self) -> Tensor:
        """() what a cosine is multiplied by in training."""
        return self.log_scale.exp().clamp_max(LIMIT)

    def texts(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(T, L, W), (T, L) -> unit embeddings (T, D) float32.

        What the queries find, side by side; and every token with its marks, -1 to 1, which the tokens around it tell:
        "left" soon after it, or some way before.
        """
        longest = int(mask.sum(1).max())
        there = mask[:, :longest, None]
        values = F.gelu(self.values(self.text_norm(tokens[:, :longest]))) * there  # (T, L, V)
        turned = values.transpose(1, 2)
        said = (values + F.gelu(self.near(turned)).transpose(1, 2)) * there
        weight = self.queries(said).masked_fill(~there, -math.inf).softmax(1)  # (T, L, Q)
        counted = self.text_counted((weight.transpose(1, 2) @ said).flatten(1))
        marks, whose = self.marking
        marked = marks(turned).tanh() * there.transpose(1, 2)  # (T, marks, L)
        return F.normalize(torch.cat((counted, (marked @ whose(said)).flatten(1)), 1), dim=1)


Network = TypeVar("Network", bound=TwoTowers)


class Remembered:
    """A text encoder behind a network's tower of texts, each text once: prompts come again and again."""

    def __init__(self, network: TwoTowers, encode: Encode) -> None:
        self.network, self.encode = network, encode
        self.known: dict[str, Tensor] = {}

    def __call__(self, texts: Sequence[str], device: torch.device) -> Tensor:
        """B texts -> their embeddings (B, D) on `device`, without a gradient."""
        if new := [text for text in dict.fromkeys(texts) if text not in self.known]:
            states = self.encode(new)
            where = self.network.log_scale.device
            with torch.no_grad():
                embedded = self.network.texts(states["tokens"].to(where), states["mask"].to(where))
            self.known.update(zip(new, embedded, strict=True))
        return torch.stack([self.known[text].to(device) for text in texts])


def known_architecture(architecture: str, known: Mapping[str, Callable[[], nn.Sequential]]) -> nn.Sequential:
    """The trunk of that name. ValueError where none has it."""
    if architecture not in known:
        raise ValueError(f"unknown architecture {architecture!r}; known: {', '.join(sorted(known))}")
    return known[architecture]()


def loaded(of: Callable[..., Network], architecture: str, weights: Mapping[str, Tensor]) -> Network:
    """A trained network `of(architecture, sprites, text_width=...)` from its state dict, in eval mode."""
    sprites, width = len(weights["sprites.bias"]) - 1, len(weights["text_norm.weight"])
    network = of(architecture, sprites, text_width=width)
    network.load_state_dict(dict(weights))
    network.eval()
    return network


def settings_of(name: str, material: TextMaterial) -> tuple[dict[str, Tensor], str, Any]:
    """-> weights, architecture and text encoder of a network trained here. ValueError where one was not brought."""
    settings = material.setting(name, architecture=None, encode=None)
    if material.weights is None or settings["architecture"] is None or settings["encode"] is None:
        raise ValueError(
            f"text scorer {name!r} needs weights trained here, their architecture and the text encoder (encode)"
        )
    return dict(material.weights), settings["architecture"], settings["encode"]
