"""Classifiers of small real images: log p(label | x) as a reward, and features for a judge.

Two architectures, so that the judge is not the reward's twin: "conv" (strided, GELU, no norm) and "resnet" (residual,
ReLU, group norm). Shapes: x (B, C, H, H) in [-1, 1]; both end in a (B, 64, H / 4, H / 4) map, averaged to (B, 64).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amd.distill.noise import generator
from amd.distill.types import Condition
from amd.rewards.base import Material

FEATURES = 64


@dataclass(frozen=True)
class Reading:
    """What a classifier makes of a batch."""

    spatial: Tensor  # (B, 64, H / 4, H / 4), the last spatial layer
    features: Tensor  # (B, 64), its average over positions
    logits: Tensor  # (B, classes)


class Residual(nn.Module):
    """Two 3 x 3 convolutions with group norm around a shortcut; `stride` 2 halves the side."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.GroupNorm(8, out)
        self.conv2, self.norm2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.GroupNorm(8, out)
        self.shortcut = nn.Conv2d(into, out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, H, H) -> (B, out, H / stride, H / stride)."""
        inner = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(inner + self.shortcut(x))


def conv(channels: int) -> nn.Sequential:
    """Strided convolutions with GELU."""
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, 1, 1),
        nn.GELU(),
        nn.Conv2d(32, 64, 3, 2, 1),
        nn.GELU(),
        nn.Conv2d(64, 64, 3, 2, 1),
        nn.GELU(),
        nn.Conv2d(64, FEATURES, 3, 1, 1),
        nn.GELU(),
    )


def resnet(channels: int) -> nn.Sequential:
    """A stem and two residual blocks."""
    return nn.Sequential(
        nn.Conv2d(channels, 24, 3, 1, 1, bias=False),
        nn.GroupNorm(8, 24),
        nn.ReLU(),
        Residual(24, 40, 2),
        Residual(40, FEATURES, 2),
    )


ARCHITECTURES = {"conv": conv, "resnet": resnet}


class Classifier(nn.Module):
    """A trunk of ARCHITECTURES, the mean over positions, one linear layer."""

    def __init__(self, architecture: str, classes: int, channels: int, *, seed: int = 0) -> None:
        super().__init__()
        if architecture not in ARCHITECTURES:
            raise ValueError(f"unknown classifier {architecture!r}; known: {', '.join(sorted(ARCHITECTURES))}")
        self.trunk = ARCHITECTURES[architecture](channels)
        self.head = nn.Linear(FEATURES, classes)
        draw = generator(seed, architecture, "weights")
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=draw)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def read(self, x: Tensor) -> Reading:
        """x (B, C, H, H) in [-1, 1] -> all three layers of one pass."""
        spatial = self.trunk(x)
        features = spatial.mean((2, 3))
        return Reading(spatial, features, self.head(features))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes)."""
        return self.read(x).logits

    def features(self, x: Tensor) -> Tensor:
        """(B, 64)."""
        return self.read(x).features

    def spatial(self, x: Tensor) -> Tensor:
        """(B, 64, H / 4, H / 4)."""
        return self.trunk(x)


class ClassifierReward(nn.Module):
    """R(x, label) = log p(label | x) of a trained classifier; differentiable in x, its own weights are fixed."""

    differentiable = True

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier.eval().requires_grad_(False)

    def forward(self, x: Tensor, cond: Condition) -> Tensor:
        """x (B, C, H, H) in [-1, 1], cond {"label": (B,)} -> (B,), at most 0."""
        return log_probability(self.classifier(x.float()), cond["label"])


def log_probability(logits: Tensor, label: Tensor) -> Tensor:
    """(B, classes), (B,) -> log softmax at the label (B,): minus the cross-entropy."""
    return -F.cross_entropy(logits.float(), label, reduction="none")


def trained(material: Material) -> ClassifierReward:
    """The reward from a classifier trained here. ValueError where its weights were not brought."""
    if material.architecture is None or material.weights is None:
        raise ValueError("reward 'classifier' needs a classifier system: set reward.system in the domain's file")
    classifier = load(material.architecture, material.classes, material.channels, material.weights)
    return ClassifierReward(classifier)


def load(architecture: str, classes: int, channels: int, weights: Mapping[str, Tensor]) -> Classifier:
    """A trained classifier from its state dict, in eval mode."""
    classifier = Classifier(architecture, classes, channels)
    classifier.load_state_dict(dict(weights))
    return classifier.eval()


@torch.no_grad()
def accuracy(classifier: Classifier, x: Tensor, label: Tensor, batch: int = 500) -> float:
    """Share of (N, C, H, H) that the classifier names right."""
    hits = [classifier(x[i : i + batch]).argmax(1) == label[i : i + batch] for i in range(0, len(x), batch)]
    return float(torch.cat(hits).float().mean())
