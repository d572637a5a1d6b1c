"""The jobs of `amd doctor --cluster` without a cluster: when two of them meet, and what is said when they do not."""

import json
import time
from pathlib import Path
from threading import Thread

import pytest

from amd.cluster import _apart
from amd.train.probe import devices

LATE_S = 1.0  # of the second job


def look(folder: Path, part: int, wait: float, asked: int = 1) -> None:
    """One of the two jobs."""
    devices(asked, folder / f"devices-{part}.json", folder / f"devices-{1 - part}.json", wait)


def said(folder: Path, part: int) -> dict:
    return json.loads((folder / f"devices-{part}.json").read_text())


@pytest.mark.parametrize(("given", "state"), [(("0", "1"), "good"), (("3", "3"), "bad")])
def test_the_first_job_stays_until_the_second_has_come_and_then_devices_are_compared(
    tmp_path, monkeypatch, given, state
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given[0])
    first = Thread(target=look, args=(tmp_path, 0, 60.0))
    first.start()
    time.sleep(LATE_S)
    assert first.is_alive()
    second = Thread(target=look, args=(tmp_path, 1, 60.0))
    second.start()
    for job in (first, second):
        job.join(30)
        assert not job.is_alive()
    one, other = said(tmp_path, 0), said(tmp_path, 1) | {"visible": [given[1]]}  # an environment is a process's
    assert one["ended"] > other["began"] > one["began"]
    assert _apart(one, other).state == state


def test_after_its_wait_a_job_goes_on_alone_and_nothing_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    look(tmp_path, 0, 0.5)
    look(tmp_path, 1, 0.5)
    found = _apart(said(tmp_path, 0), said(tmp_path, 1))
    assert found.state == "bare"
    assert "did not meet within" in found.words


def test_a_job_without_gpus_waits_for_nobody(tmp_path):
    began = time.monotonic()
    look(tmp_path, 0, 60.0, asked=0)
    assert time.monotonic() - began < 30
