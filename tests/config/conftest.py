"""A copy of the real config/ that a test may spoil, and the library as it stands."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from amd.config.load import Library, load

ROOT = Path(__file__).parents[2] / "config"

Edit = Callable[[str, str, str], None]


@pytest.fixture(scope="session")
def library() -> Library:
    return load(ROOT)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with everything of config/."""
    shutil.copytree(ROOT, tmp_path / "config")
    return tmp_path / "config"


@pytest.fixture
def edit(root: Path) -> Edit:
    """(file under config/, text, other text): the text must stand there exactly once."""

    def replace(file: str, old: str, new: str) -> None:
        text = (root / file).read_text()
        assert text.count(old) == 1, f"{file} holds {old!r} {text.count(old)} times"
        (root / file).write_text(text.replace(old, new))

    return replace
