"""How far a running job is: by the last line of its journal, else by what its log says, and the end of a log."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from amd.config.jobs import Job
from amd.status.attempt import Attempt

TAIL_BYTES = 16384
SAID = re.compile(r"(\d+)/(\d+), ([\d.]+) s each, ([\d.]+) s left")  # as amd.train.progress writes it
STAMP = re.compile(r"^\d\d:\d\d:\d\d ")
SHOWN = 4  # values of a journal's line


@dataclass
class Progress:
    """What a job says of itself. `left_s` is None where it says nothing that tells."""

    words: str
    left_s: float | None = None


def progress(log: Path, journal: Path | None, job: Job, attempt: Attempt | None) -> Progress:
    """The journal where this attempt has written in it, or the log; whichever is younger."""
    lines = [line for line in tail(log) if line.strip()]
    last = lines[-1] if lines else ""
    spoken = next((found for line in reversed(lines) if (found := SAID.search(line))), None)
    left = float(spoken[4]) if spoken else None
    if attempt is not None and journal is not None and journal.is_file() and journal.stat().st_mtime >= attempt.began:
        line = last_entry(journal)
        if line:
            total, each = iterations(job), line.get("s_per_iteration")
            step = line.get("step")
            words = f"step {step}" + (f" of {total}" if total else "")
            if isinstance(each, float) and isinstance(step, int) and total:
                left = (total - step) * each if left is None or journal.stat().st_mtime > _mtime(log) else left
            values = [f"{key} {value:.3g}" for key, value in line.items() if _worth_saying(key, value)]
            return Progress(f"{words}: {', '.join(values[:SHOWN])}" if values else words, left)
    if attempt is not None and f", process {attempt.pid}, " in last:
        last = ""  # its own first line, which the attempt has told already
    return Progress(STAMP.sub("", last), left)


def iterations(job: Job) -> int | None:
    """Student updates of a distillation, updates of a pretraining; None where nothing counts them."""
    if job.run is None:
        return None
    if job.rule == "distill":
        return job.run.stage_iterations
    run = job.run
    if run.system.kind == "teacher":
        stage = None if run.domain.teacher is not None else run.sizes.teacher  # a published one is fetched
    elif run.system.kind == "initial":
        stage = None if run.domain.initial is not None else run.video.initial
    elif run.system.kind == "scorer":
        stage = run.prompted.scorers.get(run.system.architecture)  # type: ignore[arg-type]
    else:
        stage = run.klass.classifier
    return stage.iterations if stage is not None and job.rule == "pretrain" else None


def last_entry(journal: Path) -> dict[str, object]:
    """The last whole line of a journal; {} where there is none."""
    for raw in reversed(tail(journal)):
        try:
            line = json.loads(raw)
        except ValueError:  # torn, or the first line of the tail
            continue
        if isinstance(line, dict):
            return line
    return {}


def tail(file: Path, most: int | None = None) -> list[str]:
    """The last lines of a text file, without reading the rest; carriage returns of progress bars end lines too."""
    if not file.is_file():
        return []
    with file.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - TAIL_BYTES))
        lines = re.split(r"[\r\n]+", stream.read().decode(errors="replace").rstrip())
    if size > TAIL_BYTES:
        lines = lines[1:]  # cut in the middle
    return lines if most is None else lines[-most:]


def _worth_saying(key: str, value: object) -> bool:
    return isinstance(value, float) and key.rsplit("/", 1)[-1] in ("loss", "reward", "gradient", "accuracy", "w_eff")


def _mtime(file: Path) -> float:
    return file.stat().st_mtime if file.is_file() else 0.0
