"""The kill matrix: whatever ends a training, the same command ends in the same student and repeats little.

Four students train side by side and are ended in four ways; a fifth loses its Snakemake. What they would have been is
made beside, without Slurm and without an interruption.
"""

import json
import os
import signal
import time

import pytest
from lab import KILLS, Site, Slurm, ask, until
from training import SAVE_EVERY_S, Kill, Watched, begin_beside, longer, note, same_student

ITERATIONS = 200
SLACK_S = 3.0  # an iteration and a save, on two busy cores
VICTIMS = {  # how it ends -> which student
    "scancel": ("sit-amd", 0),
    "time limit": ("sit-dmd", 0),  # a minute is the shortest that Slurm knows: it may strike after the last iteration
    "scontrol requeue": ("sit-naive", 0),
    "kill -9": ("sit-d-dmd", 0),
}
ORPHAN, SHORT_OF_TIME = ("sit-naive", 0), ("sit-dmd", 0)
LONG = 600  # iterations: long enough for a successor to come, and for more than half a minute


def end(event: str, watched: Watched, job: int) -> None:
    """Do it."""
    if event == "scancel":
        ask("scancel", str(job))
    elif event == "time limit":
        ask("scontrol", "update", f"JobId={job}", "EndTime=now")
    elif event == "scontrol requeue":
        ask("scontrol", "requeue", str(job))
    else:
        os.kill(int(watched.holder()["pid"]), signal.SIGKILL)


@pytest.fixture(scope="module")
def killed(slurm: Slurm, own_site: Site) -> tuple[Site, dict[str, Kill]]:
    """Four trainings in one workflow, each ended at a third of its way; the workflow then goes on by itself."""
    site = own_site
    longer(site, ITERATIONS)
    watched = {event: Watched(site, *victim) for event, victim in VICTIMS.items()}
    workflow = site.start(*(each.out for each in watched.values()))
    kills: dict[str, Kill] = {}
    deadline = time.monotonic() + 300
    while len(kills) < len(watched) and time.monotonic() < deadline and workflow.poll() is None:
        for event, each in watched.items():
            if event not in kills and each.newest() >= ITERATIONS / 6 and each.holder():
                job = slurm.jobs_of(site.folder, "distill", each.run, each.seed, "RUNNING")[-1]
                seen = each.snapshot(job)
                if event == "kill -9" and seen.age_s < SAVE_EVERY_S / 2:
                    continue  # in the middle between two states, so that there is something to lose
                kills[event] = seen
                end(event, each, job)
        time.sleep(0.1)
    said = workflow.communicate(timeout=600)[0]
    assert workflow.returncode == 0, said[-6000:]
    assert set(kills) == set(VICTIMS), f"only {set(kills)} were caught in time:\n{said[-3000:]}"
    return site, kills


@pytest.mark.parametrize("event", VICTIMS)
def test_a_training_that_is_ended_goes_on_and_ends_in_the_same_student(
    killed: tuple[Site, dict[str, Kill]], slurm: Slurm, event: str
) -> None:
    site, kills = killed
    kill, each = kills[event], Watched(site, *VICTIMS[event])
    resumed = each.resumed()
    same = same_student(site, each.run, each.seed)
    attempts = len(slurm.jobs_of(site.folder, "distill", each.run, each.seed))
    note(event, kill, resumed, attempts, same)
    assert same
    assert 0 < kill.state <= resumed  # it was ended halfway, and did not begin anew
    if event == "kill -9":
        assert kill.age_s < SAVE_EVERY_S + SLACK_S  # so no more than that was lost
    else:
        assert resumed >= kill.reached  # SIGTERM came first: everything was saved
    assert attempts == (1 if event == "scontrol requeue" else 2)  # a requeued job keeps its id


def test_a_training_stops_before_its_time_limit_and_the_next_attempt_goes_on(slurm: Slurm, site: Site) -> None:
    """With a minute's limit it leaves by itself after half a minute, as often as it takes."""
    longer(site, LONG)
    site.smoke(f"distill: {{save_every_s: {SAVE_EVERY_S}, mem_mb: 1500, runtime_min: 10", "distill: {runtime_min: 1")
    iterations, finished = LONG, 0
    while True:
        each = Watched(site, *SHORT_OF_TIME)
        begin_beside(site, *SHORT_OF_TIME)
        site.snakemake(each.out, "--retries", "20")
        jobs = slurm.jobs_of(site.folder, "distill", *SHORT_OF_TIME)[finished:]
        if len(jobs) > 1:
            break
        assert iterations < 50 * LONG, f"{iterations} iterations took less than half a minute"
        # a fast machine was through within half a minute: more of them, which is another student
        site.smoke(f"finetune: {iterations}", f"finetune: {3 * iterations}")
        iterations, finished = 3 * iterations, finished + len(jobs)
    states = [slurm.jobs(site.folder)[job]["state"] for job in jobs]
    assert states[-1] == "COMPLETED"
    assert set(states[:-1]) <= {"FAILED", "TIMEOUT"}  # exit code 75; a busy machine may use up the minute starting up
    resumed, same = each.resumed(), same_student(site, *SHORT_OF_TIME)
    KILLS.append(
        ("its own budget", "-", "-", str(resumed), "0 iterations", str(len(jobs)), "same" if same else "OTHER")
    )
    assert same
    assert 0 < resumed < iterations


def test_the_orphan_of_a_killed_snakemake_never_trains_beside_its_successor(slurm: Slurm, site: Site) -> None:
    longer(site, LONG)
    each = Watched(site, *ORPHAN)
    workflow = site.start(each.out)
    begin_beside(site, *ORPHAN)
    until(lambda: each.newest() >= LONG / 20 and each.holder(), 180, "a training to get going")
    os.killpg(workflow.pid, signal.SIGKILL)
    workflow.wait()
    (orphan,) = slurm.jobs_of(site.folder, "distill", each.run, each.seed, "RUNNING")
    kill, holder = each.snapshot(orphan), each.holder()
    refused = site.snakemake(each.out, check=False)
    assert "--unlock" in refused  # Snakemake says so itself, and README repeats it
    site.snakemake("--unlock", each.out)
    successors = site.start(each.out)
    lost: set[int] = set()  # who held the lease while both jobs ran
    together = 0
    while successors.poll() is None:
        jobs = slurm.jobs_of(site.folder, "distill", each.run, each.seed, "RUNNING")
        if len(jobs) == 2 and (now := each.holder()):
            together += 1
            lost.add(now["pid"])
        time.sleep(0.2)
    said = successors.communicate()[0]
    assert successors.returncode == 0, said[-6000:]
    assert together > 0, "the orphan was gone before its successor came: nothing was tried"
    assert holder["pid"] in lost
    log = each.log.read_text()
    assert "is training here; waiting" in log
    steps = [json.loads(line)["step"] for line in (each.state / "journal.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))  # two writers would repeat some
    assert steps[-1] == LONG
    resumed = each.resumed()
    same = same_student(site, *ORPHAN)
    note("kill -9 of snakemake", kill, resumed, 2, same)
    assert same
    assert resumed == LONG  # the orphan did all of the work, its successor none
