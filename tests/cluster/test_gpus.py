"""Jobs that ask for a GPU: each is told its own, and no device serves two jobs at a time. They go out as arrays."""

import time
from itertools import combinations

from lab import SCALE, STUDENTS, Site, Slurm

from amd.config import plan
from amd.config.load import load


def test_every_job_has_one_device_and_no_device_two_jobs(students: Site, slurm: Slurm) -> None:
    one = "{gpus: 1, gpu_model: h100}"
    students.smoke("  default: {", f"  sample: {one}\n  score: {one}\n  default: {{")
    began = time.time()
    judge = load(students.folder / "config").run("sit-amd", SCALE, 0).domain.judge.name
    targets = [plan.score(SCALE, run, 0, "class", judge) for run in STUDENTS]
    reference = plan.reference(SCALE, 0, "class", judge)
    # In two calls, so that all scores are ready at once: a submission takes those that are.
    students.snakemake(*(plan.samples(SCALE, run, 0, "class") for run in STUDENTS), reference)
    students.snakemake(*targets)
    for target in targets:
        assert (students.folder / target).is_file()

    done = slurm.jobs(students.folder, "COMPLETED")
    jobs = {job: each for job, each in done.items() if each["comment"].startswith(("rule_sample", "rule_score"))}
    tasks = [task for task in slurm.tasks(since=began) if task.job in jobs]
    assert {len(task.gpus) for task in tasks} == {1}
    whole = {task.job: task for task in tasks if task.step == "batch"}  # from the job's first moment to its last
    assert len(whole) == 2 * len(targets)
    assert all(task.gpus == whole[task.job].gpus for task in tasks)  # a step has its job's device
    met = [(a, b) for a, b in combinations(whole.values(), 2) if a.node == b.node and a.meets(b)]
    assert met, "no two jobs shared a node: nothing was tried"
    assert not [(a, b) for a, b in met if a.gpus & b.gpus]

    for rule in ("sample", "score"):
        arrays = {known["array"] for known in jobs.values() if known["comment"].startswith(f"rule_{rule}")}
        assert len(arrays) == 1, f"{rule} went out in {len(arrays)} submissions"


def test_more_gpus_than_a_node_has_are_refused_at_once(students: Site, slurm: Slurm) -> None:
    students.smoke("  default: {", "  sample: {gpus: 9, gpu_model: h100}\n  default: {")
    began = time.monotonic()
    said = students.snakemake(plan.samples(SCALE, "sit-amd", 0, "class"), "--retries", "0", check=False)
    assert "Requested node configuration is not available" in said
    assert time.monotonic() - began < 60
    assert not slurm.jobs(students.folder, "PENDING", "RUNNING")
