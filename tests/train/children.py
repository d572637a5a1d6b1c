"""Processes that a run dies in, and the files of a run that did not die."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from smoke_run import Case

from amd.train.artifact import read_meta
from amd.train.loop import distill

PATIENCE_S = 240  # for a child; it takes one

forks = multiprocessing.get_context("forkserver")  # children of a process that has imported torch and not used it
forks.set_forkserver_preload(["amd.train.loop", "amd.rewards.classifier", "torch._dynamo"])  # the last for optimisers


def in_child(target: Any, *args: Any) -> int:
    """Exit code; minus the signal's number where one ended it."""
    child = forks.Process(target=target, args=args)
    child.start()
    child.join(PATIENCE_S)
    if child.exitcode is None:
        child.kill()
        pytest.fail(f"a child did not end within {PATIENCE_S} s")
    return child.exitcode


def made(out: Path) -> dict[str, str]:
    """file -> sha256 of everything in an artefact."""
    files = read_meta(out)["files"]
    assert isinstance(files, dict)
    return files


def straight(case: Case, folder: Path) -> dict[str, str]:
    """What an uninterrupted run makes."""
    distill(case.run(), folder / "straight", folder / "straight-state")
    return made(folder / "straight")
