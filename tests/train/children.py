"""Processes that a run dies in, those that share one, and the files of a run that did not die."""

import multiprocessing
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from smoke_run import Case, ranked_attempt

from amd.config.load import Run
from amd.train.artifact import read_meta
from amd.train.loop import distill

PATIENCE_S = 480  # for a child; it takes seconds, and on a busy machine every message waits for its turn

forks = multiprocessing.get_context("forkserver")  # children of a process that has imported torch and not used it
forks.set_forkserver_preload(  # the last for optimisers
    ["amd.train.loop", "amd.backbones.unet", "amd.backbones.wan_streaming", "amd.rewards.classifier", "torch._dynamo"]
)


def in_child(target: Any, *args: Any) -> int:
    """Exit code; minus the signal's number where one ended it."""
    child = forks.Process(target=target, args=args)
    child.start()
    child.join(PATIENCE_S)
    if child.exitcode is None:
        child.kill()
        pytest.fail(f"a child did not end within {PATIENCE_S} s")
    return child.exitcode


def together(target: Callable[..., None], world: int, tell: Callable[[int, int], dict[str, Any]]) -> list[int]:
    """Exit codes of `world` processes that call `target(**tell(rank, port))`; what does not end is killed."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    children = [forks.Process(target=target, kwargs=tell(rank, port)) for rank in range(world)]
    for child in children:
        child.start()
    for child in children:
        child.join(PATIENCE_S)
    codes = [child.exitcode for child in children]
    for child in children:
        child.kill()  # one that waits for another which is gone
    return [-signal.SIGKILL if code is None else code for code in codes]


def processes(run: Run, folder: Path, out: str, world: int, of_node: int | None = None, **how: Any) -> list[int]:
    """Exit codes of an attempt by `world` processes that believe to be launched, `of_node` of them on each node."""
    told = {"folder": folder, "run": run, "out": out, "state": f"{out}-state", "world": world, **how}
    return together(ranked_attempt, world, lambda rank, port: {**told, "rank": rank, "port": port, "of_node": of_node})


def made(out: Path) -> dict[str, str]:
    """file -> sha256 of everything in an artefact."""
    files = read_meta(out)["files"]
    assert isinstance(files, dict)
    return files


def straight(case: Case, folder: Path) -> dict[str, str]:
    """What an uninterrupted run makes."""
    distill(case.run(), folder / "straight", folder / "straight-state")
    return made(folder / "straight")
