"""A Slurm cluster on this machine for as long as the tests run, and what they share.

They take minutes and root, so they run only when this folder is named: `make cluster-test`.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lab import HERE, KILLS, LAB, SCALE, STUDENTS, Site, Slurm


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """The cluster, from here to the end of the session."""
    started = subprocess.run([str(HERE / "slurm.sh"), "up"], capture_output=True, text=True)
    if started.returncode == 3:
        pytest.skip(started.stderr.strip())
    assert started.returncode == 0, started.stdout + started.stderr
    os.environ["SLURM_CONF"] = str(LAB / "etc/slurm.conf")
    try:
        yield Slurm()
    finally:
        if not os.environ.get("AMD_SLURM_KEEP"):
            ended = subprocess.run([str(HERE / "slurm.sh"), "down"], capture_output=True, text=True)
            assert ended.returncode == 0, ended.stdout + ended.stderr


MORE_OF_THE_SAME = ("tables/table4-starts", "tables/coco30k", "tables/steps", "tables/bidirectional", "figures/dose")
"""Files of config/ whose kinds of jobs others have too."""


@pytest.fixture(scope="session")
def built(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A checkout in which `snakemake --profile slurm all --config scale=smoke` ran to its end.

    Every kind of job is in it, and no more of a kind than tests ask for: a job is ten seconds of start-up.
    """
    if given := os.environ.get("AMD_CLUSTER_BUILT"):  # a developer's short way: a checkout that was built before
        site = Site.__new__(Site)
        site.folder = Path(given)
        site.said, site.began = "", 0.0
        return site
    site = Site(tmp_path_factory.mktemp("built"))
    site.smoke("seeds: [0, 1]", "seeds: [0]")
    for again in MORE_OF_THE_SAME:
        (site.folder / f"config/{again}.yaml").unlink()
    site.began = time.time()
    site.said = site.snakemake("all")
    return site


STARTS = ("sit-teacher", "digits-reward", "digits-judge", "sit-warm-short")


def with_made(built: Site, folder: Path, runs: tuple[str, ...]) -> Site:
    """A checkout in `folder` with these checkpoints of `built`, and what Snakemake knows of them."""
    mine = Site(folder)
    shutil.copytree(built.folder / ".snakemake/metadata", folder / ".snakemake/metadata")
    for run in runs:
        made = f"checkpoints/{SCALE}/{run}"
        shutil.copytree(built.folder / made, folder / made)
    return mine


@pytest.fixture
def bare(slurm: Slurm, tmp_path: Path) -> Iterator[Site]:
    """A checkout for one test, in which nothing was made."""
    mine = Site(tmp_path)
    yield mine
    slurm.empty(mine.folder)


@pytest.fixture
def site(built: Site, slurm: Slurm, tmp_path: Path) -> Iterator[Site]:
    """A checkout for one test, with everything that students begin from."""
    mine = with_made(built, tmp_path, STARTS)
    yield mine
    slurm.empty(mine.folder)


@pytest.fixture
def students(built: Site, slurm: Slurm, tmp_path: Path) -> Iterator[Site]:
    """A checkout for one test, with four students to measure."""
    mine = with_made(built, tmp_path, (*STARTS, *STUDENTS))
    yield mine
    slurm.empty(mine.folder)


@pytest.fixture(scope="module")
def own_site(built: Site, slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The same for one file's tests."""
    mine = with_made(built, tmp_path_factory.mktemp("site"), STARTS)
    yield mine
    slurm.empty(mine.folder)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The kill matrix."""
    if not KILLS:
        return
    head = ("killed by", "at", "newest state", "resumed at", "lost", "attempts", "student")
    rows = [head, *KILLS]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    terminalreporter.section("kill matrix")
    for row in rows:
        terminalreporter.write_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
