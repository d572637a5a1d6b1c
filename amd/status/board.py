"""Every job of some goals and what it is doing: done, running, failed, queued, able to begin, or waiting for others.

By what is on disk, not by Snakemake's own books: a result counts as done when it is there and says that it was made
from the configuration as it stands. `snakemake -n` has the last word on what is rerun, and takes seconds to say it.
"""

import json
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from amd.config import plan
from amd.config.jobs import Job, jobs
from amd.config.load import Library
from amd.config.published import chosen, pulled, read_meta
from amd.status.attempt import Attempt, alive, file_of, read
from amd.status.progress import Progress, progress
from amd.status.queue import Entry, comment

State = Literal["running", "failed", "killed", "stopped", "queued", "next", "waiting", "outdated", "spared", "done"]
TRAINING = ("pretrain", "distill")
SILENT_S = 180.0  # without a word in log or lease, a process on another host is not believed to be alive


@dataclass
class Seen:
    """A job and what is known of it."""

    job: Job
    state: State
    last: Attempt | None = None  # the live one, or the newest
    entry: Entry | None = None  # Slurm's
    progress: Progress | None = None  # of a running one

    @property
    def unfinished(self) -> bool:
        """Whether there is still something to do."""
        return self.state not in ("done", "spared")


@dataclass
class Board:
    """All jobs, in an order in which they could be executed."""

    scale: str
    seen: list[Seen]
    took: dict[str, list[float]] = field(default_factory=dict)  # rule -> seconds of those that succeeded
    more: Counter[str] = field(default_factory=Counter)  # rule -> what waits in Slurm and names no single job of these

    def of(self, *states: State) -> list[Seen]:
        """The jobs in these states."""
        return [each for each in self.seen if each.state in states]

    def count(self) -> Counter[str]:
        """Jobs in each state."""
        return Counter(each.state for each in self.seen)

    def left(self) -> tuple[float, int, list[str]]:
        """Seconds to the end as far as it can be told, at how many jobs at a time, and the rules that nobody can tell.

        A rule is told by the median of its finished jobs. What is running counts with what it says of itself.
        """
        running = [each for each in self.of("running") if each.progress is not None]
        lanes = max(len(self.of("running")), 1)
        ahead = [each.progress.left_s for each in running if each.progress and each.progress.left_s is not None]
        unknown: set[str] = set()
        work = sum(ahead)
        for each in self.seen:
            if each.unfinished and each.state != "running":
                if times := self.took.get(each.job.rule):
                    work += statistics.median(times)
                else:
                    unknown.add(each.job.rule)
        return max([work / lanes, *ahead]), lanes, sorted(unknown)


def board(
    library: Library,
    scale: str,
    goals: Iterable[str],
    queue: Sequence[Entry] | None = None,
    root: Path = Path(),
    checkpoints: str | None = None,
) -> Board:
    """Look at every job of some goals. `queue`: what Slurm has of ours, None where there is no Slurm.

    `checkpoints`: who makes those that are not there, "train" or "pull"; without it, config.yaml's word counts.
    """
    wanted = [plan.runnable(library, goal) for goal in goals]
    tables = dict.fromkeys(name for names, _ in wanted for name in names)
    figures = dict.fromkeys(name for _, names in wanted for name in names)
    found = jobs(library, scale, tables, figures)
    if chosen(library, checkpoints) == "pull":
        found = pulls(library, found, root)
    comments = {comment(rule_of(job), wildcards(job)) for job in found}
    entries: dict[str, Entry] = {}
    again: Counter[str] = Counter()  # an array's tasks all carry the comment of the first
    for entry in queue or ():
        again[entry.rule] += entry.waits and entry.comment in entries and entry.comment in comments
        entries.setdefault(entry.comment, entry)
    numbers = {entry.job for entry in queue or ()}
    seen: dict[str, Seen] = {}
    took: dict[str, list[float]] = defaultdict(list)
    for job in found:
        attempts = read(_under(root, file_of(job.output)))
        took[job.rule] += [one.seconds for one in attempts if one.code == 0]
        mine = entries.get(comment(rule_of(job), wildcards(job)))
        seen[job.output] = _look(job, attempts, mine, None if queue is None else numbers, root)
    _order(library, found, seen)
    for each in seen.values():
        if each.state == "running":
            each.progress = progress(root / log_of(each.job), _journal(each.job, root), each.job, each.last)
            times = took[each.job.rule]
            usual = statistics.median(times) - each.last.seconds if each.last and times else 0.0
            if each.progress.left_s is None and usual > 0:  # beyond its usual time nobody can tell
                each.progress.left_s = usual
    more = Counter(entry.rule for entry in queue or () if entry.waits and entry.comment not in comments) + again
    return Board(scale, list(seen.values()), dict(took), +more)


