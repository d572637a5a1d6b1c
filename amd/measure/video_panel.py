"""The panel of a domain of clips: who looks at the clips of a benchmark, what each says per clip, and its numbers.

VBench and VBench-I2V give a value per clip and dimension that the clip's prompt is asked, their totals over all
dimensions; a scorer such as VideoAlign gives three parts per clip and their sum. Per clip first, numbers second.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from amd.config.load import Run
from amd.config.schema.assets import Clip, Prompts, Scorer
from amd.config.schema.tables import Benchmark
from amd.config.served import Part, left_out
from amd.measure import efflite, vbench, vbench_i2v
from amd.measure.isolated import PACKAGES, find
from amd.measure.isolated_clips import PackageVBench, PackageVideoAlign
from amd.measure.judge import to_float
from amd.measure.panel import Asked, Columns, Member, Panel, parts
from amd.measure.sprite_vbench import SpriteVBench
from amd.measure.video import Clips, batches
from amd.rewards import videoalign_frames
from amd.rewards.sprite_detector import PREPROCESSING, digest
from amd.train.scorers import build_detector, build_text_scorer, published_material

BENCHES = {
    "vbench": (vbench.DIMENSIONS, vbench.GROUPS),
    "vbench-i2v": (vbench_i2v.DIMENSIONS, vbench_i2v.GROUPS),
}
"""Stem -> its dimensions, and what its total is made of."""


@runtime_checkable
class Parts(Protocol):
    """A scorer of clips."""

    revision: str
    preprocessing: str

    def parts(self, pixels: Tensor, prompts: Sequence[str]) -> Mapping[str, Tensor]:
        """pixels (B, 3, F, H, W) in [-1, 1], B prompts -> {"vq", "mq", "ta"}, (B,) each."""
        ...


class Aligned:
    """Visual quality, motion quality and text alignment; their means, times what tables multiply by."""

    def __init__(
        self, looks: Callable[[Clips, Sequence[str]], Columns], times: float, sha256: str, preprocessing: str
    ) -> None:
        """`looks`: clips, and what each was asked for -> {"vq", "mq", "ta"}, a value per clip."""
        self.looks, self.times, self.sha256, self.preprocessing = looks, times, sha256, preprocessing

    def look(self, clips: Clips, asked: Asked) -> Columns:
        """{"vq", "mq", "ta"}, not multiplied."""
        return self.looks(clips, asked.texts)

    def number(self, part: Part, columns: Columns, chosen: Sequence[int], asked: Asked) -> float:
        """Mean over the chosen, of a part or of their sum."""
        means = {name: sum(columns[name][i] for i in chosen) / len(chosen) for name in videoalign_frames.PARTS}
        key = part.key.rpartition("_")[2]  # after a category
        return self.times * (videoalign_frames.total(means) if key == "overall" else means[key])


class Bench:
    """Dimensions, each the mean over the clips that are asked it, and their totals."""

    def __init__(
        self,
        stem: str,
        looks: Callable[[Clips, Asked], Columns],
        absent: vbench.Absent,
        times: float,
        sha256: str,
        preprocessing: str,
        without: Sequence[str] = (),
    ) -> None:
        """`looks`: clips -> dimension -> a value per clip, None where it is not asked; no column: nobody looks.

        `without`: dimensions that it is told not to look at.
        """
        self.dimensions, self.groups = BENCHES[stem]
        self.looks, self.absent, self.times, self.sha256 = looks, absent, times, sha256
        self.preprocessing = f"{preprocessing}; a dimension that nobody measures is {absent} in totals"
        if without:
            self.preprocessing += f"; nobody measures {', '.join(without)}"

    def look(self, clips: Clips, asked: Asked) -> Columns:
        """By dimension, fractions."""
        return self.looks(clips, asked)

    def number(self, part: Part, columns: Columns, chosen: Sequence[int], asked: Asked) -> float:
        """A dimension, a group such as "quality", or "total". ValueError for a dimension that no chosen clip has."""
        values = dict[str, float]()
        for name in self.dimensions:
            known = [columns[name][i] for i in chosen if columns[name][i] is not None] if name in columns else []
            if known:
                values[name] = sum(known) / len(known)
        if part.key in self.dimensions:
            if part.key not in values:
                raise ValueError(f"metric {part.key}: no clip has a value; measured are {', '.join(values) or 'none'}")
            return self.times * values[part.key]
        found = vbench.totals(values, absent=self.absent, dimensions=self.dimensions, groups=self.groups)
        return self.times * (found.total if part.key == "total" else found.groups[part.key])


def in_batches(scorer: Parts, size: int, device: torch.device) -> Callable[[Clips, Sequence[str]], Columns]:
    """A scorer of ours, `size` clips at a time."""

    @torch.inference_mode()
    def looks(clips: Clips, texts: Sequence[str]) -> Columns:
        found: Columns = {name: [] for name in videoalign_frames.PARTS}
        for places, shown in batches(clips, size):
            values = scorer.parts(to_float(shown.to(device)), texts[places.start : places.stop])
            for name, column in found.items():
                column += values[name].float().tolist()
        return found

    return looks


def build_video_panel(run: Run, benchmark: Benchmark, device: torch.device) -> Panel[Clips]:
    """Everybody that the benchmark's metrics need, with weights, but for dimensions that a package leaves out.

    Raises as `locate` and `weights` do. ValueError for a stem whose scorer is no judge of clips.
    """
    wanted = tuple(part for part in parts(run, benchmark) if part.key not in left_out(run.domain.panel[part.stem]))
    members = {stem: _member(run, stem, device) for stem in dict.fromkeys(part.stem for part in wanted)}
    for stem, member in members.items():
        member.preprocessing += words(run.domain.prompts.get(benchmark.name), stem)
    return Panel(wanted, members)


def words(prompts: Prompts | None, stem: str) -> str:
    """What a score says of the texts that its clips were made from and that a member reads; nothing where a source has
    no variants."""
    if prompts is None or prompts.variant is None:
        return ""
    by = "VBench's own short texts" if stem in BENCHES else "the same texts"
    return f"; clips of the {prompts.variant} prompts of {prompts.source}, judged by {by}"


def _member(run: Run, stem: str, device: torch.device) -> Member[Clips]:
    scorer, clip = run.domain.panel[stem], run.domain.clip
    if clip is None:
        raise ValueError(f"domains/{run.domain.name}.yaml: clip: missing; judges of clips need its frames and its fps")
    if scorer.scorer == "package":
        return _package(run, stem, scorer, clip)
    if scorer.name == "sprite-vbench":
        return _sprites(run, stem, scorer, clip, device)
    own = build_text_scorer(run, scorer, device)
    if not isinstance(own, Parts):
        here = f"domains/{run.domain.name}.yaml: panel.{stem}.name"
        raise ValueError(
            f"{here}: {scorer.name!r} judges no clips; sprite-vbench, clip-align and videoalign do, and packages"
        )
    return Aligned(in_batches(own, run.sizes.sample_batch, device), scorer.times, own.revision, own.preprocessing)


def _sprites(run: Run, stem: str, scorer: Scorer, clip: Clip, device: torch.device) -> Bench:
    """VBench where everything is known; I2V asks for no objects, so it needs no detector."""
    network = efflite.published().fold().to(device)
    detect, revision, seen = None, efflite.SHA256, f"features {efflite.PREPROCESSING}"
    if stem == "vbench":
        detector, weights = build_detector(run, scorer, device)
        detect, revision, seen = detector.detect, f"{revision} {digest(weights)}", f"{seen}, objects {PREPROCESSING}"
    looks = SpriteVBench(
        lambda images: efflite.features(network, images), detect, clip.fps, run.sizes.sample_batch, device
    )
    return Bench(stem, looks, "left out", scorer.times, revision, seen)


def _package(run: Run, stem: str, scorer: Scorer, clip: Clip) -> Member[Clips]:
    """By the authors' package, in its environment."""
    environment = find(PACKAGES[scorer.name])
    files = {path.name: path for path in published_material(run, scorer).files}
    if stem == "videoalign":
        align = PackageVideoAlign(environment, files, clip.fps)
        return Aligned(align, scorer.times, align.revision, align.preprocessing)
    bench = PackageVBench(environment, files, scorer.settings, tuple(BENCHES[stem][0]), clip.fps)
    return Bench(stem, bench, "zero", scorer.times, bench.revision, bench.preprocessing, bench.without)
