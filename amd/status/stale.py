"""`amd stale`: what was made by older code than this checkout's, and which of the files that make it changed since.

Code reruns nothing: a digest holds the configuration alone. So results of several commits stand side by side, tables
say which, and this says what it may mean. An edit of a comment is an edit here; `git diff` tells.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from amd.commit import DIRTY, git, git_sha, short
from amd.config import plan
from amd.config.jobs import Job, jobs
from amd.config.load import Library
from amd.status.attempt import file_of, read
from amd.status.board import meta
from amd.status.reach import reach

MOST = 6  # names in a line


@dataclass(frozen=True)
class Made:
    """A result that is there, the commit that made it, and what of its code is another now."""

    job: Job
    commit: str  # "" where nothing says it
    changed: frozenset[str] | None  # None: nobody can tell (no such commit here, or edits that were never committed)

    @property
    def stale(self) -> bool:
        """Whether its code is, or may be, another than this checkout's."""
        return self.changed is None or bool(self.changed)


def made(library: Library, scale: str) -> list[Made]:
    """Every result of a scale's tables and figures that is there."""
    tables, figures = plan.expand(library, ["*"], library.tables), plan.expand(library, ["*"], library.figures)
    found = []
    for job in jobs(library, scale, tables, figures):
        if Path(job.output).exists():
            commit = _commit(job)
            since = _since(commit)
            found.append(Made(job, commit, None if since is None else since & _reach(job.rule)))
    return found


def text(library: Library, scale: str) -> str:
    """The list by commit, with how to make something anew."""
    found = made(library, scale)
    old = [each for each in found if each.stale]
    lines = [
        f"This checkout is at commit {short(git_sha())}.",
        f"Scale {scale}: {len(found)} results are there; the code of {len(old)} is, or may be, another than this one.",
    ]
    groups: dict[str, list[Made]] = defaultdict(list)
    for each in old:
        groups[each.commit].append(each)
    for commit, group in groups.items():
        lines += ["", f"{_when(commit)}: {_count(len(group), 'result')}"]
        rules: dict[tuple[str, frozenset[str] | None], list[Made]] = defaultdict(list)
        for each in group:
            rules[each.job.rule, each.changed].append(each)
        for (rule, changed), listed in rules.items():
            lines.append(f"  {rule}: {_few(dict.fromkeys(each.job.what for each in listed))}")
            if changed:
                lines.append(f"      changed since: {_few(sorted(changed))}")
    if old:
        lines += [
            "",
            "Nothing of this is rerun by itself. To make a result anew, with all that follows from it:",
            f"  snakemake -c2 --config scale={scale} --forcerun {old[0].job.output} -- all",
            "What an edit was: git diff COMMIT -- FILE",
        ]
    return "\n".join(lines)


def _commit(job: Job) -> str:
    """From the result itself, else from the record of the attempt that made it."""
    said = meta(job).get("git_sha")
    if isinstance(said, str):
        return said
    good = [one.commit for one in read(file_of(job.output)) if one.code == 0]
    return good[-1] if good else ""


@cache
def _since(commit: str) -> frozenset[str] | None:
    """Files of amd/ that differ between a commit and this work tree; None where that cannot be told."""
    if not commit or commit == "unknown" or commit.endswith(DIRTY):
        return None
    said = git("diff", "--name-only", "--no-renames", commit, "--", ":/amd")
    return None if said is None else frozenset(said.splitlines())


_reach = cache(reach)


def _when(commit: str) -> str:
    if not commit:
        return "Of unknown code (made before jobs recorded it)"
    if commit == "unknown":
        return "Made outside of a git checkout"
    base = commit.removesuffix(DIRTY)
    date, behind = git("show", "--no-patch", "--format=%cs", base), git("rev-list", "--count", f"{base}..HEAD")
    if date is None:
        return f"Commit {short(commit)}, which this clone does not have"
    edits = ", with edits that were never committed" if commit.endswith(DIRTY) else ""
    return f"Commit {base[:12]} of {date}, {_count(int(behind or 0), 'commit')} ago{edits}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:MOST]) + (f" and {len(listed) - MOST} more" if len(listed) > MOST else "")
