"""Samples -> raw records per sample -> numbers, and beside them the floor: what real images score themselves.

The records (parquet) are written first: whoever doubts a mean can look at what it is the mean of. A score says how many
samples it is of, and refuses any other number than the benchmark's at this scale.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from amd.config import plan
from amd.config.load import Run
from amd.config.schema import Benchmark
from amd.data.sources import half
from amd.distill.noise import generator
from amd.measure.fidelity import Manifold, finite, frechet, inception_score, moments, precision_recall
from amd.measure.judge import Judge, Real, Reference, Seen, batches, build_judge, to_float
from amd.measure.sample import device, read_samples
from amd.rewards.base import Reward
from amd.rewards.classifier import log_probability
from amd.train.artifact import artifact_sha, created, git_sha, versions, write_json
from amd.train.reward import build_reward
from amd.train.threads import threads


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
    size, where = run.scale.klass.sample_batch, device()
    with torch.inference_mode():
        parts = [
            reward(to_float(batch.to(where)), {"label": label.to(where)}).float().cpu()
            for batch, label in zip(batches(images, size), labels.split(size), strict=True)
        ]
    return torch.cat(parts)


def floor(
    run: Run, benchmark: Benchmark, real: Real, whole: Reference, reward: Reward | None, metrics: list[str]
) -> dict[str, dict[str, float]]:
    """What real images score: {"half": metrics, "at_n": metrics}. `whole` is the reference that samples are held to.

    half: one half of them against the other. Each classifier is asked about the half that it was not trained on.
    at_n: as many as there are samples, drawn with replacement, against all of them: what n alone costs.
    """
    labels, seen = real.labels, real.seen
    given = None if reward is None else rewards(run, reward, real.images, labels)
    everything = Evidence(seen, labels, given, whole, benchmark.splits)

    trained = 0 if run.judge is None or run.judge.system.half is None else run.judge.system.half
    ours, other = half(labels, 1 - trained), half(labels, trained)
    # the inception score is taken over splits in order, and real images may lie sorted by class
    ours = ours[torch.randperm(len(ours), generator=generator("floor order", benchmark.seed))]
    halves = replace(_rows(everything, ours), reference=Reference.of(seen[other]))
    values = {"half": measure([key for key in metrics if key != "reward"], halves)}
    if given is not None:
        scorer = run.reward
        fresh = ours if scorer is None or scorer.system.half is None else half(labels, 1 - scorer.system.half)
        values["half"]["reward"] = float(given[fresh].double().mean())

    drawn = torch.randint(len(labels), (run.scale.klass.samples,), generator=generator("floor", benchmark.seed))
    values["at_n"] = measure([key for key in metrics if key in DRAWN], _rows(everything, drawn))
    return values


def _rows(evidence: Evidence, rows: Tensor) -> Evidence:
    reward = None if evidence.reward is None else evidence.reward[rows]
    return replace(evidence, seen=evidence.seen[rows], labels=evidence.labels[rows], reward=reward)


def score(run: Run, benchmark: Benchmark, samples: Path, out: Path, records: Path) -> None:
    """Judge a folder of samples; write `records` (parquet), then `out` (JSON).

    Raises ValueError where the samples are of another run, weights, benchmark or number than the score would say.
    """
    threads()
    images, labels, manifest = read_samples(samples)
    check(run, benchmark, Path(samples), manifest, len(images))
    judge = build_judge(run, device())
    metrics = wanted(run, benchmark, judge)
    reward = build_reward(run, device()) if "reward" in metrics else None
    seen = judge.look(images)
    given = None if reward is None else rewards(run, reward, images, labels)
    for name, values in (("features", seen.pool), ("logits", seen.logits), ("reward", given)):
        if values is not None:
            finite(values, f"{name} of {samples}")
    write_records(Path(records), run, seen, labels, given)
    reference = judge.reference(metrics)
    content = {
        "metrics": measure(metrics, Evidence(seen, labels, given, reference, benchmark.splits)),
        "floor": {} if judge.real is None else floor(run, benchmark, judge.real, reference, reward, metrics),
        "n": len(labels),
        **identity(run, benchmark, judge),
        "student_sha256": manifest["weights_sha256"],
        "samples_sha256": manifest["sha256"],
    }
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    write_json(Path(out), content)


def identity(run: Run, benchmark: Benchmark, judge: Judge) -> dict[str, object]:
    """What every number that leaves the program carries."""
    scorer = run.reward
    return {
        "benchmark": benchmark.name,
        "version": benchmark.version,
        "protocol": benchmark.protocol,
        "judge": run.domain.judge.name,
        "judge_sha256": judge.sha256,
        "reward": run.domain.reward.name,
        "reward_sha256": None if scorer is None else artifact_sha(Path(plan.folder(scorer)), "classifier"),
        "system": run.system.name,
        "run": run.name,
        "scale": run.scale.name,
        "domain": run.domain.name,
        "seed": run.seed,
        "run_digest": run.digest,
        "git_sha": git_sha(),
        "amd_version": versions()["amd"],
        "created": created(),
    }


def check(run: Run, benchmark: Benchmark, samples: Path, manifest: Mapping[str, object], n: int) -> None:
    """Whether these samples are the ones that the score would say they are."""
    if n != run.scale.klass.samples:
        raise ValueError(
            f"{samples}: {n} samples, but scale '{run.scale.name}' scores {run.scale.klass.samples}; "
            "gather all shards, or sample again"
        )
    said = {"benchmark": benchmark.name, "version": benchmark.version, "run": run.name, "run_digest": run.digest}
    for key, value in {**said, "seed": run.seed}.items():
        if manifest[key] != value:
            raise ValueError(f"{samples}: {key} is {manifest[key]!r}, to be scored is {value!r}; sample again")


def write_records(out: Path, run: Run, seen: Seen, labels: Tensor, reward: Tensor | None) -> None:
    """A row per sample: index, label, predicted, log_p of the label under the judge, reward. Atomic.

    log_p is null where the judge's outputs are not the domain's classes, reward where there is none.
    """
    same = seen.logits.shape[1] == run.domain.classes
    log_p = log_probability(seen.logits, labels).tolist() if same else [None] * len(labels)
    table = pa.table(
        {
            "index": pa.array(range(len(labels)), pa.int64()),
            "label": pa.array(labels.tolist(), pa.int64()),
            "predicted": pa.array(seen.logits.argmax(1).tolist(), pa.int64()),
            "log_p": pa.array(log_p, pa.float32()),
            "reward": pa.array([None] * len(labels) if reward is None else reward.tolist(), pa.float32()),
        }
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    pq.write_table(table, part)
    os.replace(part, out)
