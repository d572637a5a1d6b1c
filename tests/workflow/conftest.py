"""A checkout of the workflow in a folder of its own, to be built and edited, and Snakemake run in it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGINS = Path(__file__).parent / "plugins"
TIMEOUT_S = 1800  # ten times what the longest call takes on two idle cores


@dataclass
class Dry:
    """What a dry run said."""

    text: str
    jobs: list[dict] = field(default_factory=list)
    imported: set[str] = field(default_factory=set)  # every module that was loaded

    def count(self) -> Counter:
        """Jobs of each rule."""
        return Counter(job["rule"] for job in self.jobs)

    def of(self, rule: str) -> list[dict]:
        """The jobs of a rule."""
        return [job for job in self.jobs if job["rule"] == rule]

    def runs(self, rule: str) -> set[str]:
        """The runs (systems) that a rule's jobs are about."""
        return {job["wildcards"]["run"] for job in self.of(rule)}


class Checkout:
    """Snakefile, workflow/ and config/ as they are, in a folder without results; the package is the installed one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(ROOT / "Snakefile", folder)
        for name in ("workflow", "config"):
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "slurm").symlink_to("workflow/profiles/slurm")

    def call(self, *command: str, check: bool = True, **env: str) -> subprocess.CompletedProcess:
        """Run `python -m COMMAND` here."""
        child = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=self.folder,
            env=os.environ | {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(self.folder / ".cache")} | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # its jobs must not outlive it
        )
        try:
            stdout, stderr = child.communicate(timeout=TIMEOUT_S)
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
        done = subprocess.CompletedProcess(command, child.returncode, stdout, stderr)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} exited {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def dry(self, *arguments: str, scale: str, config: str = "") -> Dry:
        """`snakemake -n ARGUMENTS --config scale=SCALE CONFIG`."""
        file = self.folder / "jobs.jsonl"
        file.unlink(missing_ok=True)
        done = self.call(
            *("snakemake", "-n", *arguments, "--logger", "jobs", "--config", f"scale={scale}", *config.split()),
            PYTHONPATH=str(PLUGINS),
            PYTHONPROFILEIMPORTTIME="1",
            AMD_TEST_JOBS=str(file),
        )
        jobs = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
        lines = (done.stdout + done.stderr).splitlines()
        imports = [line for line in lines if line.startswith("import time:")]
        text = "\n".join(line for line in lines if not line.startswith("import time:"))
        return Dry(text, jobs, {line.rsplit("|", 1)[-1].strip() for line in imports})

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace text that stands in a file exactly once."""
        path = self.folder / file
        text = path.read_text()
        assert text.count(old) == 1, f"{file} holds {old!r} {text.count(old)} times"
        path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """One checkout for a file's tests."""
    return Checkout(tmp_path_factory.mktemp("checkout"))
