"""Clones of this repository with a main job of two students, a store to push to, and DVC and Snakemake run in them."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 900  # twenty times what the longest call takes on two idle cores
SCALE = "smoke"
STUDENTS = ("sit-dmd", "sit-amd")
TRAINED = ("digits-judge", "digits-reward", "sit-teacher", "sit-warm-short", *STUDENTS)
KEY, SECRET = "AKIA0LOOPBACK0TEST", "wJalr0not0a0secret0but0must0not0be0printed"

TRAIN = """
import sys
from amd.__main__ import main
from amd.config import plan
from amd.config.load import load
library = load()
for verb, name in (each.split(":") for each in sys.argv[1:]):
    run = library.run(name, "smoke", 0)
    where = ["--out", plan.folder(run), "--state", plan.state("smoke", name, 0, run.digest)]
    code = main([verb, "--scale", "smoke", "--system", name, "--seed", "0", *where])
    assert code == 0, (verb, name, code)
"""


@dataclass
class Clone:
    """A git checkout."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)  # everything that any command here has printed

    def run(self, *command: str, check: bool = True, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command here."""
        child = subprocess.Popen(
            command,
            cwd=self.folder,
            env=os.environ
            | {
                "OMP_NUM_THREADS": "1",
                "XDG_CACHE_HOME": str(self.folder / ".cache"),
                "DVC_SITE_CACHE_DIR": str(self.folder / ".cache/dvc-site"),
                "DVC_NO_ANALYTICS": "1",
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
            }
            | self.env,
            stdin=subprocess.PIPE if given is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # its jobs must not outlive it
        )
        try:
            stdout, stderr = child.communicate(given, timeout=TIMEOUT_S)
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
        self.said += [stdout, stderr]
        if check and child.returncode:
            logs = "".join(f"\n--- {f}\n{f.read_text()}" for f in self.folder.glob("results/*/*/*/logs/*.log"))
            raise AssertionError(f"{' '.join(command)} exited {child.returncode}:\n{stdout}\n{stderr}{logs}")
        return subprocess.CompletedProcess(command, child.returncode, stdout, stderr)

    def amd(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`python -m amd ...`."""
        return self.run(sys.executable, "-m", "amd", *arguments, check=check)

    def dvc(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`dvc ...`, as a person types it."""
        return self.run(sys.executable, "-m", "dvc", *arguments, check=check)

    def store(self, url: str, name: str = "store", **options: str) -> None:
        """What `dvc remote add --local --default NAME URL` and `dvc remote modify --local` write, options and all."""
        lines = ["[core]", f"remote = {name}", f"['remote \"{name}\"']", f"url = {url}"]
        lines += [f"{key} = {value}" for key, value in options.items()]
        (self.folder / ".dvc/config.local").write_text("\n".join(lines) + "\n")

    def git(self, *arguments: str) -> str:
        """`git ...`; what it printed."""
        return self.run("git", "-c", "user.name=Test", "-c", "user.email=test@example.org", *arguments).stdout

    def snakemake(
        self, *targets: str, config: str = "", options: tuple[str, ...] = (), check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """`snakemake TARGETS --config scale=smoke CONFIG` on two cores."""
        chosen = ("--config", f"scale={SCALE}", *filter(None, [config]))
        return self.run(sys.executable, "-m", "snakemake", "-c2", *options, *chosen, "--", *targets, check=check)

    def rules(self, said: subprocess.CompletedProcess[str]) -> set[str]:
        """The rules of which a run (or a dry run) had jobs."""
        found = re.search(r"^Job stats:\njob .*\n-[- ]+\n((?:\w+ +\d+\n)+)", said.stdout + said.stderr, flags=re.M)
        if found is None:
            assert "Nothing to be done" in said.stdout + said.stderr
            return set()
        return {line.split()[0] for line in found[1].splitlines()} - {"total"}

    def clone(self, folder: Path, **env: str) -> "Clone":
        """`git clone` of what is committed here."""
        subprocess.run(["git", "clone", "-q", str(self.folder), str(folder)], check=True, capture_output=True)
        return Clone(folder, env)

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace text that stands in a file exactly once."""
        path = self.folder / file
        text = path.read_text()
        assert text.count(old) == 1, f"{file} holds {old!r} {text.count(old)} times"
        path.write_text(text.replace(old, new))


def bare(folder: Path) -> Clone:
    """This repository as it is, in a git repository of its own: nothing published, one seed, a table of two rows."""
    folder.mkdir(parents=True)
    for name in ("Snakefile", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder)
    for name in ("workflow", "config"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("checkpoints/.gitignore", ".dvc/.gitignore", ".dvc/config", "results/published/README.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    clone = Clone(folder)
    clone.edit(f"config/scales/{SCALE}.yaml", "seeds: [0, 1]", "seeds: [0]")
    table = folder / "config/tables/table4.yaml"
    kept = [
        line
        for line in table.read_text().splitlines()
        if not line.startswith("  - {title:") or re.search(r"system: (sit-dmd|sit-amd)[,}]", line)
    ]
    table.write_text("\n".join(kept) + "\n")
    choice = folder / "config/config.yaml"
    choice.write_text(re.sub(r"(main:.*\n.*\n\s+figures: )\[.*\]", r"\1[]", choice.read_text()))
    clone.git("init", "-q", "-b", "main")
    clone.git("add", "-A")
    clone.git("commit", "-qm", "as it is")
    return clone


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Where the main job was trained, tracked and published; committed, and nothing pushed yet."""
    pytest.importorskip("dvc", reason="DVC is not installed: the extra `cluster` has it")
    clone = bare(tmp_path_factory.mktemp("dvc") / "origin")
    verbs = [f"{'distill' if run in (*STUDENTS, 'sit-warm-short') else 'pretrain'}:{run}" for run in TRAINED]
    clone.run(sys.executable, "-c", TRAIN, *verbs)  # one process: torch is loaded once
    clone.snakemake("publish")
    clone.git("add", "-A")
    clone.git("commit", "-qm", "published")
    return clone


@pytest.fixture(scope="session")
def store(origin: Clone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that everything was pushed to."""
    folder = tmp_path_factory.mktemp("store")
    origin.store(str(folder))
    assert "pushed" in origin.dvc("push").stdout
    return folder


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """Address of an S3 server on loopback with an empty bucket `checkpoints`."""
    for package in ("dvc_s3", "moto", "flask", "flask_cors"):
        pytest.importorskip(package, reason=f"{package} is not installed: the extras `cluster` and `dev` have it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(urllib.request.Request(f"{address}/checkpoints", method="PUT"), timeout=5)
                break
            except OSError:
                assert server.poll() is None, "the S3 server ended at once"
                time.sleep(0.25)
        else:
            raise AssertionError("the S3 server did not answer within 30 s")
        yield address
    finally:
        server.kill()
        server.wait()
