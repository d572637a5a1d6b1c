"""An attempt at a job, as the job itself records it: who, where, when, of which code, and how it ended.

Snakemake deletes a job's log before each attempt, so the record stands elsewhere, in state/: a JSON line when an
attempt begins and one when it ends. A process that was killed leaves no second line.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from amd.commit import git_sha, short

HEADER = "amd {verb}: "


@dataclass(frozen=True)
class Attempt:
    """One line of the record, or two. Times are seconds since the epoch."""

    number: int  # since the job was last done: 1 is the first
    verb: str
    host: str
    pid: int
    born: str  # when the process began, as its host counts: tells a process from a later one with its number
    began: float
    commit: str
    slurm: str | None = None  # job id
    node: str | None = None  # Slurm's name of the host, where it is another one
    ended: float | None = None
    code: int | None = None  # exit code; None: it has not ended, or was killed
    error: str = ""  # the last line of its exception

    @property
    def where(self) -> str:
        """Host and Slurm job."""
        host = f"{self.host} (node {self.node})" if self.node else self.host
        return host + (f", Slurm job {self.slurm}" if self.slurm else "")

    @property
    def seconds(self) -> float:
        """How long it took, or has taken so far."""
        return (time.time() if self.ended is None else self.ended) - self.began


def file_of(output: str) -> Path | None:
    """Where the attempts at an output are recorded: beside the training states of its scale, in the same order.

    None where the output is no path of this workflow, as when a verb is tried by hand with `--out /tmp/x`.
    """
    path = PurePosixPath(output)
    if (
        path.is_absolute()
        or ".." in path.parts
        or len(path.parts) < 3
        or path.parts[0] not in ("checkpoints", "results")
    ):
        return None
    kind, scale, *rest = path.parts
    return Path("state", scale, "attempts", kind, *rest[:-1], f"{rest[-1]}.jsonl")


@dataclass
class Ending:
    """What a job sets when it ends by itself."""

    code: int = 0


@contextmanager
def attempt(verb: str, output: str) -> Iterator[Ending]:
    """Around a job: the first line of its log, and its record. Of several ranks the first speaks for all.

    A record that cannot be written is said and costs nothing else.
    """
    ending = Ending()
    if os.environ.get("RANK", "0") != "0":
        yield ending
        return
    file = file_of(output)
    job = os.environ.get("SLURM_JOB_ID")
    host, node = socket.gethostname(), os.environ.get("SLURMD_NODENAME")
    now = Attempt(
        number=1 + _unfinished(read(file)),
        verb=verb,
        host=host,
        pid=os.getpid(),
        born=born(os.getpid()),
        began=time.time(),
        commit=git_sha(),
        slurm=job,
        node=node if node != host else None,
    )
    # flushed before anything heavy is imported: it is there even if the rest never speaks
    print(
        f"{time.strftime('%H:%M:%S')} {HEADER.format(verb=verb)}{now.where}, attempt {now.number}, "
        f"commit {short(now.commit)}, process {now.pid}, {time.strftime('%Y-%m-%d %z')}",
        file=sys.stderr,
        flush=True,
    )
    opening = {key: value for key, value in vars(now).items() if value not in (None, "")}
    _append(file, opening)
    code, error = 1, ""
    try:
        yield ending
        code = ending.code
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
        raise
    except BaseException as failure:
        code = 130 if isinstance(failure, KeyboardInterrupt) else 1
        error = f"{type(failure).__name__}: {failure}".splitlines()[0][:500]
        raise
    finally:
        _append(file, {"ends": now.number, "pid": now.pid, "ended": time.time(), "code": code, "error": error})


def read(file: Path | None) -> list[Attempt]:
    """The attempts in a record, oldest first; an absent file has none, and a torn line is left out."""
    if file is None or not file.is_file():
        return []
    found: list[Attempt] = []
    for raw in file.read_text().splitlines():
        try:
            line = json.loads(raw)
            if "ends" not in line:
                found.append(Attempt(**line))
                continue
            key = (line.pop("ends"), line.pop("pid"))
            place = next(i for i in reversed(range(len(found))) if (found[i].number, found[i].pid) == key)
            found[place] = Attempt(**{**vars(found[place]), **line})
        except (
            ValueError,
            TypeError,
            KeyError,
            StopIteration,
        ):  # a torn line, another version's words
            continue
    return found


def born(pid: int) -> str:
    """When a process of this host began, in ticks since boot; "" where there is none, or no /proc to ask."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""


def alive(one: Attempt) -> bool | None:
    """Whether the process of an attempt lives; None where it is on another host, so that nobody here can tell."""
    if one.ended is not None:
        return False
    if one.host != socket.gethostname():
        return None
    if one.born:
        return born(one.pid) == one.born
    try:
        os.kill(one.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, but there
        pass
    return True


def _unfinished(found: list[Attempt]) -> int:
    """Attempts since the last one that succeeded."""
    done = [i for i, one in enumerate(found) if one.code == 0]
    return len(found) - (done[-1] + 1 if done else 0)


def _append(file: Path | None, line: dict[str, object]) -> None:
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:  # one write: lines of two processes never mix
            os.write(descriptor, (json.dumps(line) + "\n").encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        print(f"{file}: this attempt is not recorded ({error.strerror}); the job goes on", file=sys.stderr, flush=True)
