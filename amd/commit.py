"""Which code this is: the commit of the checkout that the package was imported from. No torch: a log's first line."""

import subprocess
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
DIRTY = "+dirty"


@cache
def git_sha() -> str:
    """Commit of this checkout at the first call, with "+dirty" where tracked files differ; "unknown" outside one."""
    return git("describe", "--always", "--abbrev=40", "--match=", f"--dirty={DIRTY}") or "unknown"


def git(*arguments: str) -> str | None:
    """What git says of this checkout, or None where there is no git, no repository, or no such thing in it."""
    try:
        done = subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def short(sha: str) -> str:
    """Twelve digits, and whether there were edits."""
    return sha.removesuffix(DIRTY)[:12] + (DIRTY if sha.endswith(DIRTY) else "")
