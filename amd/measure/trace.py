"""Numbers at every milestone of a run, for the paper's Figures 5 and 6: metrics and reward over student updates.

Iteration 0 is the start's student, so that the curves of all second stages begin at one point. Fewer samples than a
table's (`trace_samples`), the same ones at every milestone and in every system.
"""

from pathlib import Path

from amd.config import plan
from amd.config.load import Run
from amd.config.schema.tables import Benchmark
from amd.measure.identity import identity
from amd.measure.judge import build_judge
from amd.measure.metrics import Evidence, measure, rewards, wanted
from amd.measure.reference import read_reference
from amd.measure.sample import build_sampler, device, draw
from amd.train.artifact import artifact_sha, read_meta, write_json
from amd.train.finished import weights
from amd.train.reward import build_reward
from amd.train.threads import threads


def milestones(folder: Path) -> dict[int, str]:
    """Iteration -> name in the artefact, in order. ValueError where it holds none."""
    files = read_meta(folder)["files"]
    assert isinstance(files, dict)
    names = [name.removesuffix(".safetensors") for name in files if name.startswith("milestones/")]
    if not names:
        raise ValueError(f"{folder}: holds no milestones, so there is nothing to trace; distil it again")
    return {int(name.removeprefix("milestones/")): name for name in sorted(names)}


def trace(run: Run, benchmark: Benchmark, reference: Path, out: Path) -> None:
    """Sample every milestone, measure it against a folder of `amd reference`, and write the curves as JSON."""
    threads()
    folder = Path(plan.folder(run))
    points = [(iteration, run, name) for iteration, name in milestones(folder).items()]
    if run.start is not None:
        points.insert(0, (0, run.start, run.start.system.kind))
    judge = build_judge(run, device())
    metrics = wanted(run, benchmark, judge)
    whole, _ = read_reference(Path(reference), run, benchmark, judge)
    reward = build_reward(run, device()) if "reward" in metrics else None
    curves: dict[str, list[float]] = {key: [] for key in metrics}
    for iteration, owner, name in points:
        sampler = build_sampler(run, benchmark, weights(owner, name))
        indices = range(run.klass.trace_samples)
        images, labels = draw(sampler, indices, f"{run.name} seed {run.seed} after {iteration} updates")
        given = None if reward is None else rewards(run, reward, images, labels)
        evidence = Evidence(judge.look(images), labels, given, whole, benchmark.splits)
        for key, value in measure(metrics, evidence).items():
            curves[key].append(value)
    content = {
        "iterations": [iteration for iteration, _, _ in points],
        "metrics": curves,
        "n": run.klass.trace_samples,
        "weights_sha256": [artifact_sha(Path(plan.folder(owner)), name) for _, owner, name in points],
        **identity(run, benchmark, judge.sha256),
    }
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    write_json(Path(out), content)
