"""What tests see of the Slurm cluster on this machine, and checkouts whose jobs run on it."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LAB = Path(os.environ.get("AMD_SLURM_LAB", "/tmp/amd-slurm"))
SCALE = "smoke"
STUDENTS = ("sit-amd", "sit-dmd", "sit-naive", "sit-d-dmd")  # that tests measure, of seed 0
PATIENCE_S = 1500  # for a whole workflow, on two busy cores
POLLS = ("--slurm-init-seconds-before-status-checks", "2")
KILLS: list[tuple[str, ...]] = []  # rows of the kill matrix, printed at the end

_spec = importlib.util.spec_from_file_location("workflow_checkout", HERE.parent / "workflow" / "conftest.py")
assert _spec is not None
assert _spec.loader is not None
_workflow = importlib.util.module_from_spec(_spec)
sys.modules["workflow_checkout"] = _workflow
_spec.loader.exec_module(_workflow)
Checkout = _workflow.Checkout


@dataclass(frozen=True)
class Task:
    """A process that Slurm started: which job, where, on which GPUs, from when to when."""

    job: int
    step: str  # "batch" or a number
    rank: int
    node: str
    gpus: frozenset[str]
    began: float
    ended: float

    def meets(self, other: "Task") -> bool:
        """Whether both ran at some time."""
        return self.began < other.ended and other.began < self.ended


class Slurm:
    """The running cluster."""

    def tasks(self, since: float = 0.0) -> list[Task]:
        """Every task that began after `since` (Unix time), from what the tasks' prologs and epilogs wrote."""
        begun: dict[tuple[str, ...], tuple[float, frozenset[str]]] = {}
        found = []
        for line in (LAB / "log/tasks").read_text().splitlines():
            event, when, *key, gpus = line.split()
            if event == "begin":
                begun[tuple(key)] = float(when), frozenset() if gpus == "-" else frozenset(gpus.split(","))
            elif tuple(key) in begun:
                began, devices = begun.pop(tuple(key))
                found.append(self._task(key, devices, began, float(when)))
        found += [self._task(list(key), devices, began, time.time()) for key, (began, devices) in begun.items()]
        return [task for task in found if task.began >= since]

    def jobs(self, folder: Path, *states: str) -> dict[int, dict[str, str]]:
        """Jobs that were submitted from a folder and are in these states (without any: all of ten minutes), by id."""
        wanted = ",".join(states) or "all"
        # job, state, partition, nodes, array's id, reason, comment, folder; the folder last, as it may hold anything
        lines = ask("squeue", "--noheader", "--array", f"--states={wanted}", "--format=%A|%T|%P|%N|%F|%r|%k|%Z")
        keys = ("state", "partition", "nodes", "array", "reason", "comment", "folder")
        found = (line.split("|", 7) for line in lines.splitlines())
        known = {int(job): dict(zip(keys, rest, strict=True)) for job, *rest in found}
        return {job: each for job, each in known.items() if each["folder"] == str(folder)}

    def jobs_of(self, folder: Path, rule: str, run: str, seed: int, *states: str) -> list[int]:
        """The jobs that Snakemake submitted for a run, oldest first, by the comment that its plugin gives them."""
        wanted = f"rule_{rule}_wildcards_{SCALE}_{run}_{seed}"
        return sorted(job for job, known in self.jobs(folder, *states).items() if known["comment"] == wanted)

    def empty(self, folder: Path) -> None:
        """Cancel what a test left, and wait until it is gone."""
        there = ("PENDING", "RUNNING", "COMPLETING", "SUSPENDED")
        if left := list(map(str, self.jobs(folder, *there))):
            subprocess.run(["scancel", "--signal=KILL", "--full", *left], capture_output=True)
            subprocess.run(["scancel", *left], capture_output=True)
            until(lambda: not self.jobs(folder, *there), 60, "jobs to leave")

    @staticmethod
    def _task(key: list[str], gpus: frozenset[str], began: float, ended: float) -> Task:
        job, step, rank, node = key
        return Task(int(job), step, int(rank), node, gpus, began, ended)


def ask(*command: str) -> str:
    """What a command prints; CalledProcessError with its own words where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{' '.join(command)} exited {done.returncode}: {done.stderr}"
    return done.stdout.strip()


def ended(child: subprocess.Popen[str]) -> str:
    """What a process printed, once it has ended well; AssertionError with its words where it has not."""
    try:
        said = child.communicate(timeout=PATIENCE_S)[0]
    except BaseException:
        child.kill()
        raise
    assert child.returncode == 0, said
    return said


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """What `condition` says once it says something true; AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.2)
    raise AssertionError(f"waited {seconds:.0f} s for {what}")


class Site(Checkout):  # type: ignore[misc,valid-type]
    """A checkout on the cluster."""

    def snakemake(self, *arguments: str, check: bool = True) -> str:
        """`snakemake --profile slurm ARGUMENTS --config scale=smoke` to its end; what it printed."""
        child = self.start(*arguments)
        try:
            said = child.communicate(timeout=PATIENCE_S)[0]
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise
        assert not check or child.returncode == 0, f"exit code {child.returncode}:\n{said[-6000:]}"
        return said

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The same, in the background."""
        promptly = (sys.executable, "-P", str(HERE / "promptly.py"))  # -P: no module of this folder is Snakemake's
        return subprocess.Popen(
            [*promptly, "--profile", "slurm", *arguments, *POLLS, "--config", f"scale={SCALE}"],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def environment(self) -> dict[str, str]:
        """Of everything that is started here, jobs included: `amd` is this checkout's tests' own."""
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        return os.environ | {
            "OMP_NUM_THREADS": "1",
            "XDG_CACHE_HOME": str(self.folder / ".cache"),
            "PYTHONPATH": path,
        }

    def amd(self, *arguments: str) -> str:
        """`python -m amd ARGUMENTS` here, without Slurm, to its end; what it printed."""
        return ended(self.begin_amd(*arguments))

    def begin_amd(self, *arguments: str) -> subprocess.Popen[str]:
        """The same, in the background."""
        return subprocess.Popen(
            [sys.executable, "-m", "amd", *arguments],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def meta(self, folder: str) -> dict[str, Any]:
        """What an artefact says of itself."""
        return json.loads((self.folder / folder / "meta.json").read_text())

    def sha(self, run: str, seed: int) -> str:
        """sha256 of a student's weights."""
        return str(self.meta(f"checkpoints/{SCALE}/{run}/seed{seed}")["files"]["student.safetensors"])

    def smoke(self, old: str, new: str) -> None:
        """Replace text that stands in config/scales/smoke.yaml exactly once."""
        self.edit(f"config/scales/{SCALE}.yaml", old, new)
