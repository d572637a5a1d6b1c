"""Runs at smoke size whose teacher, start and classifier are random networks, made in milliseconds."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # smoke_run is a module for the children that tests start

import smoke_run


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that holds what every smoke run reads."""
    monkeypatch.chdir(tmp_path)
    smoke_run.make_checkpoints()
    return tmp_path
