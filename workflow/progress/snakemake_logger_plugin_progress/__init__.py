"""A display for `snakemake --logger progress`: one bar over all jobs, the time left, each running job's own words.

On a terminal the lowest lines are redrawn; anywhere else a line is written when a job ends, and one every half minute.
`amd build` puts this folder on PYTHONPATH, where Snakemake finds logger plugins by name.
"""

import os
import re
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from logging import WARNING, LogRecord
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

# CPU seconds of a job at scale tiny on one core: they steer the estimate until a rule's first job is done.
TYPICAL_S = {"pretrain": 90.0, "distill": 30.0, "sample": 8.0, "score": 10.0, "trace": 12.0, "plane": 100.0}
OTHER_S = 4.0
QUIET_S = 30.0  # between two lines where there is no terminal
FRACTION = re.compile(r"(\d[\d,]*)\s*(?:/|of)\s*(\d[\d,]*)")
STAMP = re.compile(r"^\d\d:\d\d:\d\d [^:]*: ")  # as amd.train.progress writes it
TAIL_BYTES = 4096


@dataclass
class Job:
    """A job that has been started."""

    rule: str
    words: str
    log: Path | None
    began: float

    def said(self) -> str:
        """The last line that the job wrote to its log, without its clock and its name."""
        if self.log is None or not self.log.is_file():
            return ""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            lines = re.split(r"[\r\n]+", file.read().decode(errors="replace"))
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return STAMP.sub("", last)

    def share(self) -> float:
        """How far it says it is, in [0, 1); 0 where it says nothing."""
        found = FRACTION.search(self.said())
        if not found:
            return 0.0
        done, total = (int(number.replace(",", "")) for number in found.groups())
        return min(done / total, 0.99) if total else 0.0


@dataclass
class Account:
    """Which jobs there are, were and will be."""

    began: float = field(default_factory=time.monotonic)
    cores: int = 1
    planned: Counter[str] = field(default_factory=Counter)
    running: dict[int, Job] = field(default_factory=dict)
    took: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.planned.values())

    @property
    def done(self) -> int:
        return sum(len(times) for times in self.took.values())

    def typical(self, rule: str) -> float:
        """Seconds of a job of a rule: this run's mean, or a first guess."""
        times = self.took[rule]
        return sum(times) / len(times) if times else TYPICAL_S.get(rule, OTHER_S)

    def left(self) -> float:
        """Seconds until the end: remaining work over the cores, but never less than a running job needs by itself."""
        now, running, shares = time.monotonic(), Counter(job.rule for job in self.running.values()), []
        for job in self.running.values():
            spent, share = now - job.began, job.share()
            shares.append(spent / share - spent if share > 0.02 else max(self.typical(job.rule) - spent, 1.0))
        waiting = {rule: n - len(self.took[rule]) - running[rule] for rule, n in self.planned.items()}
        work = sum(shares) + sum(max(n, 0) * self.typical(rule) for rule, n in waiting.items())
        return max([work / max(self.cores, 1), *shares])


