"""`amd status`: the board in words, and the end of each failed job's log."""

import time
from collections import Counter, defaultdict
from pathlib import Path

from amd.commit import short
from amd.config.load import Library
from amd.status.attempt import Attempt
from amd.status.board import Board, Seen, State, board, log_of
from amd.status.progress import tail
from amd.status.queue import queue

BROKEN: tuple[State, ...] = ("failed", "killed")
WORDS: dict[State, str] = {
    "running": "running",
    "failed": "failed",
    "killed": "killed",
    "stopped": "stopped with its state saved",
    "queued": "queued in Slurm",
    "next": "can begin",
    "waiting": "waiting for others",
    "outdated": "made from another configuration",
}
LOG_LINES = 3
FAILED_LINES = 20  # where failed jobs alone are asked for


def status(library: Library, scale: str, goal: str | None, checkpoints: str | None = None) -> str:
    """Everything at a scale, or one goal of config.yaml; `checkpoints` as `board` takes it."""
    goals = list(library.choice.goals) if goal is None else [goal]
    entries = queue()
    whole = board(library, scale, goals, entries, checkpoints=checkpoints)
    lines = [f"Scale {scale}. {_counted(whole)}"]
    if goal is None:
        for name in goals:
            part = board(library, scale, [name], entries, checkpoints=checkpoints)
            lines.append(f"  goal {name}: {_done(part)} of {len(part.seen)} jobs done{_time_left(part)}")
    else:
        lines.append(f"  {_done(whole)} of {len(whole.seen)} jobs done{_time_left(whole)}")
    for title, states in (
        ("Running", ("running",)),
        ("Failed", BROKEN),
        ("Stopped, their state saved: the same command goes on from there", ("stopped",)),
        ("Queued in Slurm", ("queued",)),
    ):
        listed = whole.of(*states)
        if listed:
            lines += ["", title]
            for each in listed:
                lines += _entry(each, LOG_LINES)
    lines += _more(whole) if goal is None else []
    lines += _rest(whole)
    return "\n".join(lines)


def failures(library: Library, scale: str, checkpoints: str | None = None) -> str:
    """Each failed or killed job of any goal, with the end of its own log; empty where none failed."""
    broken = board(library, scale, library.choice.goals, queue(), checkpoints=checkpoints).of(*BROKEN)
    if not broken:
        return ""
    lines = [f"{len(broken)} job{'s' * (len(broken) > 1)} failed; the end of each log:"]
    for each in broken:
        lines += ["", *_entry(each, FAILED_LINES)]
    return "\n".join(lines)


def what(each: Seen) -> str:
    """A job's rule and subject: `score sit-amd seed 1 class`."""
    job = each.job
    if job.run is None:
        return f"{job.rule} {job.name}"
    return " ".join([job.rule, job.run.name, f"seed {job.run.seed}", *([job.benchmark] if job.benchmark else [])])


def spoken(seconds: float) -> str:
    """A duration, no finer than anybody wants it: 45 s, 12 min, 3 h 20 min, 2 d 4 h."""
    minutes, hours = round(seconds / 60), int(seconds // 3600)
    if seconds < 90:
        return f"{round(seconds)} s"
    if minutes < 100:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h {round((seconds - 3600 * hours) / 60)} min"
    return f"{hours // 24} d {hours % 24} h"


def _entry(each: Seen, most: int) -> list[str]:
    """A job, what it last said, and where to read on."""
    log, one = Path(log_of(each.job)), each.last
    lines = [f"  {what(each)}: {_state(each)}"]
    if each.state == "running" and each.progress and each.progress.words:
        lines.append(f"      {each.progress.words}")
    if each.state in BROKEN:
        lines += [f"      | {line}" for line in tail(log, most)]
        if not log.is_file():
            lines.append(f"      {one.error if one and one.error else 'it left no log'}")
    if each.state != "queued":
        lines.append(f"      log {log}")
    if one is not None and one.slurm and each.state in BROKEN:
        lines += [f"      Slurm's {file}" for file in sorted(Path("logs/slurm").glob(f"*/**/{one.slurm}.log"))]
    return lines


def _state(each: Seen) -> str:
    one, entry = each.last, each.entry
    if each.state == "queued":
        assert entry is not None
        again = f", after attempt {one.number}" if one is not None else ""
        return f"Slurm job {entry.job}, {entry.state.lower()} ({entry.reason}){again}"
    if one is None:
        return (
            f"Slurm job {entry.job} has begun and has not spoken yet"
            if entry is not None
            else "it was started and never spoke for itself"
        )
    return f"{_course(each, one)}; {one.where}, attempt {one.number}, commit {short(one.commit)}"


def _course(each: Seen, one: Attempt) -> str:
    if each.state == "running":
        left = each.progress.left_s if each.progress else None
        return f"for {spoken(one.seconds)}" + (f", about {spoken(left)} left" if left is not None else "")
    if one.ended is None:
        return f"killed: it began {spoken(one.seconds)} ago and left no last word"
    return f"exit {one.code} after {spoken(one.seconds)}, {spoken(time.time() - one.ended)} ago"


def _counted(whole: Board) -> str:
    count = whole.count()
    said = [f"{count[state]} {words}" for state, words in WORDS.items() if count[state]]
    return f"{len(whole.seen)} jobs: {', '.join([f'{_done(whole)} done', *said])}."


def _done(whole: Board) -> int:
    """Done, or not needed any more, as everything that reads it is done."""
    return len(whole.of("done", "spared"))


def _time_left(whole: Board) -> str:
    if not any(each.unfinished for each in whole.seen):
        return ""
    seconds, lanes, unknown = whole.left()
    if not seconds:
        return "; how long the rest takes is known when the first have finished" if unknown else ""
    rest = f", and what no job of {', '.join(unknown)} has told yet" if unknown else ""
    return f", about {spoken(seconds)} left at {lanes} at a time{rest}"


def _more(whole: Board) -> list[str]:
    """Tasks of job arrays, where Slurm's comment names the first one alone, and groups of jobs."""
    said = ", ".join(f"{count} of {rule}" for rule, count in (+whole.more).items())
    return [f"  In Slurm's queue besides, arrays or groups: {said}"] if said else []


def _rest(whole: Board) -> list[str]:
    """What has not begun, by rule."""
    lines = []
    for state in ("next", "waiting", "outdated"):
        rules: dict[str, list[Seen]] = defaultdict(list)
        for each in whole.of(state):
            rules[each.job.rule].append(each)
        if rules:
            title = {
                "next": "Can begin",
                "waiting": "Waiting for others",
                "outdated": "Made from another configuration",
            }
            lines += ["", title[state]]
            lines += [f"  {rule}: {_names(listed)}" for rule, listed in rules.items()]
    return lines


def _names(listed: list[Seen], most: int = 6) -> str:
    """Systems with how many jobs each; problems, tables and figures by name."""
    names = Counter(each.job.what for each in listed)
    said = [name + (f" ({count})" if count > 1 else "") for name, count in names.items()]
    return ", ".join(said[:most]) + (f" and {len(said) - most} more" if len(said) > most else "")
