"""Packages installed without their dependencies: pinned, hashed, and what stands in the environment."""

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = [
    line for line in (ROOT / "requirements-nodeps.lock").read_text().splitlines() if line and not line.startswith("#")
]


@pytest.mark.parametrize("line", LINES)
def test_each_line_is_one_package_at_one_version_with_its_hash(line):
    assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+ --hash=sha256:[0-9a-f]{64}", line)


@pytest.mark.parametrize("line", LINES)
def test_what_is_installed_is_that_version(line):
    name, _, pinned = line.split()[0].partition("==")
    try:
        assert version(name) == pinned
    except PackageNotFoundError:
        pytest.skip(f"{name} is not installed: pip install --no-deps -r requirements-nodeps.lock")


def test_make_setup_installs_them_and_their_dependencies_are_nobody_s():
    assert "--no-deps --require-hashes -r requirements-nodeps.lock" in (ROOT / "Makefile").read_text()
    assert "sentence-transformers" not in (ROOT / "requirements.lock").read_text()
