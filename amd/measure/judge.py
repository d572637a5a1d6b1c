"""Who looks at the samples: a network that turns uint8 images into features and logits, and what it is compared with.

A small domain's judge is a classifier that was trained here; at paper scale it is ADM's Inception network
(amd.measure.adm). Everybody is shown the stored uint8 images, the real ones too, which went through the same rounding.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from amd.config import plan
from amd.config.load import Run
from amd.data.assets import locate
from amd.data.sources import images as real_images
from amd.measure.fidelity import Manifold, Moments, moments
from amd.rewards import classifier
from amd.train.artifact import artifact_sha, read_artifact, sha256


@dataclass(frozen=True)
class Seen:
    """What a judge sees in n images, on the CPU."""

    pool: Tensor  # (n, D), for FID, precision and recall
    spatial: Tensor  # (n, D'), for sFID
    logits: Tensor  # (n, classes), for IS and accuracy

    def __getitem__(self, rows: Tensor | slice) -> "Seen":
        return Seen(self.pool[rows], self.spatial[rows], self.logits[rows])

    @staticmethod
    def together(parts: list["Seen"]) -> "Seen":
        """Batches in order, as one."""
        return Seen(*(torch.cat([getattr(p, name) for p in parts]) for name in ("pool", "spatial", "logits")))


@dataclass(frozen=True)
class Reference:
    """What samples are compared with."""

    pool: Moments
    spatial: Moments
    manifold: Manifold | None  # pool features of single real images; None: only their statistics are at hand

    @staticmethod
    def of(seen: Seen) -> "Reference":
        """Statistics and features of the images themselves."""
        return Reference(moments(seen.pool), moments(seen.spatial), Manifold(seen.pool))


@dataclass(frozen=True)
class Real:
    """The real images of a domain, as the samples are stored."""

    images: Tensor  # (N, C, H, W) uint8
    labels: Tensor  # (N,) int64
    seen: Seen  # what the judge sees in them


class Judge(Protocol):
    """`look`, `reference`, and a name for its weights."""

    sha256: str  # of its weights
    measures: frozenset[str]  # metric keys that it can serve

    def look(self, images: Tensor) -> Seen:
        """uint8 (n, C, H, W) -> what it sees in them, batch by batch."""
        ...

    @property
    def real(self) -> Real | None:
        """The real images behind its reference; None where it knows their statistics alone."""
        ...

    def reference(self, metrics: list[str]) -> Reference:
        """What to compare with, as much of it as `metrics` need."""
        ...


def to_uint8(x: Tensor) -> Tensor:
    """[-1, 1] -> uint8: clamp(127.5 x + 128, 0, 255), truncated, as SiT and ADM store their samples."""
    return (127.5 * x.float() + 128).clamp(0, 255).to(torch.uint8)


def truncated(x: Tensor) -> Tensor:
    """[-1, 1] -> uint8: clamp(127.5 (x + 1), 0, 255), truncated, as DMD2 stores what it evaluates: half a level darker.

    tianweiy/DMD2, main/coco_eval. An FID between these and `to_uint8`'s images is not zero.
    """
    return ((x.float() + 1) * 127.5).clamp(0, 255).to(torch.uint8)


def to_float(images: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1]: the middle of the interval that `to_uint8` maps to the value."""
    return images.float() / 127.5 - 1


def batches(images: Tensor, size: int) -> Iterator[Tensor]:
    """`images` in order, `size` rows at a time."""
    yield from images.split(size)