def clock(seconds: float) -> str:
    """m:ss, or h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def spoken(seconds: float) -> str:
    """How long it will take, no finer than it is known."""
    if seconds < 90:
        return f"about {max(int(seconds // 10) * 10, 10)} s left"
    return f"about {round(seconds / 60)} min left"


class LogHandler(LogHandlerBase):
    """Snakemake's events -> the display."""

    def __post_init__(self) -> None:
        self.account = Account()
        self.console = Console(stderr=True, highlight=False)
        self.console.soft_wrap = not self.console.is_terminal  # a line stays a line in a file
        self.live: Live | None = None
        self.stopping = threading.Event()
        self.spoke = time.monotonic()

    @property
    def writes_to_stream(self) -> bool:
        return True

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return True

    @property
    def has_formatter(self) -> bool:
        return False

    @property
    def needs_rulegraph(self) -> bool:
        return False

    def emit(self, record: LogRecord) -> None:
        """One event of Snakemake."""
        try:
            self._take(record.__dict__, record)
        except Exception:
            self.handleError(record)

    def _take(self, said: dict[str, Any], record: LogRecord) -> None:
        event, account = said.get("event"), self.account
        if event == LogEvent.RESOURCES_INFO and "cores" in said:
            account.cores = min(int(said["cores"]), os.cpu_count() or 1)
        elif event == LogEvent.RUN_INFO:
            account.planned = Counter({rule: n for rule, n in said["stats"].items() if rule != "total"})
            self._start()
        elif event == LogEvent.JOB_INFO:
            logs = said.get("log") or []
            words = said.get("rule_msg") or said["rule_name"]
            log = Path(str(logs[0])) if logs else None
            account.running[said["jobid"]] = Job(said["rule_name"], words, log, time.monotonic())
        elif event == LogEvent.JOB_FINISHED:
            self._finish(said["job_id"])
        elif event == LogEvent.JOB_ERROR:
            self._fail(said)
        elif record.levelno >= WARNING or event == LogEvent.ERROR:
            self.console.print(Text(self.format(record), style="red" if record.levelno > WARNING else "yellow"))

    def _start(self) -> None:
        if self.live is not None or self.stopping.is_set():
            return
        account = self.account
        self.console.print(f"{account.total} jobs on {account.cores} cores, {spoken(account.left())}.")
        if self.console.is_terminal:
            self.live = Live(get_renderable=self._picture, console=self.console, refresh_per_second=2, transient=True)
            self.live.start()
        else:
            threading.Thread(target=self._murmur, daemon=True).start()

    def _finish(self, job_id: int) -> None:
        account = self.account
        job = account.running.pop(job_id, None)
        if job is None:
            return
        took = time.monotonic() - job.began
        account.took[job.rule].append(took)
        self._line(f"{job.words} [dim]({clock(took)})[/dim]")

    def _fail(self, said: dict[str, Any]) -> None:
        job = self.account.running.pop(said["jobid"], None)
        words = job.words if job else said["rule_name"]
        self.account.failed.append(words)
        last = job.said() if job else ""
        self._line(f"[red]FAILED[/red] {words}")
        if job and job.log:
            self.console.print(Text(f"    {last}\n    The whole log: {job.log}", style="red"))

    def _line(self, words: str) -> None:
        account = self.account
        width = len(str(account.total))
        self.spoke = time.monotonic()
        self.console.print(f"{clock(self.spoke - account.began):>7}  {account.done:{width}}/{account.total}  {words}")

    def _murmur(self) -> None:
        """Where there is no terminal: what is running and how long it will take, when nothing else was said."""
        while not self.stopping.wait(1.0):
            if time.monotonic() - self.spoke > QUIET_S and self.account.running:
                now = "; ".join(f"{job.words}: {job.said()}"[:100] for job in list(self.account.running.values()))
                self._line(Text(f"{spoken(self.account.left())}; {now}").markup)

    def _picture(self) -> Group:
        account, now = self.account, time.monotonic()
        spent = now - account.began
        left = account.left()
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=spent + left, completed=spent, width=30),
            f"{account.done}/{account.total} jobs",
            clock(spent),
            f"[bold]{spoken(left)}[/bold]" if account.total else "",
        )
        jobs = Table.grid(padding=(0, 1))
        jobs.add_column(no_wrap=True)
        jobs.add_column(no_wrap=True, justify="right")
        jobs.add_column(no_wrap=True, overflow="ellipsis")
        for job in list(account.running.values()):
            jobs.add_row(f"  {job.words}", clock(now - job.began), Text(job.said(), style="dim"))
        return Group(bar, jobs)

    def close(self) -> None:
        """Snakemake is done."""
        self.stopping.set()
        if self.live is not None:
            self.live.stop()
            self.live = None
        super().close()


__all__ = ["LogHandler"]
