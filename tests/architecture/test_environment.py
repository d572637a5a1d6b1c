"""The lock file reproduces the environment: it knows every package we ask for, and nothing of its own machine."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and not line.startswith("#")]
LOCKED = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in LINES}


def test_each_line_is_one_package_at_one_version():
    for line in LINES:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line), line


def test_what_we_ask_for_is_locked_within_its_range():
    extras = [entry for group in PROJECT["optional-dependencies"].values() for entry in group]
    for entry in map(Requirement, [*PROJECT["dependencies"], *extras]):
        name = canonicalize_name(entry.name)
        assert name in LOCKED, f"{name} is not in requirements.lock"
        assert LOCKED[name] in entry.specifier, f"{name} {LOCKED[name]} is outside {entry.specifier}"


def test_this_environment_is_the_locked_one():
    """Every installed package that we reach from our own requirements has its locked version."""
    todo = [canonicalize_name(Requirement(entry).name) for entry in PROJECT["dependencies"]]
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = version(name)
        except PackageNotFoundError:  # needed on other platforms only
            continue
        assert found.split("+")[0] == LOCKED.get(name), f"{name}: installed {found}, locked {LOCKED.get(name)}"
        for entry in map(Requirement, requires(name) or []):
            if entry.marker is None or entry.marker.evaluate({"extra": ""}):
                todo.append(canonicalize_name(entry.name))
    assert len(seen) > 50
