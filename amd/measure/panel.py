"""The panel of a text domain: who looks at the images of a benchmark, what each says per image, and its numbers.

A metric's key is a member's stem, perhaps after a category of the prompts: hpsv2, anime_hpsv2, average_hpsv2. GenEval's
seven keys are one member's, and fid is a distance between sets. Per image first, numbers second: `Columns` are what the
records hold.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from amd.config.load import Run
from amd.config.schema.assets import Data, Scorer
from amd.config.schema.tables import Benchmark
from amd.config.served import Part, served
from amd.data.assets import locate, sha256
from amd.data.captioned import captioned
from amd.data.prompts import PromptSet
from amd.measure.fidelity import Moments, frechet, moments
from amd.measure.judge import batches, to_float
from amd.rewards.text import TextScorer
from amd.train.scorers import build_detector, build_text_scorer, published_material

Columns = dict[str, list[Any]]
"""Name -> a value per image."""


@dataclass(frozen=True)
class Asked:
    """What n images were asked for."""

    prompts: PromptSet
    index: Tensor  # (n,) into the prompts

    @property
    def texts(self) -> list[str]:
        """One per image."""
        return [self.prompts.texts[i] for i in self.index.tolist()]

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        """GenEval's metadata, one per image. ValueError where the prompts come without."""
        if self.prompts.rows is None:
            raise ValueError("these prompts say nothing of objects: GenEval's logic needs their metadata")
        return [self.prompts.rows[i] for i in self.index.tolist()]

    @property
    def categories(self) -> list[str]:
        """One per image; empty where the prompts have none."""
        found = self.prompts.categories
        return [] if found is None else [found[i] for i in self.index.tolist()]


Shown = TypeVar("Shown")
"""What a panel looks at: images, uint8 (n, 3, H, W), or `amd.measure.video_panel.Clips`."""
Shown_contra = TypeVar("Shown_contra", contravariant=True)


class Member(Protocol[Shown_contra]):
    """One of the panel."""

    sha256: str  # of its weights
    preprocessing: str  # what happens to an image before its network sees it, and in which precision it is looked at

    def look(self, images: Shown_contra, asked: Asked) -> Columns:
        """What the records keep of each image."""
        ...

    def number(self, part: Part, columns: Columns, chosen: Sequence[int], asked: Asked) -> float:
        """A metric over the `chosen` images."""
        ...


Scores = Callable[[Tensor, list[str]], list[float]]
"""All images of a job, uint8 (n, 3, H, W), and what each was asked for -> n scores."""


class Mean:
    """A text scorer: a number per image, the mean of which (times what tables multiply by) is the metric."""

    def __init__(self, stem: str, scores: Scores, times: float, sha256: str, preprocessing: str) -> None:
        self.stem, self.scores, self.times = stem, scores, times
        self.sha256, self.preprocessing = sha256, preprocessing

    @torch.inference_mode()
    def look(self, images: Tensor, asked: Asked) -> Columns:
        """{stem: scores}, not multiplied."""
        return {self.stem: self.scores(images, asked.texts)}

    def number(self, part: Part, columns: Columns, chosen: Sequence[int], asked: Asked) -> float:
        """Mean over the chosen."""
        return self.times * sum(columns[self.stem][i] for i in chosen) / len(chosen)


def in_batches(scorer: TextScorer, size: int, device: torch.device) -> Scores:
    """A text scorer of ours, `size` images at a time."""

    def scores(images: Tensor, texts: list[str]) -> list[float]:
        found = list[float]()
        for part in batches(images, size):
            found += scorer(to_float(part.to(device)), texts[len(found) : len(found) + len(part)]).float().tolist()
        return found

    return scores


class Distance:
    """Features of an image, and the Frechet distance of many to those of real ones. Records keep no features."""

    def __init__(
        self, features: Callable[[Tensor], Tensor], real: Callable[[], Tensor], sha256: str, preprocessing: str
    ) -> None:
        """`features`: uint8 (n, 3, H, W) -> (n, D); `real`: those of all real images."""
        self.features, self.real, self.sha256, self.preprocessing = features, real, sha256, preprocessing
        self.reference: Moments | None = None  # set by who has it
        self.seen: Tensor | None = None  # (n, D) of the last look

    def look(self, images: Tensor, asked: Asked) -> Columns:
        """Nothing per image."""
        self.seen = self.features(images)
        return {}

    def number(self, part: Part, columns: Columns, chosen: Sequence[int], asked: Asked) -> float:
        """The distance of the chosen images to the reference."""
        assert self.seen is not None
        assert self.reference is not None
        return frechet(moments(self.seen[list(chosen)]), self.reference)


