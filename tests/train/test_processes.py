"""Several processes, and several micro-batches, make the student of one."""

import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from children import in_child, processes, straight
from smoke_run import Case, killed_attempt

from amd.train.artifact import read_artifact
from amd.train.journal import read
from amd.train.loop import distill

CLOSE = 1e-4  # float32 summed in another order gives 1e-6, and 2e-5 where Adam divides the young critic's gradients
SPANNING = {"batch": 8, "group": 8, "micro_batch": 8}  # one group: its rewards are on both ranks


def difference(folder: Path, a: str, b: str) -> float:
    """Distance of two students, as a share of how far one has moved from the start (Euclidean, over all weights)."""
    one, other = read_artifact(folder / a, "student"), read_artifact(folder / b, "student")
    start = read_artifact(folder / "checkpoints/smoke/sit-warm-short/seed0", "student")

    def distance(x: dict[str, torch.Tensor], y: dict[str, torch.Tensor]) -> float:
        return sum(float((x[name].double() - y[name].double()).square().sum()) for name in x) ** 0.5

    assert distance(one, start) > 0
    return distance(one, other) / distance(one, start)


@pytest.mark.parametrize(
    ("method", "sizes"),
    [
        ("amd", SPANNING),
        ("amd", {"batch": 16, "group": 8, "micro_batch": 4}),  # two micro-batches on each rank, groups spanning ranks
        ("amd-literal", SPANNING),
        ("dmd2", SPANNING),
        ("dmdr", SPANNING),
        ("dmd", SPANNING),
    ],
)
def test_two_processes_give_the_student_of_one(checkpoints: Path, method: str, sizes: dict[str, int]) -> None:
    rank, numbers = (4 if method == "dmdr" else None), ({} if method == "amd-literal" else {"ratio": 2})
    case = Case(method=method, rank=rank, numbers=numbers, ema=0.0, sizes=sizes)
    straight(replace(case, sizes={**sizes, "micro_batch": sizes["batch"]}), checkpoints)
    assert processes(case.run(), checkpoints, "two", 2) == [0, 0]
    assert difference(checkpoints, "straight", "two") < CLOSE
    assert len(read(checkpoints / "two-state" / "journal.jsonl")) == case.iterations


def test_a_launcher_and_a_kill_change_nothing_either(checkpoints: Path) -> None:
    case = Case(sizes=SPANNING, ema=0.0)
    straight(case, checkpoints)
    assert in_child(killed_attempt, checkpoints, case.run(), "two", "two-state", "step", 8) == -signal.SIGKILL
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = str(Path(__file__).with_name("smoke_run.py"))
    Path("run.pickle").write_bytes(pickle.dumps(case.run()))
    done = subprocess.run(
        [*launch, script, "two", "two-state", "run.pickle"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "from iteration 2 to 4: amd, batch 8 on 2 x cpu" in done.stderr  # what one process began, two end
    assert difference(checkpoints, "straight", "two") < CLOSE


@pytest.mark.parametrize("method", ["amd", "amd-literal", "dmd2", "dmdr", "dmd"])
def test_micro_batches_give_the_student_of_the_whole_batch(checkpoints: Path, method: str) -> None:
    rank, numbers = (4 if method == "dmdr" else None), ({} if method == "amd-literal" else {"ratio": 2})
    for parts in (1, 2):
        case = Case(method=method, rank=rank, ema=0.0, numbers=numbers, sizes={"micro_batch": 16 // parts})
        distill(case.run(), checkpoints / f"out{parts}", checkpoints / f"state{parts}")
    assert difference(checkpoints, "out1", "out2") < CLOSE
