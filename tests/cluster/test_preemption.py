"""A partition that others may take nodes from: Slurm preempts a training under way, and it goes on where it was.

With a grace time Slurm warns by SIGTERM, the training saves and leaves, and Snakemake submits it again. Without one
Slurm sends it back to the queue under its own id, and still leaves it time to save (KillWait).
"""

import pytest
from lab import LAB, Site, Slurm, ask, until
from training import Watched, begin_beside, longer, note, same_student

RUN, SEED = "sit-amd", 0
ITERATIONS = 300
URGENT_S = 10  # of the job that takes the nodes


@pytest.mark.parametrize("grace_s", [20, 0], ids=["with a grace time", "without"])
def test_a_preempted_training_goes_on_and_ends_in_the_same_student(site: Site, slurm: Slurm, grace_s: int) -> None:
    ask("scontrol", "update", "PartitionName=scavenge", f"GraceTime={grace_s}")
    site.edit("workflow/profiles/slurm/profile.yaml", "  distill:\n", "  distill:\n    slurm_partition: scavenge\n")
    longer(site, ITERATIONS)
    each = Watched(site, RUN, SEED)
    workflow = site.start(each.out)
    begin_beside(site, RUN, SEED)
    until(lambda: each.newest() >= ITERATIONS / 10 or workflow.poll() is not None, 600, "a training to get going")
    assert workflow.poll() is None, workflow.communicate()[0][-6000:]
    (job,) = slurm.jobs_of(site.folder, "distill", RUN, SEED, "RUNNING")
    assert slurm.jobs(site.folder)[job]["partition"] == "scavenge"
    kill = each.snapshot(job)
    urgent = ask("sbatch", "--parsable", "--partition=paper", "--nodes=2", "--exclusive", f"--wrap=sleep {URGENT_S}")
    until(lambda: was_preempted(job), 60, "the training to be preempted")
    until(lambda: is_running(urgent), 120, "the nodes to be taken")
    assert job not in slurm.jobs(site.folder, "RUNNING")
    said = workflow.communicate(timeout=600)[0]
    assert workflow.returncode == 0, said[-6000:]

    attempts = slurm.jobs_of(site.folder, "distill", RUN, SEED)
    resumed, same = each.resumed(), same_student(site, RUN, SEED)
    note(f"preemption, grace {grace_s} s", kill, resumed, len(attempts), same)
    assert same
    assert kill.reached <= resumed < ITERATIONS  # SIGTERM came first: everything was saved
    assert len(attempts) == (2 if grace_s else 1)  # a requeued job keeps its id


def is_running(job: str) -> bool:
    """Whether Slurm has begun a job."""
    return ask("squeue", "--noheader", f"--jobs={job}", "--states=all", "--format=%T") in ("RUNNING", "COMPLETED")


def was_preempted(job: int) -> bool:
    """Whether Slurm says so: of the job while its grace time runs, or in the controller's log when it is sent back."""
    if "PreemptTime=None" not in ask("scontrol", "show", "job", str(job)):
        return True
    return f"preempted JobId={job} has been requeued" in (LAB / "log/slurmctld.log").read_text()