def pulls(library: Library, found: list[Job], root: Path = Path()) -> list[Job]:
    """The same jobs under `checkpoints: pull`: what is not there is pulled; what only trainings read is not wanted."""
    made = [job for job in found if job.rule in TRAINING]
    read = {path for job in found if job.rule not in TRAINING for path in inputs(library, job)}
    here = {job.output for job in made if read_meta(root / job.output) is not None and not pulled(root / job.output)}
    pulling = {job.output: replace(job, rule="pull") for job in made if job.output in read - here}
    return [pulling.get(job.output, job) for job in found if job.rule not in TRAINING or job.output in read]


def _look(job: Job, attempts: list[Attempt], entry: Entry | None, slurm: set[str] | None, root: Path) -> Seen:
    """A job by itself; whether it could begin is decided when all have been looked at."""
    living = [one for one in attempts if _lives(one, slurm, job, root)]
    last = living[-1] if living else attempts[-1] if attempts else None
    if living:
        return Seen(job, "running", last, entry)
    if entry is not None and not entry.waits:
        return Seen(job, "running", None, entry)  # Slurm has begun it, the job itself has not spoken yet
    if (root / job.output).exists():
        return Seen(job, "done" if made_from_this(job, root) else "outdated", last, entry)
    if entry is not None:
        return Seen(job, "queued", last, entry)
    if last is not None and last.code is None:
        return Seen(job, "killed", last)
    if last is not None and last.code == 75:
        return Seen(job, "stopped", last)
    if last is not None and last.code:
        return Seen(job, "failed", last)
    log = root / log_of(job)
    if last is None and log.is_file() and log.stat().st_size and not _spoke(log):
        return Seen(job, "failed", None)  # what should have started it failed: a launcher, a missing interpreter
    return Seen(job, "waiting", last)


def _lives(one: Attempt, slurm: set[str] | None, job: Job, root: Path) -> bool:
    """On this host by its process; elsewhere by Slurm, where that answers, else by when it last gave a sign."""
    here = alive(one)
    if here is not None:
        return here
    if one.slurm is not None and slurm is not None:
        return one.slurm in slurm
    signs = [root / log_of(job)]
    if (state := state_of(job)) is not None:
        signs += (root / state).glob("**/lease")
    return any(sign.exists() and time.time() - sign.stat().st_mtime < SILENT_S for sign in signs)


def _order(library: Library, found: list[Job], seen: dict[str, Seen]) -> None:
    """What is outdated passes on; who could begin; and what nobody needs any more, as all that reads it is done."""
    readers: dict[str, list[str]] = defaultdict(list)
    for job in found:
        for path in inputs(library, job):
            readers[path].append(job.output)
    for job in found:
        reads = [seen[path] for path in inputs(library, job) if path in seen]
        each = seen[job.output]
        if each.state == "done" and any(other.state == "outdated" for other in reads):
            each.state = "outdated"
        if each.state == "waiting" and all(other.state in ("done", "spared") for other in reads):
            each.state = "next"
    for job in reversed(found):  # readers come after what they read
        each = seen[job.output]
        wanted = not readers[job.output] or any(seen[reader].unfinished for reader in readers[job.output])
        if each.state in ("waiting", "next") and not wanted:
            each.state = "spared"