class ClassifierJudge:
    """A classifier of AMD's own: mean-pooled features, its last spatial map, logits. Against all real images."""

    measures = frozenset({"fid", "sfid", "is", "precision", "recall", "accuracy"})

    def __init__(self, run: Run, device: torch.device) -> None:
        """`run` is what is judged; `run.judge` the classifier. FileNotFoundError where its checkpoint is missing."""
        if run.judge is None or run.judge.system.architecture is None:
            raise ValueError(f"domain '{run.domain.name}': judge '{run.domain.judge.name}' names no classifier system")
        folder = Path(plan.folder(run.judge))
        weights = read_artifact(folder, "classifier")
        channels, _ = run.domain.pixels
        self.sha256 = artifact_sha(folder, "classifier")
        self.network = classifier.load(run.judge.system.architecture, run.domain.classes, channels, weights).to(device)
        self.device, self.batch, self.domain, self.mirror = device, run.klass.sample_batch, run.domain, run.mirror

    @torch.inference_mode()
    def look(self, images: Tensor) -> Seen:
        """uint8 (n, C, H, W) -> pool (n, 64), spatial (n, 64 h w), logits (n, classes)."""
        parts = []
        for batch in batches(images, self.batch):
            reading = self.network.read(to_float(batch.to(self.device)))
            parts.append(Seen(reading.features.cpu(), reading.spatial.flatten(1).cpu(), reading.logits.cpu()))
        return Seen.together(parts)

    @cached_property
    def real(self) -> Real:
        """All real images of the domain, through the same rounding as the samples."""
        data = self.domain.data
        if data is None:
            raise ValueError(f"domain '{self.domain.name}' has no data, which its judge compares samples with")
        x, labels = real_images(data.source, data.assets, self.mirror, self.domain.pixels)
        images = to_uint8(x)
        return Real(images, labels, self.look(images))

    def reference(self, metrics: list[str]) -> Reference:
        """Statistics and features of every real image."""
        return Reference.of(self.real.seen)


class AdmJudge:
    """ADM's Inception network and reference batch, from the domain's two assets: weights (.pth), statistics (.npz)."""

    measures = frozenset({"fid", "sfid", "is", "precision", "recall"})  # its 1008 outputs are not ImageNet's labels

    def __init__(self, run: Run, device: torch.device) -> None:
        """MissingAsset names the file that is nowhere, and where to put it."""
        from amd.measure.adm import Inception

        by_kind = {Path(asset.file).suffix: asset for asset in run.domain.judge.assets}
        if not {".pth", ".npz"} <= by_kind.keys():
            raise ValueError(
                f"domain '{run.domain.name}': judge '{run.domain.judge.name}' needs two assets, the network's weights "
                f"(.pth) and the reference batch (.npz); it has {[asset.file for asset in run.domain.judge.assets]}"
            )
        weights = locate(by_kind[".pth"], run.mirror)
        self.statistics = locate(by_kind[".npz"], run.mirror)
        self.sha256 = sha256(weights)
        self.network = Inception(weights, device)
        self.batch = run.klass.sample_batch

    real = None

    def look(self, images: Tensor) -> Seen:
        """uint8 (n, 3, H, W) -> pool (n, 2048), spatial (n, 2023), logits (n, 1008)."""
        return Seen.together([self.network(batch) for batch in batches(images, self.batch)])

    def reference(self, metrics: list[str]) -> Reference:
        """The stored statistics of the training set; precision and recall look at the images stored beside them."""
        from amd.measure.adm import reference

        if not {"precision", "recall"} & set(metrics):
            return reference(self.statistics)
        return reference(self.statistics, lambda nhwc: self.look(torch.from_numpy(nhwc).permute(0, 3, 1, 2)))


JUDGES: dict[str, Callable[[Run, torch.device], Judge]] = {
    "classifier": ClassifierJudge,
    "adm-inception": AdmJudge,
}
"""The name in a domain's `judge`."""


def build_judge(run: Run, device: torch.device | str = "cpu") -> Judge:
    """The judge of the run's domain. An unknown name lists the known."""
    name = run.domain.judge.name
    if name not in JUDGES:
        raise ValueError(f"domain '{run.domain.name}': judge.name '{name}' is no judge; known: {', '.join(JUDGES)}")
    return JUDGES[name](run, torch.device(device))
