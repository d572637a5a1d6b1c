"""What every number that leaves the program carries, and whether samples are those that a score would say they are."""

from collections.abc import Mapping
from pathlib import Path

from amd.config import plan
from amd.config.load import Run
from amd.config.schema.tables import Benchmark
from amd.train.artifact import artifact_sha, created, git_sha, versions


def identity(run: Run, benchmark: Benchmark, judge_sha256: str | Mapping[str, str]) -> dict[str, object]:
    """What every number that leaves the program carries."""
    scorer = run.reward
    return {
        "benchmark": benchmark.name,
        "version": benchmark.version,
        "protocol": benchmark.protocol,
        "judge": run.domain.judge.name,
        "judge_sha256": judge_sha256,
        "reward": run.domain.reward.name,
        "reward_sha256": None if scorer is None else artifact_sha(Path(plan.folder(scorer)), scorer.system.kind),
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
    if n != (asked := plan.sample_count(run, benchmark)):
        raise ValueError(
            f"{samples}: {n} samples, but scale '{run.scale.name}' scores {asked}; gather all shards, or sample again"
        )
    if (frames := manifest.get("frames")) is not None:
        raise ValueError(f"{samples}: clips of {frames} frames, drawn by --frames to be looked at; sample without it")
    said = {"benchmark": benchmark.name, "version": benchmark.version, "run": run.name, "run_digest": run.digest}
    for key, value in {**said, "seed": run.seed}.items():
        if manifest[key] != value:
            raise ValueError(f"{samples}: {key} is {manifest[key]!r}, to be scored is {value!r}; sample again")
