"""A training that runs somewhere in the cluster, as its files show it."""

import json
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from lab import KILLS, SCALE, Site, ended

from amd.config.load import load

SAVE_EVERY_S = 2.0
BESIDE: dict[str, tuple[subprocess.Popen[str], Path]] = {}  # digest -> who makes the uninterrupted student, and where


@dataclass
class Kill:
    """What stood there when a training was ended."""

    job: int
    state: int  # iterations of the newest state
    age_s: float  # of that state
    reached: int  # last iteration in the journal


class Watched:
    """A student's training, from outside."""

    def __init__(self, site: Site, run: str, seed: int) -> None:
        self.site, self.run, self.seed = site, run, seed
        digest = load(site.folder / "config").run(run, SCALE, seed).digest
        self.state = site.folder / f"state/{SCALE}/{run}/seed{seed}-{digest}"
        self.out = f"checkpoints/{SCALE}/{run}/seed{seed}"
        self.log = site.folder / f"results/{SCALE}/{run}/seed{seed}/logs/distill.log"

    def newest(self) -> int:
        """Iterations of the newest state; 0 without one."""
        return max((int(f.name[5:]) for f in self.state.glob("step-*") if f.name[5:].isdigit()), default=0)

    def reached(self) -> int:
        """The last iteration that the journal has."""
        journal = self.state / "journal.jsonl"
        lines = journal.read_text().splitlines() if journal.is_file() else []
        return json.loads(lines[-1])["step"] if lines and lines[-1].endswith("}") else 0

    def holder(self) -> dict:
        """Who holds the lease."""
        try:
            return json.loads((self.state / "lease").read_text() or "{}")
        except (FileNotFoundError, ValueError):
            return {}

    def resumed(self) -> int:
        """Where the last attempt began, by its log."""
        said = self.log.read_text()
        if "finished already" in said or "finished before and put back" in said:
            return self.reached()
        found = re.findall(r"from iteration (\d+) to", said)
        assert found, f"{self.log} does not say where it began:\n{said}"
        return int(found[-1])

    def snapshot(self, job: int) -> Kill:
        """What stands there now."""
        newest = self.newest()
        folder = self.state / f"step-{newest:06d}"
        age = time.time() - folder.stat().st_mtime if folder.is_dir() else float("inf")
        return Kill(job, newest, age, self.reached())


def longer(site: Site, iterations: int) -> None:
    """Trainings of ten seconds and more, with a state every two seconds."""
    site.smoke("finetune: 2", f"finetune: {iterations}")
    site.smoke("distill: {", f"distill: {{save_every_s: {SAVE_EVERY_S}, ")


def note(event: str, kill: Kill, resumed: int, attempts: int, same: bool) -> None:
    """A row of the kill matrix."""
    newest = f"{kill.state} ({kill.age_s:.1f} s old)"
    lost = f"{max(0, kill.reached - resumed)} iterations"
    KILLS.append((event, str(kill.reached), newest, str(resumed), lost, str(attempts), "same" if same else "OTHER"))


def begin_beside(site: Site, run: str, seed: int) -> str:
    """Begin to make the student that nothing interrupts, by the same verb, typed, on this machine; its digest.

    Tests begin it where a core would wait for Slurm otherwise. All sites start from the same checkpoints, so one
    student of a digest serves them all.
    """
    digest = load(site.folder / "config").run(run, SCALE, seed).digest
    if digest not in BESIDE:
        out, state = f"beside/{run}-{seed}-{digest}", f"beside/state-{run}-{seed}-{digest}"
        verb = f"distill --scale {SCALE} --system {run} --seed {seed} --out {out} --state {state}"
        BESIDE[digest] = site.begin_amd(*verb.split()), site.folder / out
    return digest


def uninterrupted(site: Site, run: str, seed: int) -> Path:
    """The folder of the student when nothing happens."""
    child, folder = BESIDE[begin_beside(site, run, seed)]
    if not folder.is_dir():
        ended(child)
    return folder


def same_student(site: Site, run: str, seed: int) -> bool:
    """Whether the student that the workflow made is, bit for bit, the one that nothing interrupted."""
    meta = json.loads((uninterrupted(site, run, seed) / "meta.json").read_text())
    return site.sha(run, seed) == meta["files"]["student.safetensors"]
