"""`amd doctor --cluster`: jobs of seconds through the profile, and what they found on their nodes.

What is asked: does a job see the GPUs that it asked for, and no other job's; do all ranks of a distillation meet, and
share a layer out where networks are to be sharded; is a checkpoint that one node wrote read on another; does a requeued
job hear SIGTERM in time to save. The jobs are in workflow/selftest.smk, what they do is in `amd.train.probe`; they ask
for what the scale's footprints ask for.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from amd.config.jobs import footprint
from amd.config.load import Library
from amd.doctor import MARK, Finding

PROFILE = "slurm"
SNAKEFILE = "workflow/selftest.smk"
CLOSE = 1e-3  # of a gradient's length; matrix products of GPUs may be rounded to 10 bits (TF32)


def examine(library: Library, scale: str) -> int:
    """Submit the jobs, wait for them, print what they found; 1 when something is not as it must be, else 0."""
    if shutil.which("sbatch") is None:
        print("No sbatch here: `amd doctor --cluster` runs where jobs are submitted from (a login node).")
        return 1
    holds = Path("state/selftest") / scale
    shutil.rmtree(holds, ignore_errors=True)
    print(
        f"Six jobs of seconds at scale {scale}, through the profile `{PROFILE}`; they wait as long as the queue does."
    )
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", SNAKEFILE, "--profile", PROFILE, "--config"),
        *(f"scale={scale}", "--slurm-init-seconds-before-status-checks", "5", "--quiet", "all", "--", "selftest"),
    ]
    done = subprocess.run(command)
    found = [*_devices(library, scale, holds), *_ranks(library, scale, holds), *_checkpoint(holds), *_requeue(holds)]
    print(f"\nThrough the profile `{PROFILE}`")
    for state, what, words in found:
        print(f"  {MARK[state]}  {what:<14} {words}", flush=True)
    bad = sum(state == "bad" for state, _, _ in found)
    if done.returncode and not bad:
        bad = 1
        print("  !!  Snakemake failed though every job left its report; its own words are above")
    print(
        f"\n{bad} thing{'s' * (bad > 1)} to put right, in {PROFILE}/profile.yaml or on the cluster (docs/cluster.md)."
        if bad
        else f"\nThis cluster can run scale {scale}: `snakemake --profile {PROFILE} all`."
    )
    return int(bad > 0)


def _devices(library: Library, scale: str, holds: Path) -> Iterator[Finding]:
    """Two jobs like `sample`: each saw what it asked for, and none what the other had."""
    said = [_report(holds, f"devices-{part}") for part in (0, 1)]
    for part, each in enumerate(said):
        if each is None:
            yield _missing("devices", holds, f"devices-{part}")
            continue
        asked, visible = each["asked"], each["visible"]
        where = f"job {each['job']} on {each['node']}"
        if asked == 0:
            yield Finding("good", "devices", f"{where}: no GPU asked for at scale {scale}")
        elif len(visible) != asked:
            yield Finding(
                "bad",
                "devices",
                f"{where}: asked for {asked} and sees CUDA_VISIBLE_DEVICES={','.join(visible) or '(unset)'}; does the "
                "cluster's gres.conf name the devices (File=)?",
            )
        elif len(each["torch"]) != asked:
            why = "" if each["driver"] else "; the node has no NVIDIA driver (/proc/driver/nvidia)"
            yield Finding(
                "bad",
                "devices",
                f"{where}: Slurm gave {','.join(visible)}, torch sees {len(each['torch'])} of {asked}{why}",
            )
        else:
            yield Finding("good", "devices", f"{where}: {', '.join(each['torch'])} as {','.join(visible)}")
    if all(each and each["asked"] for each in said):
        yield _apart(*(each for each in said if each))


def _apart(one: dict[str, Any], other: dict[str, Any]) -> Finding:
    """Whether two jobs that ran at the same time on the same node had different devices."""
    together = one["began"] < other["ended"] and other["began"] < one["ended"] and one["node"] == other["node"]
    shared = sorted(set(one["visible"]) & set(other["visible"]))
    if not together:
        where = {one["node"], other["node"]}
        words = f"the two jobs did not meet within {one['wait']:.0f} s (twice the profile's latency-wait)"
        if len(where) > 1:
            words = f"the two jobs were on {' and '.join(sorted(where))}"
        return Finding("bare", "devices apart", f"{words}, so nothing is known")
    if shared:
        return Finding("bad", "devices apart", f"two jobs at a time had device {','.join(shared)} of {one['node']}")
    return Finding("good", "devices apart", f"two jobs at a time on {one['node']} had different devices")


def _ranks(library: Library, scale: str, holds: Path) -> Iterator[Finding]:
    """One job like `distill`: every rank is there, where it should be, and heard from all."""
    asked = footprint(library, scale, "distill")
    world = asked.nodes * max(asked.gpus, 1)
    said = _report(holds, "ranks")
    if said is None:
        yield _missing("ranks", holds, "ranks")
        return
    nodes = sorted({rank["node"] for rank in said["ranks"]})
    words = f"{said['world']} ranks on {', '.join(nodes)}"
    if said["world"] != world or len(nodes) != asked.nodes:
        yield Finding("bad", "ranks", f"{words}; {world} on {asked.nodes} nodes were asked for ({holds}/ranks.log)")
    elif said["sum"] != sum(range(world)):
        yield Finding("bad", "ranks", f"{words}: their sum is {said['sum']} and not {sum(range(world))}")
    else:
        by = f" by {said['backend']}" if said["backend"] else ""
        yield Finding("good", "ranks", f"{words} met{by} after {said['seconds']:.1f} s")
    doubled = [rank for rank in said["ranks"] if rank["device"].startswith("cuda")]
    if len({(rank["node"], rank["device"]) for rank in doubled}) < len(doubled):
        yield Finding("bad", "ranks", "two ranks have one device")
    if asked.sharding != "none":
        yield _sharding(asked.sharding, said)


def _sharding(asked: str, said: dict[str, Any]) -> Finding:
    """What the same job found when it shared a layer out."""
    if said["mesh"] is None:
        return Finding("bare", "sharding", f"{asked} is asked for, and one process has nothing to share out")
    *copies, over = said["mesh"]
    words = f"{asked} over {over} ranks" + (f", a copy on each of {copies[0]} nodes" if copies else "")
    if said["apart"] > CLOSE:
        return Finding("bad", "sharding", f"{words}: a gradient is off by {said['apart']:.1g} of its length")
    return Finding("good", "sharding", f"{words}: the gradients of one process")


def _checkpoint(holds: Path) -> Iterator[Finding]:
    """Written by one job, read by another on another node."""
    wrote, read = _report(holds, "written"), _report(holds, "read")
    if wrote is None or read is None:
        yield _missing("checkpoint", holds, "written" if wrote is None else "read")
    elif wrote["node"] == read["node"]:
        yield Finding("bare", "checkpoint", f"written and read on {read['node']}: no other node was to be had")
    else:
        yield Finding(
            "good",
            "checkpoint",
            f"written on {wrote['node']}, read on {read['node']} with the same sha256 {wrote['sha256'][:12]}",
        )


def _requeue(holds: Path) -> Iterator[Finding]:
    """Signalled, restarted under the same id."""
    said = _report(holds, "requeue")
    if said is None:
        yield _missing("requeue", holds, "requeue")
    elif said["heard"] is None:
        yield Finding(
            "bad",
            "requeue",
            f"job {said['job']} was restarted without a signal: a preempted training loses what it did since its last "
            "state (KillWait and the partition's GraceTime give it time to save)",
        )
    else:
        after, away = said["heard"]["after_s"], said["away_s"]
        yield Finding(
            "good",
            "requeue",
            f"job {said['job']} heard {said['heard']['signal']} after {after:.1f} s, was back after {away:.0f} s",
        )


def _report(holds: Path, name: str) -> dict[str, Any] | None:
    """What a job left, or None."""
    file = holds / f"{name}.json"
    if not file.is_file():
        return None
    content = json.loads(file.read_text())
    assert isinstance(content, dict), f"{file} is not a job's report"
    return content


def _missing(what: str, holds: Path, name: str) -> Finding:
    """The end of the job's own log, which says more than we know."""
    log = holds / f"{name}.log"
    last = log.read_text().strip().splitlines()[-1:] if log.is_file() else []
    words = f"no report; {log} ends with: {last[0]}" if last else "no report and no log; did the job start? (squeue)"
    return Finding("bad", what, words)