def inputs(library: Library, job: Job) -> list[str]:
    """The outputs of other jobs that a job reads: what Snakemake's rules declare."""
    if job.rule == "table":
        return plan.table_inputs(library, str(job.name), _scale(job))
    if job.rule == "figure":
        return plan.figure_inputs(library, str(job.name), _scale(job))
    if job.run is None:
        return []
    run, benchmark = job.run, job.benchmark or plan.grid_benchmark(library, job.run.system.track)
    return {
        "shard": lambda: [plan.folder(run)],
        "sample": lambda: [plan.folder(run)],
        "gather": lambda: plan.shards(run, benchmark),
        "score": lambda: plan.score_inputs(run, benchmark),
        "trace": lambda: plan.trace_inputs(run, benchmark),
        "reference": lambda: plan.scorers(run),
        "pull": list,  # a record, which git brings
        "grid": lambda: [plan.samples(run.scale.name, run.name, run.seed, benchmark)],
    }.get(job.rule, lambda: plan.training_inputs(run))()


def wildcards(job: Job) -> tuple[str, ...]:
    """The wildcards of its rule, in the rule's order."""
    if job.run is None:
        return _scale(job), str(job.name)
    if job.rule == "reference":  # results/{scale}/reference/seed{seed}/{benchmark}/{judge}: of a judge, not of a run
        _, scale, _, seed, benchmark, judge = job.output.split("/")
        return scale, seed.removeprefix("seed"), benchmark, judge
    said = [job.run.scale.name, job.run.name, str(job.run.seed)]
    if job.benchmark is not None:
        said.append(job.benchmark)
    if job.rule == "score":
        said.append(job.run.domain.judge.name)
    if job.rule == "shard":  # .../{part}-of-{parts}
        said += job.output.rsplit("/", 1)[-1].split("-of-")
    return tuple(said)


def rule_of(job: Job) -> str:
    """Snakemake's rule: samples are drawn by one job, or put together from shards."""
    sharded = job.rule == "sample" and job.run is not None and plan.shards(job.run, str(job.benchmark))
    return "gather" if sharded else job.rule


def log_of(job: Job) -> str:
    """Where its rule says that it logs."""
    if job.run is None:
        folder = {"table": "tables", "figure": "figures"}.get(job.rule, job.rule)
        return f"results/{_scale(job)}/logs/{folder}/{job.name}.log"
    if job.rule == "reference":
        scale, seed, *names = wildcards(job)
        return f"{plan.results(scale, job.rule, seed)}/logs/{'-'.join(names)}.log"
    name = "-".join([rule_of(job), *wildcards(job)[3:5], *(f"of-{parts}" for parts in wildcards(job)[5:])])
    return f"{plan.results(job.run.scale.name, job.run.name, job.run.seed)}/logs/{name}.log"


def state_of(job: Job) -> str | None:
    """The folder from which a training resumes."""
    if job.rule == "plane":
        return f"state/{_scale(job)}/plane/{job.name}-{job.digest}"
    if job.run is None or job.rule not in ("pretrain", "distill"):
        return None
    return plan.state(job.run.scale.name, job.run.name, job.run.seed, job.run.digest)


SAYS = {
    "pretrain": "meta.json",
    "distill": "meta.json",
    "fetch": "meta.json",
    "pull": "meta.json",
    "sample": "manifest.json",
    "gather": "manifest.json",
    "plane": "measurements.json",
}


def meta(job: Job, root: Path = Path()) -> dict[str, Any]:
    """What a result says of itself; nothing where it says nothing (a picture) or cannot be read."""
    path = root / job.output
    file = path / SAYS[job.rule] if job.rule in SAYS else path
    if file.suffix != ".json" or not file.is_file():
        return {}
    try:
        said = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def made_from_this(job: Job, root: Path = Path()) -> bool:
    """Whether a result was made from the configuration as it stands, as far as it says."""
    said = meta(job, root)
    digest = said.get("digest", said.get("run_digest"))
    wanted = job.run.digest if job.run is not None else job.digest
    return digest is None or digest == wanted


def _journal(job: Job, root: Path) -> Path | None:
    state = state_of(job)
    return None if state is None else root / state / "journal.jsonl"


def _spoke(log: Path) -> bool:
    """Whether a job's own first line stands at the head of its log."""
    with log.open("rb") as file:
        return b"attempt " in file.read(4096)


def _scale(job: Job) -> str:
    return job.output.split("/")[1]


def _under(root: Path, file: Path | None) -> Path | None:
    return None if file is None else root / file
