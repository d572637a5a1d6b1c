"""The display of `amd build`: what it counts, what it estimates, what it says where there is no terminal."""

import importlib.util
import io
import logging
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from snakemake_interface_logger_plugins.common import LogEvent

FILE = Path("workflow/progress/snakemake_logger_plugin_progress/__init__.py")


@pytest.fixture(scope="module")
def progress():
    spec = importlib.util.spec_from_file_location("snakemake_logger_plugin_progress", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def handler(progress):
    """A handler that writes to a string instead of a terminal."""
    made = progress.LogHandler(SimpleNamespace(), None)
    made.console = Console(file=io.StringIO(), highlight=False, width=100)
    yield made
    made.close()


def say(handler, event=None, level=logging.INFO, msg="", **said) -> None:
    record = logging.makeLogRecord({"msg": msg, "levelno": level, "event": event, **said})
    handler.emit(record)


def test_it_counts_jobs_and_names_them(handler, tmp_path):
    log = tmp_path / "job.log"
    log.write_text("12:00:01 sit-amd seed 0: 30/60, 0.5 s each, 15 s left\n")
    say(handler, LogEvent.RESOURCES_INFO, cores=1)
    say(handler, LogEvent.RUN_INFO, stats={"distill": 2, "all": 1, "total": 3})
    say(handler, LogEvent.JOB_INFO, jobid=1, rule_name="distill", rule_msg="Distill sit-amd, seed 0", log=[str(log)])
    assert handler.account.running[1].share() == 0.5
    say(handler, LogEvent.JOB_FINISHED, job_id=1)
    said = handler.console.file.getvalue()
    assert "3 jobs on 1 cores" in said
    assert "1/3  Distill sit-amd, seed 0" in said
    assert handler.account.done == 1
    assert handler.account.total == 3


def test_a_failed_job_is_named_with_its_last_words_and_its_log(handler, tmp_path):
    log = tmp_path / "job.log"
    log.write_text("reading\nValueError: sizes [4] and [3] differ\n\n")
    say(handler, LogEvent.RUN_INFO, stats={"score": 1, "total": 1})
    say(handler, LogEvent.JOB_INFO, jobid=7, rule_name="score", rule_msg="Score sit-amd", log=[str(log)])
    say(handler, LogEvent.JOB_ERROR, logging.ERROR, jobid=7, rule_name="score")
    said = handler.console.file.getvalue()
    assert "FAILED Score sit-amd" in said
    assert "ValueError: sizes [4] and [3] differ" in said
    assert str(log) in said.replace("\n", "")


def test_warnings_and_errors_of_snakemake_pass_and_its_chatter_does_not(handler):
    handler.setFormatter(logging.Formatter("%(message)s"))
    say(handler, msg="Building DAG of jobs...")
    say(handler, level=logging.WARNING, msg="the directory is locked")
    assert handler.console.file.getvalue() == "the directory is locked\n"


def test_the_estimate_never_falls_below_what_a_running_job_needs(progress, tmp_path):
    log = tmp_path / "job.log"
    log.write_text("teacher: 1000/5000, 0.1 s each\n")
    account = progress.Account(cores=8)
    account.planned.update({"pretrain": 1, "figure": 1})
    account.running[1] = progress.Job("pretrain", "Pretrain", log, time.monotonic() - 100)
    assert account.left() == pytest.approx(400, rel=0.01)  # a fifth took 100 s; more cores do not help


def test_the_estimate_learns_from_the_jobs_of_this_run(progress):
    account = progress.Account(cores=2)
    account.planned.update({"distill": 5})
    account.took["distill"] = [10.0]
    assert account.left() == pytest.approx(4 * 10 / 2)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(4, "about 10 s left"), (88, "about 80 s left"), (90, "about 2 min left"), (3600, "about 60 min left")],
)
def test_time_left_is_said_no_finer_than_it_is_known(progress, seconds, words):
    assert progress.spoken(seconds) == words


def test_the_picture_on_a_terminal_has_the_bar_the_count_and_each_job(handler, tmp_path):
    log = tmp_path / "job.log"
    log.write_text("12:00:01 sit-amd seed 0: 30/60\n")
    handler.console = Console(file=io.StringIO(), force_terminal=True, width=100, highlight=False)
    say(handler, LogEvent.RUN_INFO, stats={"distill": 2, "total": 2})
    say(handler, LogEvent.JOB_INFO, jobid=1, rule_name="distill", rule_msg="Distill sit-amd", log=[str(log)])
    plain = Console(file=io.StringIO(), width=100)
    plain.print(handler._picture())
    text = plain.file.getvalue()
    assert "0/2 jobs" in text
    assert "Distill sit-amd" in text
    assert "30/60" in text