@dataclass(frozen=True)
class Panel(Generic[Shown]):
    """The members that a benchmark's metrics need, and which metric is whose."""

    parts: tuple[Part, ...]
    members: dict[str, Member[Shown]]  # by stem

    @property
    def distance(self) -> Distance | None:
        """The member that compares sets."""
        for member in self.members.values():
            if isinstance(member, Distance):
                return member
        return None

    @property
    def sha256(self) -> dict[str, str]:
        """Stem -> weights."""
        return {stem: member.sha256 for stem, member in self.members.items()}

    @property
    def preprocessing(self) -> dict[str, str]:
        """Stem -> what happens to an image first."""
        return {stem: member.preprocessing for stem, member in self.members.items()}

    def look(self, images: Shown, asked: Asked) -> Columns:
        """Every member's columns."""
        found: Columns = {}
        for member in self.members.values():
            found |= member.look(images, asked)
        return found

    def numbers(self, columns: Columns, asked: Asked) -> dict[str, float]:
        """Metric -> number. ValueError names a category that no prompt has."""
        every, categories = range(len(asked.index)), asked.categories
        found = {}
        for part in self.parts:
            chosen = [i for i in every if part.category is None or categories[i] == part.category]
            if not chosen:
                raise ValueError(f"metric {part.key}: no prompt of category {part.category!r}")
            found[part.key] = self.members[part.stem].number(part, columns, chosen, asked)
        return found


def parts(run: Run, benchmark: Benchmark) -> tuple[Part, ...]:
    """The benchmark's metrics that the domain names, each with the member that serves it: checked at load."""
    known = served(run.domain, benchmark.name)
    return tuple(known[key] for key in benchmark.metrics if key in run.domain.metrics)


def build_panel(run: Run, benchmark: Benchmark, device: torch.device) -> Panel[Tensor]:
    """Everybody that the benchmark's metrics need, with weights. Raises as `locate` and `weights` do."""
    wanted = parts(run, benchmark)
    return Panel(wanted, {stem: _member(run, stem, device) for stem in dict.fromkeys(part.stem for part in wanted)})


def _member(run: Run, stem: str, device: torch.device) -> Member[Tensor]:
    scorer = run.domain.panel[stem]
    if scorer.name in OTHERS:
        return OTHERS[scorer.name](run, scorer, device)
    if scorer.scorer == "package":
        from amd.measure.isolated import package

        theirs = package(scorer.name, published_material(run, scorer))
        return Mean(stem, theirs.look, scorer.times, theirs.revision, theirs.preprocessing)
    own = build_text_scorer(run, scorer, device)
    scores = in_batches(own, run.sizes.sample_batch, device)
    return Mean(stem, scores, scorer.times, own.revision, own.preprocessing)


def _efficientnet(run: Run, scorer: Scorer, device: torch.device) -> Distance:
    from amd.measure import efflite

    network = efflite.published().fold().to(device)

    def features(images: Tensor) -> Tensor:
        return efflite.features(network, images)

    def real() -> Tensor:
        data, count = _data(run), run.text.images if run.domain.real is None else None
        found = captioned(data.source, data.assets, run.mirror, run.domain.pixels, count)
        return features(found.pixels[torch.arange(len(found))])

    return Distance(features, real, efflite.SHA256, efflite.PREPROCESSING)


def _clean_fid(run: Run, scorer: Scorer, device: torch.device) -> Distance:
    from amd.measure import coco

    weights = locate(scorer.assets[0], run.mirror)
    look, workers = coco.inception(weights, device), os.cpu_count() or 1

    def features(images: Tensor) -> Tensor:
        return torch.from_numpy(coco.features(images.permute(0, 2, 3, 1).numpy(), look, workers=workers))

    def real() -> Tensor:
        folder = locate(_data(run).assets[0], run.mirror).parent  # beside the listing of their captions
        files = coco.folder(folder, coco.VAL2014)
        return torch.from_numpy(coco.features(coco.read(files), look, workers=workers))

    return Distance(features, real, sha256(weights), coco.PREPROCESSING)


def _data(run: Run) -> Data:
    """Where the real images of a distance come from."""
    found = run.domain.real or run.domain.data
    if found is None:
        raise ValueError(f"domains/{run.domain.name}.yaml: a Frechet distance compares with real images: set real")
    return found


def _sprites(run: Run, scorer: Scorer, device: torch.device) -> Member[Tensor]:
    from amd.measure.geneval import Rules
    from amd.measure.tasks import Tasks
    from amd.rewards.sprite_detector import PREPROCESSING, THRESHOLD, digest

    detector, weights = build_detector(run, scorer, device)
    # counting's 0.9 is Mask2Former's, which sees an object several times; a heat map has one peak for each
    rules = Rules(threshold=THRESHOLD, counting_threshold=THRESHOLD)
    batch = run.sizes.sample_batch
    return Tasks(lambda pixels, texts: detector.detect(pixels), digest(weights), PREPROCESSING, batch, device, rules)


def _mask2former(run: Run, scorer: Scorer, device: torch.device) -> Member[Tensor]:
    from amd.measure.geneval_hf import PREPROCESSING, Mask2Former
    from amd.measure.tasks import Tasks

    detector = Mask2Former([locate(asset, run.mirror) for asset in scorer.assets], device)
    return Tasks(detector, detector.revision, PREPROCESSING, run.sizes.sample_batch, device)


OTHERS: dict[str, Callable[[Run, Scorer, torch.device], Member[Tensor]]] = {
    "efficientnet-lite0": _efficientnet,
    "clean-fid": _clean_fid,
    "sprite-eval": _sprites,
    "geneval-hf": _mask2former,
}
"""Members of a panel that are no text scorers, by name."""
