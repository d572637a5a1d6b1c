"""What Slurm has of this user's jobs: which wait and why, which run. Nothing where there is no Slurm."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

FIELDS = "%A|%T|%r|%Z|%k"  # job id (of an array: the task's own), state, reason, folder, comment


@dataclass(frozen=True)
class Entry:
    """A line of squeue."""

    job: str
    state: str  # PENDING, RUNNING, COMPLETING ...
    reason: str  # why it waits: Resources, Priority, BeginTime ...
    folder: str  # where it was submitted: another checkout's jobs carry the same comments
    comment: str  # Snakemake's executor writes the rule and its wildcards here

    @property
    def waits(self) -> bool:
        """Whether it has not begun, or was sent back."""
        return self.state in ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED")

    @property
    def rule(self) -> str:
        """The rule (or the group of jobs) that it was submitted for."""
        return self.comment.removeprefix("rule_").split("_wildcards_")[0]


def queue(root: Path = Path()) -> list[Entry] | None:
    """This user's jobs from this checkout; None where squeue is absent or silent, which is not the same as no jobs."""
    command = ["squeue", "--noheader", "--array", f"--user={os.getuid()}", f"--format={FIELDS}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=15, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    here = root.resolve()
    return [entry for entry in parse(done.stdout) if Path(entry.folder).resolve() == here]


def parse(text: str) -> list[Entry]:
    """Lines as `FIELDS` orders them."""
    lines = [line.strip().split("|", 4) for line in text.splitlines()]
    return [Entry(*line) for line in lines if len(line) == 5]


def comment(rule: str, wildcards: tuple[str, ...]) -> str:
    """What snakemake-executor-plugin-slurm writes into a job's comment (2.8.0, `comment_str`)."""
    return f"rule_{rule}_wildcards_{'_'.join(wildcards).replace('/', '_')}"
