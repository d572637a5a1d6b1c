"""One process at a time trains in a state folder."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from amd.train.lease import Lease, LeaseLost

HOLDER = """
import sys, time
from amd.train.lease import Lease
with Lease(sys.argv[1], beat_s=0.05, stale_s=0.5):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
    print("done", flush=True)
"""


def holder(state: Path, hold_s: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(state), str(hold_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_second_process_waits_says_so_and_goes_on(tmp_path: Path) -> None:
    first = holder(tmp_path, 1.0)
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    second = holder(tmp_path, 0.0)
    out, err = second.communicate(timeout=30)
    assert first.wait(timeout=10) == 0
    assert first.stdout.readline() == "done\n"
    assert (second.returncode, out) == (0, "held\ndone\n")
    assert f"process {first.pid} on" in err
    assert "is training here; waiting" in err
    first.communicate()


def test_the_lease_of_a_killed_process_is_taken_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = holder(tmp_path, 60)
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    first.send_signal(signal.SIGKILL)
    first.wait()
    start = time.monotonic()
    with Lease(tmp_path):
        assert time.monotonic() - start < 5
    assert f"process {first.pid} on" in (said := capsys.readouterr().err)
    assert "died; its lease is taken" in said
    first.communicate()


def test_a_holder_on_another_host_is_believed_as_long_as_it_beats(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lease").write_text('{"pid": 1, "host": "elsewhere", "token": "x"}')
    start, beats = time.monotonic(), 6

    def beat() -> None:  # called while waiting
        nonlocal beats
        if beats:
            beats -= 1
            os.utime(tmp_path / "lease")

    with Lease(tmp_path, beat_s=0.1, stale_s=0.4, interrupted=beat):
        waited = time.monotonic() - start
    assert beats == 0
    assert waited > 0.4 + 5 * 0.05
    said = capsys.readouterr().err
    assert "process 1 on elsewhere is training here; waiting" in said
    assert "has not beaten for" in said


def test_waiting_can_be_interrupted(tmp_path: Path) -> None:
    first = holder(tmp_path, 60)
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"

    def interrupted() -> None:
        raise SystemExit(75)

    with pytest.raises(SystemExit), Lease(tmp_path, interrupted=interrupted):
        pass
    first.kill()
    first.communicate()


def test_who_lost_the_lease_must_not_write(tmp_path: Path) -> None:
    with Lease(tmp_path) as lease:
        lease.check()
        (tmp_path / "lease").write_text('{"pid": 2, "host": "elsewhere", "token": "y"}')
        with pytest.raises(LeaseLost, match="process 2 on elsewhere"):
            lease.check()
    assert "elsewhere" in (tmp_path / "lease").read_text()  # and it is not taken back from its holder
