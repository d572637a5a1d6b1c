"""Where the test cluster cannot be started it says why, with the exit code by which tests skip."""

import os
import subprocess
from pathlib import Path

from lab import HERE, Slurm


def up(*before: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`slurm.sh up`, started by another command."""
    return subprocess.run(
        [*before, "bash", str(HERE / "slurm.sh"), "up"], capture_output=True, text=True, env=os.environ | env
    )


def test_it_wants_root(slurm: Slurm, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    done = up("setpriv", "--reuid=65534", "--clear-groups", AMD_SLURM_LAB=str(tmp_path / "lab"))
    assert done.returncode == 3
    assert "wants root" in done.stderr


def test_it_leaves_another_cluster_alone(slurm: Slurm, tmp_path: Path) -> None:
    done = up(AMD_SLURM_LAB=str(tmp_path / "lab"))
    assert done.returncode == 3
    assert "belongs to another cluster" in done.stderr


def test_said_twice_it_starts_nothing_twice(slurm: Slurm) -> None:
    controller = Path(os.environ["SLURM_CONF"]).parents[1] / "pid/slurmctld"
    before = controller.read_text()
    assert up().returncode == 0
    assert controller.read_text() == before
