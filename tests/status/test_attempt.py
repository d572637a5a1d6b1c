"""The first line of a job's log, and the record of its attempts: written by real jobs, read back."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from amd.status.attempt import alive, attempt, file_of, read

ROOT = Path(__file__).parents[2]
OUT = "results/smoke/sit-amd/seed0/grid.png"
HEADER = re.compile(
    r"^\d\d:\d\d:\d\d amd (\w+): (\S+)(?: \(node \S+\))?(?:, Slurm job (\d+))?, attempt (\d+), "
    r"commit ([0-9a-f]{12}(?:\+dirty)?|unknown), process (\d+), \d{4}-\d\d-\d\d [+-]\d{4}$"
)


def grid(folder: Path, **env: str) -> subprocess.CompletedProcess:
    """`amd grid` in an empty folder, where it has no samples to lay out: a job that fails at once."""
    return subprocess.run(
        [sys.executable, "-m", "amd", "grid", "--scale", "smoke", "--samples", "nowhere", "--out", OUT],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
        capture_output=True,
        text=True,
    )


def test_a_log_begins_with_host_slurm_job_attempt_and_commit(tmp_path):
    done = grid(tmp_path, SLURM_JOB_ID="4711")
    assert done.returncode == 1
    found = HEADER.match(done.stderr.splitlines()[0])
    assert found, done.stderr
    verb, host, job, number, commit, pid = found.groups()
    assert (verb, host, job, number) == ("grid", socket.gethostname(), "4711", "1")
    one = read(tmp_path / file_of(OUT))[-1]
    assert (one.slurm, one.pid, one.code) == ("4711", int(pid), 1)
    assert one.error.startswith("ValueError: nowhere/samples.npz")
    assert one.commit.startswith(commit.removesuffix("+dirty")) or commit == "unknown"


def test_attempts_are_counted_until_one_succeeds(tmp_path):
    assert "attempt 1," in grid(tmp_path).stderr
    again = grid(tmp_path)
    assert "attempt 2," in again.stderr
    assert "Slurm" not in again.stderr.splitlines()[0]
    record = tmp_path / file_of(OUT)
    with record.open("a") as file:
        file.write('{"torn": ')  # a kill in the middle of a line
    assert [one.number for one in read(record)] == [1, 2]


def test_a_job_that_succeeded_begins_anew(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="first"), attempt("grid", OUT):
        raise ValueError("first line\nsecond line")
    with attempt("grid", OUT):
        pass
    with attempt("grid", OUT):
        pass
    assert [(one.number, one.code, one.error) for one in read(file_of(OUT))] == [
        (1, 1, "ValueError: first line"),
        (2, 0, ""),
        (1, 0, ""),
    ]
    assert [HEADER.match(line)[4] for line in capsys.readouterr().err.splitlines()] == ["1", "2", "1"]


def test_the_exit_code_of_a_stopped_training_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit), attempt("distill", OUT):
        raise SystemExit(75)
    with attempt("distill", OUT) as ending:
        ending.code = 2
    assert [one.code for one in read(file_of(OUT))] == [75, 2]


def test_of_several_ranks_the_first_speaks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANK", "1")
    with attempt("distill", OUT):
        pass
    assert capsys.readouterr().err == ""
    assert not list(tmp_path.iterdir())


def test_a_killed_process_is_known_to_be_dead_and_a_living_one_to_live(tmp_path):
    code = f"from amd.status.attempt import attempt\nimport time\nwith attempt('grid', {OUT!r}): time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        record, end = tmp_path / file_of(OUT), time.monotonic() + 30
        while not read(record) and time.monotonic() < end:
            time.sleep(0.05)
        (one,) = read(record)
        assert alive(one) is True
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    (one,) = read(record)
    assert one.ended is None
    assert alive(one) is False


def test_a_later_process_with_the_same_number_is_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with attempt("grid", OUT):
        record = file_of(OUT)
        text = record.read_text()
        assert alive(read(record)[-1]) is True
        record.write_text(re.sub(r'"born": "\d+"', '"born": "1"', text))
        assert alive(read(record)[-1]) is False
        record.write_text(text.replace(socket.gethostname(), "elsewhere"))
        assert alive(read(record)[-1]) is None  # nobody here can tell


@pytest.mark.parametrize("output", ["/tmp/x/y/z", "results/../x/y", "plane/x/y", "results/x", "x", ""])
def test_what_is_no_path_of_the_workflow_is_not_recorded(output):
    assert file_of(output) is None


def test_a_record_that_cannot_be_written_costs_the_job_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("state").write_text("in the way")
    with attempt("grid", OUT):
        pass
    assert "is not recorded" in capsys.readouterr().err


def test_other_verbs_have_no_such_line():
    done = subprocess.run(
        [sys.executable, "-m", "amd", "status", "--scale", "smoke"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
