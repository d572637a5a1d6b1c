"""What samples are compared with, and what real images score themselves: made once for all systems, read by each.

The statistics' square roots and the manifold's radii are stored too: they cost more than a score's own features.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amd.config import plan
from amd.config.load import Run
from amd.config.schema.closed import PROMPTED
from amd.config.schema.tables import Benchmark
from amd.data.sources import half
from amd.distill.noise import generator
from amd.measure.fidelity import Manifold, Moments
from amd.measure.judge import Judge, Real, Reference, build_judge
from amd.measure.metrics import DRAWN, Evidence, measure, rewards, wanted
from amd.measure.sample import device
from amd.rewards.base import Reward
from amd.train.artifact import Refused, read_artifact, read_meta, write_artifact
from amd.train.reward import build_reward
from amd.train.threads import threads

FILE = "reference"  # .safetensors within the folder


def reference(run: Run, benchmark: Benchmark, out: Path) -> None:
    """Look at the real images; write the folder `out`: statistics and manifold, the floor in its meta.json.

    `run` is any run whose samples this judge will see: it names the domain, the judge and the reward.
    """
    if run.system.track in PROMPTED:
        from amd.measure import text  # the panels of scorers are no business of the class track

        text.reference(run, benchmark, out)
        return
    threads()
    judge = build_judge(run, device())
    metrics = wanted(run, benchmark, judge)
    reward = build_reward(run, device()) if "reward" in metrics and judge.real is not None else None
    whole = judge.reference(metrics)
    meta = {
        "kind": FILE,
        "digest": plan.reference_digest(run, benchmark),
        "benchmark": benchmark.name,
        "judge": run.domain.judge.name,
        "judge_sha256": judge.sha256,
        "floor": {} if judge.real is None else floor(run, benchmark, judge.real, whole, reward, metrics),
    }
    write_artifact(Path(out), {FILE: _tensors(whole)}, meta)


def read_reference(folder: Path, run: Run, benchmark: Benchmark, judge: Judge) -> tuple[Reference, dict[str, Any]]:
    """(what to compare with, the floor). Refused, by name, where it is not the one that this run's scores mean."""
    meta = read_meta(folder)
    said = {"digest": plan.reference_digest(run, benchmark), "judge_sha256": judge.sha256}
    for key, value in said.items():
        if meta.get(key) != value:
            raise Refused(f"{folder}: {key} is {meta.get(key)}, wanted is {value}; delete the folder and make it again")
    found = meta["floor"]
    assert isinstance(found, dict)
    return _restored(read_artifact(folder, FILE)), found


def _tensors(whole: Reference) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, each in (("pool", whole.pool), ("spatial", whole.spatial)):
        tensors |= {f"{name}.mean": each.mean, f"{name}.covariance": each.covariance, f"{name}.root": each.root}
    if whole.manifold is not None:
        tensors |= {"manifold.points": whole.manifold.points, "manifold.radii": whole.manifold.radii}
    return tensors


def _restored(tensors: Mapping[str, Tensor]) -> Reference:
    def of(name: str) -> Moments:
        return Moments.known(*(tensors[f"{name}.{part}"] for part in ("mean", "covariance", "root")))

    points = tensors.get("manifold.points")
    manifold = None if points is None else Manifold.known(points, tensors["manifold.radii"])
    return Reference(of("pool"), of("spatial"), manifold)


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

    drawn = torch.randint(len(labels), (run.klass.samples,), generator=generator("floor", benchmark.seed))
    values["at_n"] = measure([key for key in metrics if key in DRAWN], _rows(everything, drawn))
    return values


def _rows(evidence: Evidence, rows: Tensor) -> Evidence:
    reward = None if evidence.reward is None else evidence.reward[rows]
    return replace(evidence, seen=evidence.seen[rows], labels=evidence.labels[rows], reward=reward)
