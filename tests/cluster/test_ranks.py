"""Training on several nodes, through the workflow, the profile and workflow/launch.sh: the student of one process.

Two nodes with two ranks each, on CPUs (gloo). The job is cancelled halfway, so what four ranks saved is also what four
ranks resume.
"""

import subprocess
import time
from pathlib import Path

import pytest
from lab import SCALE, Site, Slurm, Task, ask, until
from safetensors.torch import load_file
from torch import Tensor
from training import Watched, begin_beside, uninterrupted

ITERATIONS = 12
RUN, SEED = "sit-amd", 0
CLOSE = 1e-4
"""Of the way that a student goes. Sums in float32 in another order give about 1e-6; Adam divides some by little."""


@pytest.mark.parametrize("sharding", ["none", "fsdp2"])
def test_two_nodes_with_two_ranks_each_give_the_student_of_one_process(site: Site, slurm: Slurm, sharding: str) -> None:
    began = time.time()
    site.smoke("finetune: 2", f"finetune: {ITERATIONS}")
    site.smoke(
        "distill: {", f"distill: {{sharding: {sharding}, nodes: 2, gpus: 2, gpu_model: h100, cpus: 2, save_every_s: 0, "
    )
    each = Watched(site, RUN, SEED)
    workflow = site.start(each.out)
    begin_beside(site, RUN, SEED)
    until(lambda: each.newest() >= 2 or workflow.poll() is not None, 600, "four ranks to get going")
    assert workflow.poll() is None, workflow.communicate()[0][-6000:]
    (job,) = slurm.jobs_of(site.folder, "distill", RUN, SEED, "RUNNING")
    reached = each.reached()
    ask("scancel", str(job))
    said = workflow.communicate(timeout=600)[0]
    assert workflow.returncode == 0, said[-6000:]
    assert reached <= each.resumed() < ITERATIONS  # SIGTERM found its way to the ranks, and they saved
    assert ("on 4 x cpu, sharded 2 x 2" if sharding == "fsdp2" else "on 4 x cpu,") in each.log.read_text()

    launched = [task for task in slurm.tasks(since=began) if task.gpus and task.step != "batch" and task.job != job]
    assert by_node(launched) == {"n01": 2, "n02": 2}

    beside = uninterrupted(site, RUN, SEED)
    start = load_file(site.folder / f"checkpoints/{SCALE}/sit-warm-short/seed{SEED}/student.safetensors")
    one, four = (load_file(folder / "student.safetensors") for folder in (beside, site.folder / each.out))
    assert distance(one, four) < CLOSE * distance(one, start)


def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Euclidean, over all weights."""
    assert a.keys() == b.keys()
    return sum(float((a[name].double() - b[name].double()).square().sum()) for name in a) ** 0.5


def by_node(tasks: list[Task]) -> dict[str, int]:
    """How many GPUs the tasks had on each node."""
    return {task.node: len(task.gpus) for task in tasks}


def test_as_many_ranks_start_as_the_profile_asks_for_gpus(site: Site, slurm: Slurm) -> None:
    """A site may ask for another number of GPUs than the footprint, by the cluster's own name of them."""
    site.smoke("distill: {", "distill: {gpus: 4, gpu_model: h100, cpus: 2, sharding: fsdp2, ")
    site.edit("workflow/profiles/slurm/profile.yaml", '    # gres: "gpu:a100:8"  ', '    gres: "gpu:h100:2"  ')
    each = Watched(site, RUN, SEED)
    site.snakemake(each.out)
    assert "on 2 x cpu, sharded 2," in each.log.read_text()


def test_a_launcher_outside_slurm_refuses_several_nodes(site: Site) -> None:
    done = subprocess.run(
        [str(Path("workflow/launch.sh").resolve()), "2", "2", "2", "-c", "pass"],
        cwd=site.folder,
        env={key: value for key, value in site.environment().items() if key != "SLURM_JOB_ID"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "want a Slurm job" in done.stderr
