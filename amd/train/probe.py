"""What the jobs of `amd doctor --cluster` do: look around on a node, meet the other ranks, and write what they found.

`python -m amd.train.probe CHECK ...` inside a job; workflow/selftest.smk calls it. Each check leaves one JSON file, or
exits non-zero and says why in its log.
"""

import argparse
import copy
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from amd.train.artifact import artifact_sha, read_artifact, read_meta, write_artifact, write_json
from amd.train.devices import Ranks, leave, ranks
from amd.train.sharding import shard

PATIENCE_S = 240.0  # until a requeued job is signalled
VALUES = 2**20  # float32 in the checkpoint: 4 MiB
WIDTH = 256  # of the layer that is shared out
HERE = ".here"  # suffix of the file by which a job says that it has come
GLANCE_S = 0.2  # between two looks for another job's


def node() -> str:
    """This node as Slurm calls it; the host's name outside Slurm's own steps."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def visible() -> list[str]:
    """The devices that the scheduler gave this process."""
    return [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]


def devices(asked: int, out: Path, twin: Path, wait: float) -> None:
    """Which GPUs this job sees: by its environment, and by torch.

    A job that asked for some stays, up to `wait` seconds, until the one that reports in `twin` has come: two jobs that
    are not there at the same time would show nothing about whom a device belongs to.
    """
    began = time.time()
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = [torch.cuda.get_device_properties(i).name for i in range(seen)]
    if asked:
        meet_twin(out, twin, wait)
    write_json(
        out,
        {
            "node": node(),
            "job": job(),
            "asked": asked,
            "visible": visible(),
            "torch": names,
            "driver": Path("/proc/driver/nvidia/version").is_file(),
            "wait": wait,
            "began": began,
            "ended": time.time(),
        },
    )


def meet_twin(out: Path, twin: Path, wait: float) -> None:
    """Say that this job is there, and stay until the other has said so or `wait` seconds are over."""
    out.with_suffix(HERE).touch()
    end = time.monotonic() + wait
    while not twin.with_suffix(HERE).exists() and time.monotonic() < end:
        os.scandir(twin.parent).close()  # a network file system looks anew when a folder is read
        time.sleep(GLANCE_S)


def meet(out: Path, sharding: Literal["none", "fsdp2"] = "none") -> None:
    """Every rank adds its number to a sum over all, which nobody knows who has not heard from everyone.

    Under "fsdp2" a layer is shared out, too, as a distillation's networks will be.
    """
    began = time.monotonic()
    here = ranks(sharding)
    total = torch.tensor([float(here.rank)], device=here.device)
    if here.world > 1:
        torch.distributed.all_reduce(total)
    said = here.collect((here.rank, node(), str(here.device), visible()))
    apart = None if here.mesh is None else shared(here)
    if here.main:
        write_json(
            out,
            {
                "world": here.world,
                "sum": float(total),
                "ranks": [{"rank": r, "node": n, "device": d, "visible": v} for r, n, d, v in said],
                "mesh": None if here.mesh is None else list(here.mesh.shape),
                "apart": apart,
                "backend": torch.distributed.get_backend() if here.world > 1 else None,
                "seconds": time.monotonic() - began,
                "job": job(),
            },
        )
    here.wait()
    leave()


def shared(here: Ranks) -> float:
    """How far the gradient of a layer that is shared out is from the whole layer's on every rank's rows (relative)."""
    one = nn.Linear(WIDTH, WIDTH)
    with torch.no_grad():
        one.weight.copy_(torch.sin(torch.arange(WIDTH**2).float()).view(WIDTH, WIDTH))
        one.bias.zero_()
    one.to(here.device)
    other = shard(copy.deepcopy(one), here)
    rows = torch.cos(torch.arange(here.world * WIDTH).float()).view(here.world, WIDTH).to(here.device)
    one(rows).square().mean().backward()
    other(rows[here.rank : here.rank + 1]).square().mean().backward()
    expected, found = one.weight.grad, other.weight.grad
    assert isinstance(found, DTensor)
    assert expected is not None
    return float((found.full_tensor() - expected).norm() / expected.norm())


def write(folder: Path, out: Path) -> None:
    """A checkpoint as trainings write them: weights, sha256, renamed into place."""
    began = time.monotonic()
    write_artifact(folder, {"weights": {"w": torch.arange(VALUES, dtype=torch.float32)}}, {"kind": "weights"})
    write_json(out, {"node": node(), "job": job(), "seconds": time.monotonic() - began, "sha256": artifact_sha(folder)})


def read(folder: Path, out: Path) -> None:
    """The same checkpoint from here, its sha256 verified."""
    began = time.monotonic()
    weights = read_artifact(folder, "weights")["w"]
    assert torch.equal(weights, torch.arange(VALUES, dtype=torch.float32)), f"{folder} holds other numbers"
    files = read_meta(folder)["files"]
    write_json(out, {"node": node(), "job": job(), "seconds": time.monotonic() - began, "files": files})


def requeue(state: Path, out: Path) -> None:
    """Have this very job requeued, note whether SIGTERM came first, and report that after the restart."""
    state.mkdir(parents=True, exist_ok=True)
    begun, told = state / "begun.json", state / "signal.json"
    if begun.is_file():
        first = json.loads(begun.read_text())
        heard = json.loads(told.read_text()) if told.is_file() else None
        content = {"job": job(), "same_job": first["job"] == job(), "heard": heard, "away_s": time.time() - first["at"]}
        for file in (begun, told):
            file.unlink(missing_ok=True)
        write_json(out, content)
        return
    write_json(begun, {"job": job(), "node": node(), "at": time.time()})
    asked = time.time()

    def note(number: int, frame: object) -> None:
        write_json(told, {"signal": signal.Signals(number).name, "after_s": time.time() - asked})
        raise SystemExit(75)

    signal.signal(signal.SIGTERM, note)
    done = subprocess.run(["scontrol", "requeue", job()], capture_output=True, text=True)
    if done.returncode:
        begun.unlink()
        raise SystemExit(f"scontrol requeue {job()}: {done.stderr.strip()}")
    time.sleep(PATIENCE_S)
    raise SystemExit(f"asked for a requeue {PATIENCE_S:.0f} s ago, and nothing came")


def job() -> str:
    """This Slurm job's id; "none" outside one."""
    return os.environ.get("SLURM_JOB_ID", "none")


def main() -> None:
    """One check."""
    root = argparse.ArgumentParser(prog="amd.train.probe", description=__doc__)
    root.add_argument("check", choices=("devices", "ranks", "write", "read", "requeue"))
    root.add_argument("--asked", type=int, default=0, help="GPUs that the job asked for")
    root.add_argument("--twin", type=Path, help="what the other job about devices writes")
    root.add_argument("--wait", type=float, default=0.0, help="seconds to stay until that job has come")
    root.add_argument("--sharding", choices=("none", "fsdp2"), default="none", help="of a distillation's networks")
    root.add_argument("--folder", type=Path, help="the checkpoint")
    root.add_argument("--state", type=Path, help="what outlives a restart")
    root.add_argument("--out", type=Path, required=True)
    asked = root.parse_args()
    if asked.check == "devices":
        devices(asked.asked, asked.out, asked.twin, asked.wait)
    elif asked.check == "ranks":
        meet(asked.out, asked.sharding)
    elif asked.check == "write":
        write(asked.folder, asked.out)
    elif asked.check == "read":
        read(asked.folder, asked.out)
    else:
        requeue(asked.state, asked.out)


if __name__ == "__main__":
    main()
