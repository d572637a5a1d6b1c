"""Everything that a metric may look at, and the metrics: key in a benchmark's `metrics` -> number."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from amd.config.load import Run
from amd.config.schema.tables import Benchmark
from amd.measure.fidelity import Manifold, finite, frechet, inception_score, moments, precision_recall
from amd.measure.judge import Judge, Reference, Seen, batches, to_float
from amd.measure.sample import device
from amd.rewards.base import Reward


@dataclass(frozen=True)
class Evidence:
    """Everything that a metric may look at."""

    seen: Seen  # of n samples
    labels: Tensor  # (n,)
    reward: Tensor | None  # (n,) of the training reward
    reference: Reference
    splits: int  # of the inception score

    @cached_property
    def manifolds(self) -> tuple[float, float]:
        """Precision and recall come from the same distances."""
        if self.reference.manifold is None:
            raise ValueError(
                "precision and recall need the features of single real images; the reference has statistics only"
            )
        return precision_recall(Manifold(self.seen.pool), self.reference.manifold)


def _reward(evidence: Evidence) -> float:
    assert evidence.reward is not None
    return float(evidence.reward.double().mean())


METRICS: dict[str, Callable[[Evidence], float]] = {
    "fid": lambda e: frechet(moments(e.seen.pool), e.reference.pool),
    "sfid": lambda e: frechet(moments(e.seen.spatial), e.reference.spatial),
    "is": lambda e: inception_score(e.seen.logits, -(-len(e.labels) // e.splits)),
    "precision": lambda e: e.manifolds[0],
    "recall": lambda e: e.manifolds[1],
    "accuracy": lambda e: float((e.seen.logits.argmax(1) == e.labels).double().mean()),
    "reward": _reward,
}
"""Key of a benchmark's `metrics` -> the number."""

DRAWN = ("fid", "sfid", "is", "accuracy", "reward")
"""Metrics that images drawn with replacement still tell something of: a duplicate is its double's nearest neighbour."""


def wanted(run: Run, benchmark: Benchmark, judge: Judge) -> list[str]:
    """The benchmark's metrics that the domain names; all but the reward are the judge's to serve."""
    unknown = [key for key in benchmark.metrics if key not in METRICS]
    if unknown:
        raise ValueError(
            f"benchmarks/{benchmark.name}.yaml: metrics: '{unknown[0]}' is none; known: {', '.join(METRICS)}"
        )
    named = [key for key in benchmark.metrics if key in run.domain.metrics]
    return [key for key in named if key in judge.measures or key == "reward"]


def measure(metrics: list[str], evidence: Evidence) -> dict[str, float]:
    """Each metric's number. Raises ValueError on one that is not finite."""
    values = {key: METRICS[key](evidence) for key in metrics}
    for key, value in values.items():
        finite(torch.tensor(value), key)
    return values


def rewards(run: Run, reward: Reward, images: Tensor, labels: Tensor) -> Tensor:
    """uint8 (n, C, H, W), (n,) -> (n,) of the training reward."""
    size, where = run.klass.sample_batch, device()
    with torch.inference_mode():
        parts = [
            reward(to_float(batch.to(where)), {"label": label.to(where)}).float().cpu()
            for batch, label in zip(batches(images, size), labels.split(size), strict=True)
        ]
    return torch.cat(parts)
