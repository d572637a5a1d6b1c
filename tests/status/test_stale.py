"""`amd stale` in a repository of its own: what an edit of the code makes old, and what it does not."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from amd.measure.sample import write_samples

ROOT = Path(__file__).parents[2]
GRID = "results/smoke/sit-amd/seed0/grid.png"
SAMPLES = "results/smoke/sit-amd/seed0/samples/class"
SCORE = "results/smoke/sit-dmd/seed0/scores/class/classifier.json"


class Clone:
    """The package and the configuration in a git repository, with one commit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("amd", "config"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / ".gitignore").write_text("results\nstate\n__pycache__\n")
        self.git("init", "--quiet")
        self.commit("first")

    def git(self, *arguments: str) -> str:
        """git, as nobody in particular."""
        who = ("-c", "user.name=nobody", "-c", "user.email=nobody@localhost", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *who, *arguments], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        """Everything; its sha."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def amd(self, *arguments: str) -> str:
        """A verb of the clone's own package."""
        env = os.environ | {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "amd", *arguments], cwd=self.folder, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stale(self) -> str:
        """What `amd stale` says at scale smoke."""
        return self.amd("stale", "--scale", "smoke")


def append(file: Path) -> None:
    file.write_text(file.read_text() + "\n# a remark\n")


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """With a grid that its own code drew, and a score that says its commit."""
    made = Clone(tmp_path)
    sha = made.git("rev-parse", "HEAD")
    images = torch.randint(0, 255, (8, 1, 28, 28), dtype=torch.uint8)
    write_samples(made.folder / SAMPLES, images, torch.zeros(8, dtype=torch.long), {"git_sha": sha})
    made.amd("grid", "--scale", "smoke", "--samples", SAMPLES, "--out", GRID)
    score = made.folder / SCORE
    score.parent.mkdir(parents=True)
    score.write_text(json.dumps({"git_sha": sha}))
    return made


def test_what_this_code_made_is_not_stale(clone):
    assert "Scale smoke: 3 results are there; the code of 0 is" in clone.stale()


def test_an_edit_makes_old_what_it_can_have_changed_and_nothing_else(clone):
    old = clone.git("rev-parse", "HEAD")
    append(clone.folder / "amd/report/gallery.py")
    said = clone.stale()  # not committed yet, and a difference already
    assert "the code of 1 is" in said
    assert f"Commit {old[:12]} of " in said
    assert "  grid: sit-amd\n      changed since: amd/report/gallery.py" in said
    clone.commit("second")
    assert ", 1 commit ago: 1 result" in clone.stale()
    append(clone.folder / "amd/train/loop.py")  # no student is here
    assert "the code of 1 is" in clone.stale()
    append(clone.folder / "amd/measure/score.py")
    said = clone.stale()
    assert "the code of 2 is" in said
    assert "  score: sit-dmd\n      changed since: amd/measure/score.py" in said


def test_the_way_that_is_shown_names_a_file_that_is_there(clone):
    append(clone.folder / "amd/report/gallery.py")
    assert f"--forcerun {GRID} -- all" in clone.stale()


def test_made_anew_it_is_not_stale_any_more(clone):
    append(clone.folder / "amd/report/gallery.py")
    clone.commit("second")
    clone.amd("grid", "--scale", "smoke", "--samples", SAMPLES, "--out", GRID)
    assert "the code of 0 is" in clone.stale()


def test_edits_that_were_never_committed_and_commits_of_elsewhere_are_listed(clone):
    sha = clone.git("rev-parse", "HEAD")
    score = clone.folder / SCORE
    score.write_text(json.dumps({"git_sha": f"{sha}+dirty"}))
    assert "0 commits ago, with edits that were never committed: 1 result" in clone.stale()
    score.write_text(json.dumps({"git_sha": "d" * 40}))
    assert f"Commit {'d' * 12}, which this clone does not have: 1 result" in clone.stale()
    score.write_text("{}")
    assert "Of unknown code (made before jobs recorded it): 1 result" in clone.stale()
