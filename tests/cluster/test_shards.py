"""Samples that several jobs share: one array, each task with a GPU of its own, and the images of one job."""

import time
from pathlib import Path

import numpy as np
from lab import SCALE, STUDENTS, Site, Slurm

from amd.config import plan

RUNS = [(run, 0) for run in STUDENTS]
SHARDS = 4


def test_shards_go_out_as_one_array_and_give_the_samples_of_one_job(students: Site, slurm: Slurm) -> None:
    for batch in ("sample_batch: 32", "sample_batch: 16", "sample_batch: 8", "sample_batch: 4"):  # of every track
        students.smoke(batch, f"{batch}\n  sample_shards: {SHARDS}")
    students.smoke("  default: {", "  shard: {gpus: 1, gpu_model: h100}\n  default: {")
    began = time.time()
    made = [plan.samples(SCALE, run, seed, "class") for run, seed in RUNS]
    students.snakemake(*made)

    done = slurm.jobs(students.folder, "COMPLETED")
    shards = {job: each for job, each in done.items() if each["comment"].startswith("rule_shard")}
    assert len(shards) == SHARDS * len(RUNS)
    assert len({each["array"] for each in shards.values()}) == 1  # one submission
    tasks = [task for task in slurm.tasks(since=began) if task.job in shards]
    assert {len(task.gpus) for task in tasks} == {1}
    assert not list(students.folder.glob("results/*/*/*/shards/*/*"))  # put together, they go

    for (run, seed), folder in zip(RUNS, made, strict=True):
        beside = f"beside/{run}-{seed}"
        where = f"--scale {SCALE} --system {run} --seed {seed} --benchmark class --shard 0/1 --out {beside}"
        students.amd("sample", *where.split())
        assert np.array_equal(pixels(students.folder / folder), pixels(students.folder / beside))


def pixels(folder: Path) -> np.ndarray:
    """The images of a folder of samples, uint8."""
    return np.load(folder / "samples.npz")["arr_0"]
